import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from sr_jax.data.fields import CORE_FIELDS
from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.reading import ClipReader
from sr_jax.teachers.depth.colours import DepthColours, colour_depth
from tests.preparation import fakes
from tests.teachers.toy import Heat, Tone


def _read(plans, teachers=None):
    """The clips of some plans."""
    reader = ClipReader(teachers or fakes.depth())
    by_video = itertools.groupby(plans, key=lambda plan: plan.source.path)
    return [clip for _, clips in by_video for clip in reader.clips(list(clips))]


def _disparity(clips, teachers=None):
    """The disparity that is kept of some clips."""
    made = fakes.extractor(teachers=teachers)(clips, len(clips))
    return [kept["depth"]["disparity"] for _, kept in made]


def test_reader_cuts_resamples_and_normalises(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", frames=20, fps=16.0)
    frames, _ = video.read_video(tmp_path / "a.mp4")
    disparity = 1 / np.load(tmp_path / "a.depth.npz")["depth"]
    plans = fakes.plan(tmp_path)
    assert [plan.clip_id for plan in plans] == ["a-00000", "a-00010"]
    clips = _read(plans)
    for start, clip, kept in zip((0, 10), clips, _disparity(clips), strict=True):
        np.testing.assert_array_equal(clip.frames, frames[start : start + 10 : 2])
        cut = disparity[start : start + 10 : 2]
        np.testing.assert_allclose(kept, (cut - cut.min()) / (cut.max() - cut.min()), atol=1e-6)


def test_frames_are_repeated_where_the_video_is_slower(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", frames=4, fps=4.0)
    frames, _ = video.read_video(tmp_path / "a.mp4")
    (clip,) = _read(fakes.plan(tmp_path))
    np.testing.assert_array_equal(clip.frames, frames[[0, 0, 1, 1, 2]])


def test_overlapping_clips_of_one_pass(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", frames=11)
    frames, _ = video.read_video(tmp_path / "a.mp4")
    plans = fakes.plan(tmp_path, stride=2)
    clips = _read(plans)
    assert [plan.clip_id for plan in plans] == [f"a-{start:05d}" for start in (0, 2, 4, 6)]
    for start, clip in zip((0, 2, 4, 6), clips, strict=True):
        np.testing.assert_array_equal(clip.frames, frames[start : start + 5])


def test_a_network_sees_the_cropped_clip(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", size=(32, 48))
    (tmp_path / "a.depth.npz").unlink()
    teachers = fakes.depth(fakes.BrightnessDepth())
    (clip,) = _read(fakes.plan(tmp_path, teachers=teachers), teachers)
    assert clip.beside == {}
    brightness = clip.frames.astype(np.float32).mean(axis=-1)
    expected = (brightness - brightness.min()) / (brightness.max() - brightness.min())
    np.testing.assert_allclose(_disparity([clip], teachers)[0], expected, atol=1e-6)


def test_reader_scales_frames_and_depth_alike(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", size=(32, 48))
    (clip,) = _read(fakes.plan(tmp_path))
    assert clip.frames.shape == (5, 16, 12, 3)
    assert clip.beside["depth"].shape == (5, 16, 12)
    frames, _ = video.read_video(tmp_path / "a.mp4")
    expected = frames.reshape(5, 16, 2, 24, 2, 3).mean(axis=(2, 4))[:, :, 6:18]
    assert np.abs(clip.frames - expected).max() <= 1
    disparity = (1 / np.load(tmp_path / "a.depth.npz")["depth"]).reshape(5, 16, 2, 24, 2).mean(axis=(2, 4))[..., 6:18]
    expected = (disparity - disparity.min()) / (disparity.max() - disparity.min())
    np.testing.assert_allclose(_disparity([clip])[0], expected, atol=1e-5)


def test_depth_is_coloured_and_normalised_as_asked(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    colours = DepthColours(colour_map="grey", low_percentile=20.0, high_percentile=70.0)
    teachers = fakes.depth(colours=colours)
    [clip] = _read(fakes.plan(tmp_path), teachers)
    extractor = fakes.extractor(teachers=teachers)
    [(record, kept)] = extractor([clip], 1)
    disparity, normalised = clip.beside["depth"], kept["depth"]["disparity"]
    low, high = np.percentile(disparity, [20, 70])
    np.testing.assert_allclose(normalised, np.clip((disparity - low) / (high - low), 0, 1), atol=1e-5)
    # Grey depth is the same in every channel; the fake codec halves and pools.
    grey = np.repeat(2 * normalised[:1, ..., None] - 1, 3, axis=-1).reshape(4, 4, 3, 4, 3).mean(axis=(1, 3)) / 2
    np.testing.assert_allclose(record["depth_latent"][0], grey, atol=5e-3)
    described = extractor.provenance.teachers
    assert described["depth"] | {"colour_map": "grey", "low_percentile": "20.0"} == described["depth"]
    assert described["face_detector"]["choice"] == "largest"


def test_features_are_what_codec_and_teachers_say(tmp_path):
    clips = _read(fakes.plan(fakes.write_input(tmp_path))[:3])
    clips[1].frames[0, 0, 0] = 0  # no face in the first frame
    clips[2].frames[2:4, 0, 0] = 0  # a face in half of the second latent frame
    for record, clip, disparity in zip(fakes.records(fakes.extractor(), clips), clips, _disparity(clips), strict=True):
        pixels = clip.frames / 127.5 - 1

        def pool(array):
            return array.reshape(array.shape[0], 4, 4, 3, 4, 3).mean(axis=(2, 4))

        mean = np.stack([pool(pixels[:1])[0], pool(pixels[1:]).mean(axis=0)]) / 2
        np.testing.assert_allclose(record["latent_mean"], mean, atol=1e-3)
        np.testing.assert_allclose(record["latent_std"], np.abs(mean) / 10, atol=1e-3)
        depth = colour_depth(disparity) / 127.5 - 1
        depth_latent = np.stack([pool(depth[:1])[0], pool(depth[1:]).mean(axis=0)]) / 2
        np.testing.assert_allclose(record["depth_latent"], depth_latent, atol=1e-3)
        np.testing.assert_allclose(record["image_latents"][0], mean[:1], atol=1e-3)
        assert (np.abs(record["image_latents"][1:] - mean[:1]) > 1e-3).any(axis=(1, 2, 3, 4)).all()
        colours = clip.frames[:, 0, 0].astype(np.float64)
        colours /= np.maximum(np.linalg.norm(colours, axis=-1, keepdims=True), 1e-9)
        embedding = np.stack([colours[0], colours[1:].sum(axis=0)])
        embedding /= np.maximum(np.linalg.norm(embedding, axis=-1, keepdims=True), 1e-9)
        np.testing.assert_allclose(record["face_embedding"], embedding, atol=1e-3)
        assert record["face_mask"].tolist() == [float(clip is not clips[1]), 1.0]
        letters = np.array([ord(letter) for letter in "a pe"])
        np.testing.assert_allclose(record["text_embedding"], np.stack([letters, letters**2], -1) / 1000, rtol=1e-3)


def test_image_latents_are_those_that_the_model_takes(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    clips = _read(fakes.plan(tmp_path))
    [plain] = fakes.records(fakes.extractor(), clips)
    [inverted] = fakes.records(fakes.extractor(codec=fakes.MeanCodec(image_condition_factor=4.0)), clips)
    np.testing.assert_array_equal(inverted.pop("image_latents"), 4 * plain.pop("image_latents"))
    for name, array in plain.items():
        np.testing.assert_array_equal(inverted[name], array)


def test_noise_of_the_first_frame(tmp_path):
    # With latents that are pixels the noise can be read back: its size is exp(N(-3, 0.5)).
    fakes.write_source(tmp_path / "a.mp4")
    extract = fakes.extractor(codec=fakes.MeanCodec(spatial_compression_ratio=1), noisy_images=300)
    [record] = fakes.records(extract, _read(fakes.plan(tmp_path)))
    images = record["image_latents"].astype(np.float32) / 0.5
    assert images.shape == (301, 1, 16, 12, 3)
    log_sigma = np.log((images[1:] - images[0]).std(axis=(1, 2, 3, 4)))
    assert log_sigma.mean() == pytest.approx(-3, abs=0.1)
    assert log_sigma.std() == pytest.approx(0.5, abs=0.07)


def test_draws_depend_on_clip_and_seed_only(tmp_path):
    clips = _read(fakes.plan(fakes.write_input(tmp_path))[:3])
    together = fakes.records(fakes.extractor(), clips)
    reversed_order = fakes.records(fakes.extractor(), clips[::-1])[::-1]
    for one, other in zip(together, reversed_order):
        np.testing.assert_array_equal(one["image_latents"], other["image_latents"])
    same_pixels = [dataclasses.replace(clip, frames=clips[0].frames) for clip in clips]
    noise = [record["image_latents"][1:].tobytes() for record in fakes.records(fakes.extractor(), same_pixels)]
    noise.append(fakes.records(fakes.extractor(seed=1), clips)[0]["image_latents"][1:].tobytes())
    assert len(set(noise)) == 4


def test_provenance_names_everything():
    made = fakes.extractor().provenance
    assert made.codec == {
        "name": "mean",
        "weight_hash": "m0",
        "scaling_factor": 0.5,
        "image_condition_factor": 1.0,
        "temporal_compression_ratio": 4,
        "spatial_compression_ratio": 4,
        "latent_channels": 3,
    }
    assert made.teachers["face_recogniser"] == {"name": "colour", "weight_hash": "r0"}
    assert set(made.teachers) == {"depth", "face_detector", "face_recogniser", "text"}
    assert made.clip == {**fakes.CLIP, "noisy_images": 2, "seed": 0}


@pytest.mark.parametrize("clip", [{"num_frames": 6}, {"height": 18}, {"width": 13}])
def test_clips_that_do_not_fit_the_codec(clip):
    with pytest.raises(UserError, match=r"do(es)? not fit the codec"):
        fakes.extractor(**clip)


def test_a_codec_may_take_fewer_lengths_of_clips():
    class Picky(fakes.MeanCodec):
        def latent_frames(self, num_frames):
            raise UserError(f"{num_frames} frames are too few for me")

    with pytest.raises(UserError, match="13 frames are too few"):
        fakes.extractor(codec=Picky(), num_frames=13)


def _write_heat(path, frames=5, size=(16, 12)):
    maps = np.random.default_rng(3).uniform(0, 9, (frames, *size)).astype(np.float32)
    np.savez(path.with_suffix(".heat.npz"), maps=maps)
    return maps


def test_a_further_teacher_makes_its_field_and_keeps_what_belongs_in_no_record(tmp_path):
    teachers = fakes.depth() | {"heat": Heat(), "tone": Tone({"scale": 2.0})}
    fakes.write_source(tmp_path / "a.mp4", frames=10)
    maps = _write_heat(tmp_path / "a.mp4", frames=10)
    plans = fakes.plan(tmp_path, teachers=teachers)
    clips = _read(plans, teachers)
    extract = fakes.extractor(teachers=teachers)
    made = extract(clips, 3)
    assert len(made) == 2
    for (record, kept), clip, start in zip(made, clips, (0, 5), strict=True):
        np.testing.assert_array_equal(kept["heat"]["maps"], maps[start : start + 5])
        np.testing.assert_array_equal(record["heat"], maps[start + 2].astype(np.float16))
        assert set(kept) == {"depth", "heat"} and set(kept["depth"]) == {"disparity"}
        colours = 2 * clip.frames.mean(axis=(1, 2)) / 255
        np.testing.assert_allclose(record["tone"], [colours[0], colours[1:].mean(axis=0)], atol=1e-3)
        assert set(record) == set(extract.fields) == {*CORE_FIELDS, "heat", "tone"}
    assert extract.provenance.teachers["heat"] == {"name": "heat", "weight_hash": "none"}
    for name, array in fakes.records(fakes.extractor(), clips)[0].items():
        np.testing.assert_array_equal(array, made[0][0][name])


def test_what_lies_beside_a_video_for_a_further_teacher_is_checked_and_watched(tmp_path):
    teachers = fakes.depth() | {"heat": Heat()}
    fakes.write_source(tmp_path / "a.mp4")
    _write_heat(tmp_path / "a.mp4")
    planner = fakes.planner(tmp_path, teachers=teachers)
    assert planner.settings["heat"] == {"unit": "kelvin"}
    (file,) = find_videos(tmp_path, teachers=teachers)
    outcome = planner(file).outcome
    assert planner.is_unchanged(file, outcome)
    _write_heat(tmp_path / "a.mp4", frames=6)
    assert not planner.is_unchanged(file, outcome)
    with pytest.raises(UserError, match="another number of maps than frames"):
        planner(file)
    # Where there is no such teacher, an array that is called after the video is passed over.
    assert [file.problem for file in find_videos(tmp_path)] == [""]


def test_a_depth_network_sees_the_clips_of_a_batch_and_not_what_fills_it(tmp_path):
    class Counting(fakes.BrightnessDepth):
        calls = 0

        def __call__(self, frames, fps, path):
            self.calls += 1
            return super().__call__(frames, fps, path)

    fakes.write_source(tmp_path / "a.mp4", frames=10)
    teacher = Counting()
    teachers = fakes.depth(teacher)
    clips = _read(fakes.plan(tmp_path, teachers=teachers), teachers)
    made = fakes.extractor(teachers=teachers)(clips, 5)
    assert (len(made), teacher.calls) == (2, 2)
    for (record, _), alone in zip(made, clips, strict=True):
        [expected] = fakes.records(fakes.extractor(teachers=teachers), [alone])
        np.testing.assert_allclose(record["depth_latent"], expected["depth_latent"], atol=1e-3)


def test_boxes_of_faces_are_written_when_they_are_wanted(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    clips = _read(fakes.plan(tmp_path))
    clips[0].frames[1:, 0, 0] = 0  # a face in the first frame alone
    [record] = fakes.records(fakes.extractor(boxes=True), clips)
    np.testing.assert_allclose(record["face_boxes"], [[0, 0, 4 / 12, 4 / 16], [0, 0, 0, 0]], atol=1e-3)
    assert "face_boxes" not in fakes.records(fakes.extractor(), clips)[0]


def test_teachers_that_get_in_each_others_way_are_told():
    with pytest.raises(UserError, match="two teachers write the field 'tone': leave one of them out of config"):
        fakes.extractor(teachers=fakes.depth() | {"one": Tone({"scale": 1.0}), "two": Tone({"scale": 2.0})})
    with pytest.raises(UserError, match="two teachers are called 'face_detector'"):
        fakes.extractor(teachers=fakes.depth() | {"face_detector": Heat()})


def test_a_teacher_that_makes_something_else_than_it_says_is_a_defect(tmp_path):
    class Wrong(Tone):
        fields: Mapping[str, str] = {"tone": "t 4"}

    class Silent(Tone):
        def __call__(self, clips, codec):
            return {}

    fakes.write_source(tmp_path / "a.mp4")
    clips = _read(fakes.plan(tmp_path))
    with pytest.raises(ValueError, match=r"tone has shape \(2, 3\), but axis 4 of 't 4' has size 4"):
        fakes.extractor(teachers=fakes.depth() | {"tone": Wrong({"scale": 1.0})})(clips, 1)
    with pytest.raises(ValueError, match=r"the teacher tone made \[\], not \['tone'\]"):
        fakes.extractor(teachers=fakes.depth() | {"tone": Silent({"scale": 1.0})})(clips, 1)
