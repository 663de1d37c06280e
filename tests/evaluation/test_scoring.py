import json
import shutil
from pathlib import Path

import ml_collections
import numpy as np
import pytest

from sr_jax.data.clips import read_index
from sr_jax.errors import UserError
from sr_jax.evaluation import judging
from sr_jax.evaluation.flow import optical_flow
from sr_jax.evaluation.judges import find_faces
from sr_jax.evaluation.metrics import id_score
from sr_jax.evaluation.metrics.base import JUDGES, Clip
from sr_jax.evaluation.metrics.motion_score import flow_features, motion_score
from sr_jax.evaluation.metrics.psnr import Metric as PSNR
from sr_jax.evaluation.metrics.psnr import psnr
from sr_jax.evaluation.results import read_results
from sr_jax.evaluation.scoring import ClipScores, generated_clips, generated_ids, score_clips
from sr_jax.media.video import read_video, to_unit_range
from sr_jax.models.functional import Functional
from tests.evaluation.conftest import CLIPS, make_judges, make_metrics
from tests.evaluation.fakes import FRAMES, HEIGHT, WIDTH, PatchCodec, PullingNetwork, colour_faces, real_clip


def _clip(name: str, real: np.ndarray, shown: np.ndarray) -> Clip:
    disparity = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)
    return Clip(name, real, disparity, np.asarray(PatchCodec().encode(to_unit_range(shown)[None])[0][0]))


def _scored(clips: list[Clip], **options) -> list[tuple[str, ClipScores]]:
    return list(score_clips(iter(clips), make_judges().judges, list(make_metrics().values()), **options))


def test_scores_of_one_clip_are_those_of_the_metrics():
    real, shown = real_clip(0), real_clip(1)
    [(name, scores)] = _scored([_clip("a", real, shown)], batch_size=4, with_real=True)
    keys = {metric.score.key for metric in make_metrics().values() if metric.level == "clip"}
    assert name == "a" and scores.values.keys() == keys
    np.testing.assert_allclose(scores.values["psnr"], psnr(shown, real).mean(), rtol=1e-6)
    embeddings, _ = find_faces(np.concatenate([real[:1], shown]), colour_faces())
    np.testing.assert_allclose(scores.frames["id_score"], embeddings[1:] @ embeddings[0], rtol=1e-5)
    np.testing.assert_allclose(scores.values["id_score"], (embeddings[1:] @ embeddings[0]).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores.features["flow"], flow_features(optical_flow(shown)))
    np.testing.assert_array_equal(scores.real_features["flow"], flow_features(optical_flow(real)))
    length = np.linalg.norm(optical_flow(shown), axis=-1).mean()
    np.testing.assert_allclose(scores.values["motion_magnitude"], length, rtol=1e-12)
    np.testing.assert_allclose(scores.values["structure_error"], 100 * scores.structure.mean(), rtol=1e-5)
    assert scores.values["face_found"] == 100.0


def test_missing_faces_count_as_not_found_and_leave_the_similarity_out():
    real = real_clip(0)
    half = real.copy()
    half[2:] = 0
    dark = np.zeros_like(real)
    clips = [_clip("half", real, half), _clip("no face in the real clip", dark, real)]
    (_, first), (_, second) = _scored(clips, batch_size=2)
    assert first.values["face_found"] == pytest.approx(100 * 2 / FRAMES)
    np.testing.assert_array_equal(np.isnan(first.frames["id_score"]), [False, False, True, True, True])
    np.testing.assert_allclose(first.values["id_score"], 1, atol=1e-3)
    assert second.values["id_score"] is None and second.values["face_found"] is None


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_scores_do_not_depend_on_batches(batch_size):
    clips = [_clip(str(seed), real_clip(seed), real_clip(seed + 1)) for seed in range(3)]
    scores = dict(_scored(clips, batch_size=batch_size))
    assert list(scores) == ["0", "1", "2"]
    expected = psnr(real_clip(3), real_clip(2)).mean()
    np.testing.assert_allclose(scores["2"].values["psnr"], expected, rtol=1e-6)


def test_a_clip_of_another_size_is_refused():
    small = np.asarray(PatchCodec().encode(np.zeros((1, 5, 8, 16, 3), np.float32))[0][0])
    clip = Clip("a", real_clip(0), np.zeros((FRAMES, HEIGHT, WIDTH), np.float32), small)
    with pytest.raises(UserError, match="5 frames of 8x16 pixels, the real ones 5 frames of 16x16"):
        _scored([clip], batch_size=1)


def test_results_come_back_from_disk(runs, data):
    results = read_results(runs["control"] / "metrics.json")
    assert [clip["clip_id"] for clip in results.clips] == [f"held_out{number:03d}" for number in range(CLIPS)]
    assert results.clips[1]["labels"] == {"identity": 0, "held_out_motion": True}
    assert results.clips[1]["source"] == "video0.mp4"
    np.testing.assert_array_equal(results.groups(), [0, 0, 1, 1, 2])
    assert results.group_name == "people"
    np.testing.assert_allclose(results.means["generated"]["psnr"], results.values(PSNR.score, "generated").mean())
    np.testing.assert_allclose(results.means["codec"]["psnr"], 100, atol=1)
    np.testing.assert_allclose(results.values(id_score.Metric.score, "codec"), 1, atol=0.01)
    flow = motion_score(results.arrays["flow_generated"], results.arrays["flow_real"])
    np.testing.assert_allclose(results.means["generated"]["motion_score"], flow, rtol=1e-3)
    assert results.arrays["id_score_generated"].shape == (CLIPS, FRAMES)
    assert results.about["made_by"]["step"] == 7 and results.about["fps"] == 8.0
    depth, _ = read_video(runs["control"] / "depth" / "held_out000.mp4")
    assert depth.shape == (FRAMES, HEIGHT, WIDTH, 3)


