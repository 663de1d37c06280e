import json

import numpy as np
import pytest

from sr_jax.demo.pretrained.sample_quality import sample_quality
from sr_jax.evaluation.metrics.base import Description
from sr_jax.evaluation.metrics.cpbd import Metric as Cpbd
from sr_jax.evaluation.metrics.psnr import Metric as Psnr
from sr_jax.evaluation.results import Results, write_results
from sr_jax.media.video import write_video
from sr_jax.teachers.base import FaceTeacher
from tests.evaluation.fakes import ColourDetector, ColourRecogniser

_FRAMES = 5


def _clip(path, colour, step=0):
    """A clip of one colour, which grows brighter from frame to frame."""
    frames = np.full((_FRAMES, 16, 16, 3), colour) + step * np.arange(_FRAMES)[:, None, None, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames.astype(np.uint8), 8.0, lossless=True)


def _cosine(first, second):
    return np.dot(first, second) / np.linalg.norm(first) / np.linalg.norm(second)


@pytest.fixture
def folders(tmp_path):
    colours = {"a0": (200, 60, 60), "a1": (180, 90, 60), "b0": (60, 60, 200), "b1": (0, 0, 0)}
    entries = []
    for clip_id, colour in colours.items():
        _clip(tmp_path / "real" / f"{clip_id}.mp4", colour, step=5 if clip_id == "b0" else 0)
        # Of person b, one clip shows no face.
        labels = {"identity": clip_id[0], "violent": clip_id != "b0"}
        entries.append({"clip_id": clip_id, "prompt": "", "source": "", "labels": labels})
    (tmp_path / "real" / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for clip_id, colour in {"a0": (60, 200, 60), "b0": (60, 60, 180)}.items():
        _clip(tmp_path / "samples" / f"{clip_id}.mp4", colour)
    descriptions = [Description(metric.score.key, "clip", metric.score) for metric in (Psnr, Cpbd)]
    clips = [
        {**entry, "generated": {"psnr": 30.0, "cpbd": 0.2}, "codec": {"psnr": 40.0, "cpbd": 0.5}}
        for entry in entries
        if entry["clip_id"] in ("a0", "b0")
    ]
    means = {"generated": {"psnr": 30.0, "cpbd": 0.2}, "codec": {"psnr": 40.0, "cpbd": 0.5}}
    write_results(Results(descriptions, clips, means, {}, {}), tmp_path / "scores.json")
    return tmp_path


def test_figures_of_the_card_are_their_formulas(folders):
    judge = FaceTeacher(ColourDetector(), ColourRecogniser())
    found = sample_quality(folders / "samples", folders / "scores.json", folders / "real", judge)
    assert found["clips"] == 2 and found["means"]["codec"]["psnr"] == 40.0
    assert found["sharpness (CPBD), share of the codec's"] == pytest.approx(0.4)
    # b0 alone is gentle: frame t differs from the first by 5 t.
    still = [100.0] + [10 * np.log10(255**2 / (5 * t) ** 2) for t in range(1, _FRAMES)]
    assert found["gentle clips"] == 1
    assert found["gentle clips, PSNR above repeating the first frame"] == pytest.approx(30 - np.mean(still))
    # a0 is compared with a1; b0 is not, as its other clip shows no face.
    generated, real = _cosine((60, 200, 60), (180, 90, 60)), _cosine((200, 60, 60), (180, 90, 60))
    likeness = found["likeness to another clip of the person"]
    assert likeness == pytest.approx({"clips": 1, "generated": generated, "real": real, "share": generated / real})
