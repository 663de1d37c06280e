import base64
import re
from pathlib import Path

import av
import numpy as np

from sr_jax.preparation.framing import Size, Window
from sr_jax.preparation.inputs import Source
from sr_jax.preparation.planning import ClipPlan, Outcome
from sr_jax.preparation.preview import build_preview, clip_look
from sr_jax.preparation.reading import CutClip
from sr_jax.preparation.summary import Summary
from sr_jax.teachers.base import Face
from sr_jax.teachers.depth.colours import PUBLISHED_COLOURS
from tests.preparation import fakes


class TwoFaces:
    name, weight_hash = "two", "t0"

    def __call__(self, frames):
        boxes = [np.array(box, np.float32) for box in ([100, 100, 200, 220], [300, 100, 340, 150])]
        return [[Face(box, 0.9) for box in boxes] for _ in frames[:-1]] + [[]]


def _look(prompt="a <b> person"):
    source = Source(Path("in/a.mp4"), "train", "a", prompt, {})
    plan = ClipPlan("a-00000", source, np.arange(5), Size(480, 720), Window(0, 0, 480, 720))
    frames = np.full((5, 480, 720, 3), 40, np.uint8)
    disparity = np.zeros((5, 480, 720), np.float32)
    disparity[:, 240:] = 1
    arrays = {"face_mask": np.array([1, 0], np.float16)}
    kept = {"depth": {"disparity": disparity}}
    return clip_look(CutClip(plan, frames), arrays, kept, detector=TwoFaces(), colours=PUBLISHED_COLOURS, fps=8.0)


def _decoded(uri, tmp_path):
    path = tmp_path / "look.mp4"
    path.write_bytes(base64.b64decode(uri.removeprefix("data:video/mp4;base64,")))
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def test_a_look_shows_boxes_and_depth(tmp_path):
    look = _look()
    assert (look["mask"], look["faces"], look["size"]) == ([1.0, 0.0], 0.8, "480x720")
    video = _decoded(look["video"], tmp_path)
    # Half the size, two panels of 360 pixels with gaps of 3 around each.
    assert video.shape == (5, 246, 732, 3)
    corner, other, inside = video[0, 3 + 80, 3 + 50], video[0, 3 + 60, 3 + 150], video[0, 3 + 80, 3 + 75]
    assert corner[0] > 150 and corner[2] < corner[0] - 50  # yellow
    assert other.mean() > 90 and np.ptp(other) < 40  # grey
    assert np.abs(inside - 40).max() < 12
    assert np.abs(video[-1, 3 + 80, 3 + 50] - 40).max() < 12  # no face in the last frame
    far, near = video[0, 60, 3 + 366 + 100], video[0, 200, 3 + 366 + 100]
    np.testing.assert_allclose(far, [0, 0, 4], atol=14)
    np.testing.assert_allclose(near, [252, 255, 164], atol=14)


def test_the_page_holds_everything_and_loads_nothing():
    summary = Summary()
    summary.add([Outcome("in/a.mp4", "train", "a", clips=14, dropped={"no person": 2})])
    page = build_preview([_look()] * 14, {"480x720": fakes.extractor().provenance}, summary)
    assert page.count("<figure") == 12
    assert page.count('<span class="face"></span><span class=""></span>') == 12
    assert "a &lt;b&gt; person" in page and "<b>" not in page
    assert "kept: 14 clips of 1 video (train 14)" in page and "no person: 2" in page
    assert "A face in 80% of the frames, in 1 of 2 latent frames." in page
    without_data = re.sub(r'src="data:[^"]*"', "", page)
    assert not re.search(r"https?:|src=|href=|url\(", without_data)


def test_summary_counts_by_kind_of_reason():
    summary = Summary()
    summary.add(
        [
            Outcome("in/a.mp4", "train", "a", clips=3, dropped={"no person": 2}),
            Outcome("in/b.mp4", "test", "b", clips=1, dropped={"no person": 1, "too little motion": 1}),
            Outcome("in/c.mp4", "train", "c", dropped={"no person": 1}),
            Outcome("in/d.mp4", "train", "d", rejected="in/d.mp4 is too short: 3 frames at 8 frames a second"),
            Outcome("in/e f.mp4", "train", "e f", rejected="in/e f.mp4 is too short: 4 frames at 9 frames a second"),
            Outcome("in/g.mp4", "train", "g", rejected="cannot read the video in/g.mp4: Invalid data"),
        ]
    )
    assert summary.lines() == [
        "kept: 4 clips of 2 videos (train 3, test 1)",
        "dropped: 5 clips (no person: 4, too little motion: 1)",
        "rejected: 3 files (is too short: 2, cannot read the video: 1)",
    ]
    assert Summary().lines() == ["kept: 0 clips of 0 videos (none)"]