def test_results_that_are_missing_or_damaged_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"sr_jax\.evaluate"):
        read_results(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="evaluate again"):
        read_results(tmp_path / "metrics.json")


def test_results_from_before_they_named_videos_need_labels_of_people(runs, tmp_path):
    shutil.copy(runs["control"] / "metrics.npz", tmp_path)
    content = json.loads((runs["control"] / "metrics.json").read_text())
    for clip in content["clips"]:
        del clip["source"]
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(read_results(tmp_path / "metrics.json").groups(), [0, 0, 1, 1, 2])
    del content["clips"][-1]["labels"]["identity"]
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not say which person or video each clip shows: evaluate again"):
        read_results(tmp_path / "metrics.json")


def _judge(generated: Path, data: Path, output: Path, workdir: str = "wj"):
    reference, depth = data / "clips" / "test", output / "depth"
    return judging.judge_folder(make_judges(workdir), make_metrics(), generated, reference, depth, batch_size=2)


def test_folders_that_do_not_fit_are_refused(runs, data, tmp_path):
    reference = data / "clips" / "test"
    with pytest.raises(UserError, match="keep_clips"):
        read_index(tmp_path)
    with pytest.raises(UserError, match="no generated clips"):
        generated_ids(tmp_path, read_index(reference))
    (tmp_path / "stranger.mp4").touch()
    with pytest.raises(UserError, match=r"stranger\.mp4 is no clip of the reference"):
        generated_ids(tmp_path, read_index(reference))
    (tmp_path / "held_out000.npz").write_text("damaged")
    with pytest.raises(UserError, match=r"held_out000\.npz: remove it"):
        list(generated_clips(tmp_path, reference, ["held_out000"]))
    with pytest.raises(UserError, match="w1 supervised the clips"):
        _judge(runs["control"], data, tmp_path, "w1")


@pytest.mark.parametrize(
    ("made_with", "message"),
    [
        ({"codec_hash": "c9"}, "codec of hash c9, config.codec has c0"),
        ({"face_recogniser_hash": "r1"}, "judge of faces is the teacher that supervised the clips"),
    ],
)
def test_clips_of_another_codec_or_supervised_by_the_judge_are_refused(runs, data, tmp_path, made_with, message):
    settings = json.loads((runs["control"] / "sampling.json").read_text())
    assert settings.keys() >= made_with.keys()
    (tmp_path / "sampling.json").write_text(json.dumps(settings | made_with))
    with pytest.raises(UserError, match=message):
        _judge(tmp_path, data, tmp_path)


def _checkpoint(monkeypatch, *, recogniser: str = "t0", codec: str = "c0", structure_input: str = "clean"):
    """Lets `load_judges` find a structure judge that was trained on a dataset with this teacher and codec."""
    provenance = {
        "codec": {"weight_hash": codec},
        "teachers": {"face_recogniser": {"weight_hash": recogniser}, "depth": {"colour_map": "viridis"}},
    }
    config = {
        "structure": {},
        "structure_text": "none",
        "structure_input": structure_input,
        "dtype": "float32",
        "seed": 1,
    }
    meta = {"config": config, "step": 4, "provenance": provenance}
    params = {"structure": {"strength": np.float32(1.0)}}
    monkeypatch.setattr(judging, "open_params", lambda workdir, step: (params, json.loads(json.dumps(meta))))
    monkeypatch.setattr(judging, "load_codec", lambda section: PatchCodec())
    monkeypatch.setattr(judging, "load_face_teacher", lambda section: colour_faces())
    monkeypatch.setattr(judging, "structure_backbone_of", lambda trained: None)
    monkeypatch.setattr(judging, "structure_network", lambda *_, **__: Functional(lambda rngs: PullingNetwork()))


def _config(structure: str = "wj") -> ml_collections.ConfigDict:
    parts = {"name": "tests.evaluation.fakes:load_colour_parts"}
    sections = {"codec": {}, "faces": {}, "body_parts": parts}
    return ml_collections.ConfigDict(sections | {"structure": structure, "batch_size": 2})


def test_loaded_judges_say_who_they_are(monkeypatch):
    _checkpoint(monkeypatch)
    loaded = judging.load_judges(_config(), JUDGES)
    assert loaded.about["structure"] == {"workdir": "wj", "seed": 1, "step": 4}
    assert loaded.about["face_recogniser"] == {"name": "colour_recogniser", "weight_hash": "r1"}
    assert loaded.about["body_parts"] == {"name": "colour_parts", "weight_hash": "p1"}
    assert loaded.judges.colour_map == "viridis"


def test_judges_that_no_metric_needs_are_not_loaded(monkeypatch):
    monkeypatch.setattr(judging, "load_codec", lambda section: PatchCodec())
    loaded = judging.load_judges(_config(""), ())
    assert loaded.about.keys() == {"codec"}
    assert loaded.judges.read_structure is loaded.judges.faces is loaded.structure_workdir is None


@pytest.mark.parametrize(
    ("checkpoint", "config", "message"),
    [
        ({}, _config(""), "config.structure is empty"),
        ({"recogniser": "r1"}, _config(), "teacher that supervised"),
        ({"codec": "c9"}, _config(), "another codec"),
        ({"structure_input": "noisy"}, _config(), "no structure module of clean latents"),
    ],
)
def test_judges_that_cannot_judge_are_refused(monkeypatch, checkpoint, config, message):
    _checkpoint(monkeypatch, **checkpoint)
    with pytest.raises(UserError, match=message):
        judging.load_judges(config, JUDGES)
