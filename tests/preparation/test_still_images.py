"""Still images beside videos: each becomes a clip of one frame, in a dataset of its size."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from sr_jax.data import builder
from sr_jax.errors import UserError
from sr_jax.media.images import is_still_image
from sr_jax.media.video import read_video
from sr_jax.preparation.framing import DropOptions, Size
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.people import PersonOptions, load_finder
from sr_jax.preparation.planning import VideoPlan
from sr_jax.preparation.reading import ClipReader
from sr_jax.teachers.depth.colours import colour_depth
from tests.preparation import fakes
from tests.preparation.test_planning import WhiteFaces

_PLANNING = {"still_images": True, "sizes": (Size(16, 12), Size(12, 16))}
_ROTATED_BY_90 = 6


def _patches(seed, rows, columns, side):
    """Random colours, each of a square of pixels, so that the edges of scaled pixels are theirs."""
    colours = np.random.default_rng(seed).integers(1, 256, (rows, columns, 3))
    return np.kron(colours, np.ones((side, side, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two videos for training and one for the test, and three images: lying on its side, transparent, and wide."""
    folder = tmp_path_factory.mktemp("still") / "input"
    for name in ("train/a", "train/b", "test/a"):
        fakes.write_source(folder / f"{name}.mp4")
    exif = Image.Exif()
    exif[0x0112] = _ROTATED_BY_90
    lying = np.rot90(_patches(1, 16, 12, 2))
    Image.fromarray(lying).save(folder / "train" / "turned.png", exif=exif)
    see_through = np.concatenate([_patches(2, 16, 12, 1), np.full((16, 12, 1), 51, np.uint8)], axis=-1)
    Image.fromarray(see_through).save(folder / "train" / "clear.webp", lossless=True, exact=True)
    Image.fromarray(_patches(3, 12, 20, 2)).save(folder / "train" / "wide.bmp")
    (folder / "train" / "turned.txt").write_text("on its side")
    (folder / "train" / "wide.bmp.txt").write_text("from far")
    (folder / "train" / "wide.json").write_text('{"identity": 7}')
    return folder


@pytest.fixture(scope="module")
def made(folder):
    """The dataset of the folder and the summary of making it."""
    output = folder.parent / "data"
    options = {"planning": _PLANNING | {"default_prompt": "a"}, "teachers": fakes.depth(fakes.BrightnessDepth())}
    return output, fakes.make(folder, output, **options)


def _expected():
    """What each image shows at its clip's size."""
    return {
        "turned-00000": _patches(1, 16, 12, 1),
        "clear-00000": np.round(_patches(2, 16, 12, 1) * (51 / 255)).astype(np.uint8),
        "wide-00000": _patches(3, 12, 20, 1)[:, 2:18],
    }


def _records(folder, split="train"):
    return {record["clip_id"].decode(): record for record in builder.open_dataset(folder, split)}


