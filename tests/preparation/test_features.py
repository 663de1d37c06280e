import itertools

import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.preparation.reading import ClipPixels, ClipReader
from sr_jax.teachers.depth.colours import DepthColours, colour_depth
from sr_jax.teachers.depth.precomputed import PrecomputedDepth
from tests.preparation import fakes


def _read(plans):
    """The clips of some plans."""
    reader = ClipReader(PrecomputedDepth())
    by_video = itertools.groupby(plans, key=lambda plan: plan.source.path)
    return [reader.finish(*clip, 8.0) for _, clips in by_video for clip in reader.frames(list(clips))]


def test_reader_cuts_resamples_and_normalises(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", frames=20, fps=16.0)
    frames, _ = video.read_video(tmp_path / "a.mp4")
    disparity = 1 / np.load(tmp_path / "a.depth.npz")["depth"]
    plans = fakes.plan(tmp_path)
    assert [plan.clip_id for plan in plans] == ["a-00000", "a-00010"]
    for start, clip in zip((0, 10), _read(plans)):
        np.testing.assert_array_equal(clip.frames, frames[start : start + 10 : 2])
        cut = disparity[start : start + 10 : 2]
        np.testing.assert_allclose(clip.disparity, (cut - cut.min()) / (cut.max() - cut.min()), atol=1e-6)


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
    depth = fakes.BrightnessDepth()
    plans = fakes.plan(tmp_path, depth=depth)
    reader = ClipReader(depth)
    (cut,) = reader.frames(plans)
    assert cut[2] is None
    clip = reader.finish(*cut, 8.0)
    brightness = clip.frames.astype(np.float32).mean(axis=-1)
    expected = (brightness - brightness.min()) / (brightness.max() - brightness.min())
    np.testing.assert_allclose(clip.disparity, expected, atol=1e-6)


def test_reader_scales_frames_and_depth_alike(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", size=(32, 48))
    (clip,) = _read(fakes.plan(tmp_path))
    assert clip.frames.shape == (5, 16, 12, 3)
    assert clip.disparity.shape == (5, 16, 12)
    frames, _ = video.read_video(tmp_path / "a.mp4")
    expected = frames.reshape(5, 16, 2, 24, 2, 3).mean(axis=(2, 4))[:, :, 6:18]
    assert np.abs(clip.frames - expected).max() <= 1
    disparity = (1 / np.load(tmp_path / "a.depth.npz")["depth"]).reshape(5, 16, 2, 24, 2).mean(axis=(2, 4))[..., 6:18]
    expected = (disparity - disparity.min()) / (disparity.max() - disparity.min())
    np.testing.assert_allclose(clip.disparity, expected, atol=1e-5)


def test_depth_is_coloured_and_normalised_as_asked(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    colours = DepthColours(colour_map="grey", low_percentile=20.0, high_percentile=70.0)
    plans = fakes.plan(tmp_path)
    [(plan, frames, disparity)] = ClipReader(PrecomputedDepth(), colours).frames(plans)
    clip = ClipReader(PrecomputedDepth(), colours).finish(plan, frames, disparity, 8.0)
    low, high = np.percentile(disparity, [20, 70])
    np.testing.assert_allclose(clip.disparity, np.clip((disparity - low) / (high - low), 0, 1), atol=1e-5)
    extractor = fakes.extractor(colours=colours)
    [record] = extractor(plans, [clip])
    # Grey depth is the same in every channel; the fake codec halves and pools.
    grey = np.repeat(2 * clip.disparity[:1, ..., None] - 1, 3, axis=-1).reshape(4, 4, 3, 4, 3).mean(axis=(1, 3)) / 2
    np.testing.assert_allclose(record["depth_latent"][0], grey, atol=5e-3)
    described = extractor.provenance.teachers
    assert described["depth"] | {"colour_map": "grey", "low_percentile": "20.0"} == described["depth"]
    assert described["face_detector"]["choice"] == "largest"


def test_features_are_what_codec_and_teachers_say(tmp_path):
    plans = fakes.plan(fakes.write_input(tmp_path))[:3]
    clips = _read(plans)
    clips[1] = ClipPixels(clips[1].frames.copy(), clips[1].disparity)
    clips[1].frames[0, 0, 0] = 0  # no face in the first frame
    clips[2] = ClipPixels(clips[2].frames.copy(), clips[2].disparity)
    clips[2].frames[2:4, 0, 0] = 0  # a face in half of the second latent frame
    for record, plan, clip in zip(fakes.extractor()(plans, clips), plans, clips, strict=True):
        pixels = clip.frames / 127.5 - 1

        def pool(array):
            return array.reshape(array.shape[0], 4, 4, 3, 4, 3).mean(axis=(2, 4))

        mean = np.stack([pool(pixels[:1])[0], pool(pixels[1:]).mean(axis=0)]) / 2
        np.testing.assert_allclose(record["latent_mean"], mean, atol=1e-3)
        np.testing.assert_allclose(record["latent_std"], np.abs(mean) / 10, atol=1e-3)
        depth = colour_depth(clip.disparity) / 127.5 - 1
        depth_latent = np.stack([pool(depth[:1])[0], pool(depth[1:]).mean(axis=0)]) / 2
        np.testing.assert_allclose(record["depth_latent"], depth_latent, atol=1e-3)
        np.testing.assert_allclose(record["image_latents"][0], mean[:1], atol=1e-3)
        assert (np.abs(record["image_latents"][1:] - mean[:1]) > 1e-3).any(axis=(1, 2, 3, 4)).all()
        colours = clip.frames[:, 0, 0].astype(np.float64)
        colours /= np.maximum(np.linalg.norm(colours, axis=-1, keepdims=True), 1e-9)
        embedding = np.stack([colours[0], colours[1:].sum(axis=0)])
        embedding /= np.maximum(np.linalg.norm(embedding, axis=-1, keepdims=True), 1e-9)
        np.testing.assert_allclose(record["face_embedding"], embedding, atol=1e-3)
        assert record["face_mask"].tolist() == [float(plan is not plans[1]), 1.0]
        letters = np.array([ord(letter) for letter in "a pe"])
        np.testing.assert_allclose(record["text_embedding"], np.stack([letters, letters**2], -1) / 1000, rtol=1e-3)


def test_image_latents_are_those_that_the_model_takes(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    plans = fakes.plan(tmp_path)
    clips = _read(plans)
    plain = fakes.extractor()(plans, clips)[0]
    inverted = fakes.extractor(codec=fakes.MeanCodec(image_condition_factor=4.0))(plans, clips)[0]
    np.testing.assert_array_equal(inverted.pop("image_latents"), 4 * plain.pop("image_latents"))
    for name, array in plain.items():
        np.testing.assert_array_equal(inverted[name], array)


def test_noise_of_the_first_frame(tmp_path):
    # With latents that are pixels the noise can be read back: its size is exp(N(-3, 0.5)).
    fakes.write_source(tmp_path / "a.mp4")
    plans = fakes.plan(tmp_path)
    extract = fakes.extractor(codec=fakes.MeanCodec(spatial_compression_ratio=1), noisy_images=300)
    images = extract(plans, _read(plans))[0]["image_latents"].astype(np.float32) / 0.5
    assert images.shape == (301, 1, 16, 12, 3)
    log_sigma = np.log((images[1:] - images[0]).std(axis=(1, 2, 3, 4)))
    assert log_sigma.mean() == pytest.approx(-3, abs=0.1)
    assert log_sigma.std() == pytest.approx(0.5, abs=0.07)


def test_draws_depend_on_clip_and_seed_only(tmp_path):
    plans = fakes.plan(fakes.write_input(tmp_path))[:3]
    clips = _read(plans)
    together = fakes.extractor()(plans, clips)
    reversed_order = fakes.extractor()(plans[::-1], clips[::-1])[::-1]
    for one, other in zip(together, reversed_order):
        np.testing.assert_array_equal(one["image_latents"], other["image_latents"])
    same_pixels = fakes.extractor()(plans, [clips[0]] * 3)
    noise = [record["image_latents"][1:].tobytes() for record in same_pixels]
    noise.append(fakes.extractor(seed=1)(plans, clips)[0]["image_latents"][1:].tobytes())
    assert len(set(noise)) == 4


def test_provenance_names_everything():
    made = fakes.extractor().provenance
    assert made.codec == {
        "name": "mean",
        "weight_hash": "m0",
        "scaling_factor": 0.5,
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
