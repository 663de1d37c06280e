"""Scores of two folders of video files, from the command to the numbers in its output."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from sr_jax import command_line, evaluate
from sr_jax.configs.evaluate import get_config
from sr_jax.errors import UserError
from sr_jax.evaluation import file_judges
from sr_jax.evaluation.files import evaluate_files
from sr_jax.evaluation.flow import optical_flow
from sr_jax.evaluation.metrics.motion_score import flow_features, motion_score
from sr_jax.evaluation.metrics.psnr import psnr
from sr_jax.evaluation.metrics.ssim import ssim
from sr_jax.evaluation.metrics.structure_consistency import depth_error
from sr_jax.evaluation.results import read_results
from sr_jax.media.video import resize_and_crop, write_video
from sr_jax.teachers.base import DepthTeacher
from tests.evaluation.fakes import colour_faces, real_clip
from tests.evaluation.noise import with_noise


@pytest.fixture
def folders(tmp_path):
    """Three generated clips, which are noisy real ones, and four real ones."""
    ours, real = tmp_path / "ours", tmp_path / "real"
    for folder in (ours, real):
        folder.mkdir()
    for seed in range(4):
        write_video(real / f"clip{seed}.mp4", real_clip(seed), 8.0, lossless=True)
        if seed < 3:
            write_video(ours / f"clip{seed}.mp4", with_noise(real_clip(seed), 20), 8.0, lossless=True)
    return ours, real


def _evaluate(folders, *metrics, **options):
    config = get_config("clips")
    config.update({name: options.pop(name) for name in ("align", "frames_fps") if name in options})
    if metrics:
        config.metrics = metrics
    ours, real = folders
    evaluate_files(config, generated=ours, reference=real, output=ours / "metrics.json", **options)
    return read_results(ours / "metrics.json")


@pytest.fixture
def fresh_flags():
    """Flags of the command: of one object of them, a key of the config can be set once."""
    importlib.reload(evaluate)
    yield evaluate.FLAGS
    importlib.reload(evaluate)


def test_the_command_scores_two_folders_and_says_what_it_did(folders, fresh_flags, monkeypatch, capsys):
    ours, real = folders
    argv = ["evaluate", f"--generated={ours}", f"--reference={real}", "--config.metrics=psnr,ssim"]
    monkeypatch.setattr(sys, "argv", argv)
    command_line.parse(fresh_flags, argv, config=evaluate.CONFIG)
    evaluate.main(fresh_flags)
    content = json.loads((ours / "metrics.json").read_text())
    assert content["about"]["paired"] == "by name" and content["about"]["unused"] == ["clip3"]
    assert [clip["alignment"] for clip in content["clips"]] == ["", "", ""]
    pairs = [(with_noise(real_clip(seed), 20), real_clip(seed)) for seed in range(3)]
    np.testing.assert_allclose(content["means"]["generated"]["psnr"], np.mean([psnr(*pair) for pair in pairs]))
    np.testing.assert_allclose(content["means"]["generated"]["ssim"], np.mean([ssim(*pair) for pair in pairs]))
    assert content["means"]["real"] == {"psnr": None, "ssim": None}
    assert "mean of 3 clips" in capsys.readouterr().out


def test_sets_and_single_clips_are_scored_by_default(folders):
    results = _evaluate(folders)
    flows = [[optical_flow(with_noise(real_clip(seed), 20)), optical_flow(real_clip(seed))] for seed in range(3)]
    features = [np.stack([flow_features(flow) for flow in kind]) for kind in zip(*flows, strict=True)]
    np.testing.assert_allclose(results.means["generated"]["motion_score"], motion_score(*features)[0], rtol=1e-6)
    assert results.means["real"]["motion_score"] is None
    assert results.about["samples"] == {"motion_score": 3 * 4}
    for kind, flow in zip(("generated", "real"), zip(*flows, strict=True), strict=True):
        lengths = [np.linalg.norm(clip, axis=-1).mean() for clip in flow]
        np.testing.assert_allclose(results.means[kind]["motion_magnitude"], np.mean(lengths))


def test_identical_folders_have_perfect_scores(folders):
    results = _evaluate((folders[1], folders[1]))
    means = results.means["generated"]
    assert means["psnr"] == 100 and means["ssim"] == pytest.approx(1, abs=1e-12)
    assert means["motion_score"] == pytest.approx(0, abs=1e-6)
    assert means["motion_magnitude"] == results.means["real"]["motion_magnitude"]


def test_clips_of_other_lengths_and_sizes_are_compared_by_the_rule_that_is_named(folders):
    ours, real = folders
    large = np.kron(real_clip(1), np.ones((1, 2, 3, 1), np.uint8))
    write_video(real / "clip1.mp4", large, 8.0, lossless=True)
    write_video(ours / "clip2.mp4", real_clip(2)[:3], 8.0, lossless=True)
    results = _evaluate(folders)
    assert [clip["alignment"] for clip in results.clips] == [
        "",
        "real frames of 32x48 scaled and cropped to 16x16",
        "3 frames at 8 a second beside 5 frames at 8 a second, aligned by time: 3 compared",
    ]
    expected = psnr(with_noise(real_clip(1), 20), resize_and_crop(large, 16, 16)).mean()
    np.testing.assert_allclose([clip["generated"]["psnr"] for clip in results.clips][1:], [expected, 100])
    # Of flows, as many as the shortest clip has.
    assert results.arrays["flow_generated"].shape == (3, 2, 36) and results.about["samples"]["motion_score"] == 6


def test_rates_are_aligned_by_time_or_by_number(folders):
    _, real = folders
    slow = np.repeat(real_clip(0), 2, axis=0)
    write_video(real / "clip0.mp4", slow, 16.0, lossless=True)
    by_time = _evaluate(folders, "psnr").clips[0]
    assert by_time["alignment"] == "5 frames at 8 a second beside 10 frames at 16 a second, aligned by time: 5 compared"
    np.testing.assert_allclose(by_time["generated"]["psnr"], psnr(with_noise(real_clip(0), 20), real_clip(0)).mean())
    by_number = _evaluate(folders, "psnr", align="frames").clips[0]
    expected = psnr(with_noise(real_clip(0), 20), slow[:5]).mean()
    np.testing.assert_allclose(by_number["generated"]["psnr"], expected)


def test_folders_of_frames_are_clips(folders, frame_folder):
    ours, _ = folders
    shutil.rmtree(ours)
    frame_folder(ours / "clip0", with_noise(real_clip(0), 20))
    results = _evaluate(folders, "psnr")
    np.testing.assert_allclose(
        results.means["generated"]["psnr"], psnr(with_noise(real_clip(0), 20), real_clip(0)).mean()
    )
    assert results.clips[0]["alignment"] == ""
    other = _evaluate(folders, "psnr", frames_fps=4.0)
    assert "5 frames at 4 a second beside 5 frames at 8 a second" in other.clips[0]["alignment"]


def test_a_table_pairs_and_groups(folders, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(
        "generated,reference,prompt,group\nclip1.mp4,clip0.mp4,a wave,anna\nclip0.mp4,clip0.mp4,a dance,\n"
    )
    results = _evaluate(folders, "psnr", table=table)
    assert [(clip["clip_id"], clip["prompt"], clip["source"]) for clip in results.clips] == [
        ("clip0", "a dance", "clip0.mp4"),
        ("clip1", "a wave", "anna"),
    ]
    expected = psnr(with_noise(real_clip(1), 20), real_clip(0)).mean()
    np.testing.assert_allclose(results.clips[1]["generated"]["psnr"], expected)


class _Brightness(DepthTeacher):
    """A depth network for which what is bright is near."""

    name, weight_hash = "brightness", "b1"

    def __call__(self, frames, fps, path):
        assert fps == 8.0 and path.suffix == ".mp4"
        return frames.mean(axis=-1, dtype=np.float32)


def test_judges_read_files_and_the_reference_image(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(file_judges, "load_face_teacher", lambda section: colour_faces())
    monkeypatch.setattr(file_judges, "load_depth_teacher", lambda section: _Brightness())
    Image.fromarray(real_clip(1)[0]).save(tmp_path / "face.png")
    table = tmp_path / "pairs.csv"
    table.write_text("generated,reference,image\nclip0.mp4,clip0.mp4,face.png\nclip1.mp4,clip1.mp4,\n")
    metrics = ("id_score", "id_worst", "face_share", "structure_consistency", "depth_flicker")
    results = _evaluate(folders, *metrics, table=table)
    for number, image in ((0, real_clip(1)[0]), (1, real_clip(1)[0])):
        shown = with_noise(real_clip(number), 20).mean(axis=(1, 2))
        anchor = image.mean(axis=(0, 1))
        cosines = shown @ anchor / np.linalg.norm(shown, axis=1) / np.linalg.norm(anchor)
        scores = results.clips[number]["generated"]
        np.testing.assert_allclose([scores["id_score"], scores["id_worst"]], [cosines.mean(), cosines.min()], rtol=1e-4)
        expected = depth_error(*(x.mean(axis=-1) for x in (with_noise(real_clip(number), 20), real_clip(number))))
        np.testing.assert_allclose(scores["structure_consistency"], expected.mean(), rtol=1e-4)
        # Noise is not where the flow leads.
        assert scores["depth_flicker"] > results.clips[number]["real"]["depth_flicker"]
    assert results.means["real"]["face_share"] == 100 and results.means["real"]["structure_consistency"] is None
    assert results.about["judges"]["face_recogniser"] == {"name": "colour_recogniser", "weight_hash": "r1"}
    assert results.about["judges"]["depth"] == {"name": "brightness", "weight_hash": "b1"}


def test_what_a_metric_needs_of_clips_is_said_before_any_is_scored(folders):
    with pytest.raises(
        UserError, match="Patient looks at 6 frames of each clip, but 3 of 3 have fewer to compare, clip0"
    ):
        _evaluate(folders, "tests.evaluation.own_metrics:Patient")
    with pytest.raises(UserError, match="Prompted compares clips with their prompts: give these in a table"):
        _evaluate(folders, "tests.evaluation.own_metrics:Prompted")


def test_all_clips_that_cannot_be_scored_are_named_before_any_is(folders):
    ours, real = folders
    (ours / "clip0.mp4").write_bytes((ours / "clip0.mp4").read_bytes()[:200])
    write_video(real / "clip2.mp4", real_clip(2)[:1], 8.0, lossless=True)
    with pytest.raises(UserError, match=r"2 of 3 clips cannot be scored.*clip0: cannot read.*clip2: it has 5 frames"):
        _evaluate(folders)
    assert not (ours / "metrics.json").exists()


def test_folders_that_do_not_fit_are_refused(folders, tmp_path):
    ours, real = folders
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(UserError, match="empty holds no clips"):
        _evaluate((tmp_path / "empty", real))
    with pytest.raises(UserError, match=r"1 of 4 clips in .*real have none of the same name in .*ours: clip3;"):
        _evaluate((real, ours))
    shutil.copy(ours / "clip0.mp4", ours / "clip0.mkv")
    with pytest.raises(UserError, match=r"two clips called clip0, clip0\.mkv and clip0\.mp4"):
        _evaluate(folders)
    with pytest.raises(UserError, match="'structure_error' reads latents"):
        _evaluate((real, real), "structure_error")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("generated,real\na,b\n", "has the columns generated, real"),
        ("generated,reference\nclip0.mp4\n", "line 2 of .* has not as many values"),
        ("generated,reference\nclip0.mp4,clip9.mp4\n", r"names .*clip9\.mp4, which is not there"),
        ("generated,reference\nclip0.mp4,clip0.mp4\nclip0.mp4,clip1.mp4\n", "clip0 more than once"),
        ("generated,reference\n", "has no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(folders, tmp_path, content, words):
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(UserError, match=words):
        _evaluate(folders, table=tmp_path / "pairs.csv")