def test_images_are_datasets_of_one_frame_beside_the_videos(made):
    output, summary = made
    assert sorted(path.name for path in output.iterdir() if path.is_dir()) == ["16x12", "1x12x16", "1x16x12"]
    assert [path.name for path in builder.dataset_folders(output)] == ["16x12", "1x12x16", "1x16x12"]
    assert set(_records(output / "16x12")) == {"a-00000", "b-00000"}
    tall, wide = _records(output / "1x16x12"), _records(output / "1x12x16")
    assert set(tall) == {"turned-00000", "clear-00000"} and set(wide) == {"wide-00000"}
    for clip_id, record in (tall | wide).items():
        pixels = _expected()[clip_id]
        for name, picture in (("latent_mean", pixels), ("depth_latent", colour_depth(pixels.mean(-1)[None])[0])):
            squares = picture.reshape(picture.shape[0] // 4, 4, picture.shape[1] // 4, 4, 3).mean(axis=(1, 3))
            np.testing.assert_allclose(record[name], (squares / 127.5 - 1)[None] / 2, atol=4e-3, err_msg=name)
        np.testing.assert_array_equal(record["image_latents"][0], record["latent_mean"])
        first = pixels[0, 0] / np.linalg.norm(pixels[0, 0].astype(float))
        np.testing.assert_allclose(record["face_embedding"], first[None], atol=6e-3)
        assert record["face_mask"].tolist() == [1]
    assert {name: record["prompt"] for name, record in (tall | wide).items()} == {
        "turned-00000": b"on its side",
        "clear-00000": b"a",
        "wide-00000": b"from far",
    }
    assert summary.lines()[0] == "kept: 6 clips of 3 videos and 3 images (train 5, test 1)"
    assert summary.lines()[2] == "captions: beside the video: 5, config.default_prompt: 1"


def test_the_pixels_of_images_are_kept_exactly(made):
    output, _ = made
    for clip_id, pixels in _expected().items():
        kept = output / ("1x12x16" if clip_id[0] == "w" else "1x16x12") / "clips" / "train"
        frames, _ = read_video(kept / f"{clip_id}.mp4")
        np.testing.assert_allclose(frames.astype(int), pixels[None], atol=1)
    rows = [json.loads(line) for line in (kept / "index.jsonl").read_text().splitlines()]
    assert [row["labels"] for row in rows if row["clip_id"] == "wide-00000"] == [{"identity": 7}]


def test_what_made_them_is_what_made_the_videos(made):
    output, _ = made
    whole, videos, stills = map(builder.read_provenance, (output, output / "16x12", output / "1x16x12"))
    assert whole.clip["sizes"] == ["16x12", "1x12x16", "1x16x12"] and whole.clip["num_frames"] == 5
    assert (whole.sizes, stills.sizes, stills.clip["num_frames"]) == ([(16, 12)], [(16, 12)], 1)
    # A run on all of them goes on with some, but not the other way round.
    assert videos.differences(whole) == stills.differences(whole) == whole.differences(whole) == []
    assert stills.differences(videos) == ["clip.num_frames: dataset has 1, expected 5"]
    without = dataclasses.replace(whole, clip=whole.clip | {"sizes": ["16x12", "12x16"]})
    assert without.differences(whole) == ["clip.sizes: dataset has ['16x12', '12x16'], expected "
                                          "['16x12', '1x12x16', '1x16x12']"]  # fmt: skip
    (difference,) = whole.differences(without)
    assert difference.startswith("clip.sizes: dataset has ['16x12', '1x12x16'")


def test_images_count_for_nothing_unless_they_are_wanted(folder, tmp_path):
    files = {file.path.name: file for file in find_videos(folder)}
    for name in ("turned.png", "clear.webp", "wide.bmp"):
        file = files[name]
        assert (file.problem, file.claims_video, file.still) == (f"{file.path} is no video", False, False)
    planning = {"strict": True, "teachers": fakes.depth(fakes.BrightnessDepth())}
    assert {clip.clip_id for clip in fakes.plan(folder, **planning)} == {"a-00000", "b-00000"}


def test_no_image_is_in_the_split_whose_clips_are_generated(tmp_path):
    fakes.write_source(tmp_path / "train" / "a.mp4")
    (tmp_path / "test").mkdir()
    for path in (tmp_path / "test" / "b.png", tmp_path / "c.png"):
        Image.fromarray(_patches(0, 16, 12, 1)).save(path)
    problems = {file.path.name: file.problem for file in find_videos(tmp_path, still_images=True) if file.claims_video}
    assert problems == {
        "a.mp4": "",
        "b.png": f"{tmp_path / 'test' / 'b.png'} is a still image, and clips of the split test are generated: move it "
        "into the folder train",
        "c.png": f"{tmp_path / 'c.png'} lies beside train and test: move it into the folder train or test, or out of "
        f"{tmp_path}",
    }


def test_an_image_may_not_be_called_as_a_video_is(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    Image.fromarray(_patches(0, 16, 12, 1)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.mp4 and .*a\.png have the same name"):
        fakes.make(tmp_path, tmp_path / "data", planning=_PLANNING)


def test_images_are_told_by_content(tmp_path):
    first, second = (Image.fromarray(_patches(seed, 8, 8, 2)) for seed in (0, 1))
    first.save(tmp_path / "photo.dat", "jpeg")
    first.save(tmp_path / "single.gif")
    first.save(tmp_path / "phone.jpg", "mpo", save_all=True, append_images=[second])
    first.save(tmp_path / "moving.webp", save_all=True, append_images=[second])
    first.copy().save(tmp_path / "pages.tiff", save_all=True, append_images=[second.copy()])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.md").write_text("notes")
    fakes.write_source(tmp_path / "video.png.mp4")
    files = {file.path.name: file for file in find_videos(tmp_path, still_images=True)}
    assert {name for name, file in files.items() if file.still} == {"photo.dat", "single.gif", "phone.jpg"}
    for name in ("moving.webp", "pages.tiff", "broken.png"):
        problem = f"{tmp_path / name} is an image that cannot be read, or one of several pictures"
        assert (files[name].problem, files[name].claims_video) == (problem, True)
    assert (files["notes.md"].problem, files["notes.md"].claims_video) == (
        f"{tmp_path / 'notes.md'} is no video",
        False,
    )
    assert not files["video.png.mp4"].problem
    assert not is_still_image(tmp_path) and not is_still_image(tmp_path / "nowhere.png")


def test_an_image_that_breaks_is_named_or_stops_all(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    Image.fromarray(_patches(0, 64, 64, 1)).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:300])
    files = find_videos(tmp_path, still_images=True)
    options = {"still_images": True, "default_prompt": "a", "teachers": fakes.depth(fakes.BrightnessDepth())}
    with pytest.raises(UserError, match=r"b\.png is not an image that can be read"):
        list(map(fakes.planner(tmp_path, **options), files))
    plans = list(map(fakes.planner(tmp_path, **options, strict=False), files))
    assert [len(plan.clips) for plan in plans] == [1, 0]


def test_what_images_are_framed_and_dropped_by(tmp_path):
    """The person and the pixels count; motion and rate do not."""
    scenes = {
        "a_one": fakes.scene(1, 1, faces=[(20, 70)])[0],
        "b_nobody": fakes.scene(2, 1)[0],
        "c_two": fakes.scene(3, 1, faces=[(20, 10), (20, 70)])[0],
        "d_small": fakes.scene(4, 1, faces=[(2, 2)], size=(40, 40))[0],
    }
    for name, pixels in scenes.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    person = PersonOptions("face", zoom=2.0, anchor=0.5)
    rules = {"no_person": True, "several_people": True, "least_motion": 9.0, "least_side": 64, "least_fps": 99.0}
    planner = fakes.planner(
        tmp_path,
        **{"still_images": True, "sizes": (Size(16, 12),), "default_prompt": "a"},
        **{"person": person, "finder": load_finder(person, WhiteFaces()), "drop": DropOptions(**rules)},
        teachers=fakes.depth(fakes.BrightnessDepth()),
    )
    files = find_videos(tmp_path, still_images=True)
    plans = [planner(file) for file in files]
    dropped = [{}, {"no person": 1}, {"several people": 1}, {"too few pixels": 1}]
    assert [plan.outcome.dropped for plan in plans] == dropped
    (clip,) = plans[0].clips
    # Twice the face's height of 16, around the middle of the face (28, 78), in the aspect ratio of the clip.
    assert clip.window == (12, 66, 32, 24) and clip.indices.tolist() == [0]
    (cut,) = ClipReader({}).clips([clip])
    squares = scenes["a_one"][12:44, 66:90].reshape(16, 2, 12, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(cut.frames[0], squares, atol=0.51)
    back = VideoPlan.from_json(json.loads(json.dumps(plans[0].to_json())), files[0])
    assert back.outcome.still and back.clips[0].kind == clip.kind and str(clip.kind) == "1x16x12"


def test_depth_beside_an_image(tmp_path):
    Image.fromarray(_patches(0, 16, 12, 1)).save(tmp_path / "a.png")
    depth = np.random.default_rng(0).uniform(1, 5, (1, 16, 12)).astype(np.float32)
    np.savez(tmp_path / "a.depth.npz", depth=depth)
    planning = _PLANNING | {"default_prompt": "a"}
    fakes.make(tmp_path, tmp_path.parent / "data", planning=planning)
    kept = tmp_path.parent / "data" / "1x16x12" / "clips" / "train" / "a-00000.depth.npz"
    near = 1 / depth
    expected = (near - near.min()) / (near.max() - near.min())
    np.testing.assert_allclose(np.load(kept)["disparity"], expected, atol=1e-3)
    np.savez(tmp_path / "a.depth.npz", depth=np.repeat(depth, 2, axis=0))
    (file,) = find_videos(tmp_path, still_images=True)
    with pytest.raises(UserError, match=r"a\.depth\.npz has depth for 2 frames, but a\.png has 1 frames"):
        fakes.planner(tmp_path, **planning)(file)


def test_images_that_come_later_are_added(folder, made, tmp_path):
    """Nothing that is there is written again, and a new kind of clips gets its folder."""
    fakes.write_source(tmp_path / "in" / "a.mp4")
    options = {"planning": _PLANNING | {"default_prompt": "a"}, "teachers": fakes.depth(fakes.BrightnessDepth())}
    fakes.make(tmp_path / "in", tmp_path / "data", **options)
    before = (tmp_path / "data" / "16x12" / "clip_records").stat().st_mtime_ns
    Image.fromarray(_patches(0, 16, 12, 1)).save(tmp_path / "in" / "b.png")
    summary = fakes.make(tmp_path / "in", tmp_path / "data", **options)
    assert summary.lines()[0] == "kept: 2 clips of 1 video and 1 image (train 2)"
    assert (tmp_path / "data" / "16x12" / "clip_records").stat().st_mtime_ns == before
    assert [path.name for path in builder.dataset_folders(tmp_path / "data")] == ["16x12", "1x16x12"]
    with pytest.raises(UserError, match=r"clip\.still_images: dataset has True, expected False"):
        fakes.make(tmp_path / "in", tmp_path / "data", **options | {"planning": {"default_prompt": "a"}})
