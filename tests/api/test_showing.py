import base64
import json
import re
import sys
import time
import types

import numpy as np
import pytest

from sr_jax.api import live, show_clips, show_curves, show_page
from sr_jax.api.showing import Html
from sr_jax.errors import UserError
from sr_jax.media.video import read_video, write_video

SHADES = {"dark <b>": 40, "light": 200}


def _clip(shade, frames=3):
    return np.full((frames, 16, 12, 3), shade, np.uint8)


def _videos(html, folder):
    """The videos in markup, read back."""
    for number, text in enumerate(re.findall(r'src="data:video/mp4;base64,([^"]+)"', str(html))):
        path = folder / f"{number}.mp4"
        path.write_bytes(base64.b64decode(text))
        yield read_video(path)


def test_clips_are_shown_side_by_side_in_one_video_of_a_row(tmp_path):
    shown = show_clips({title: _clip(shade) for title, shade in SHADES.items()}, fps=12.0)
    [(frames, fps)] = _videos(shown, tmp_path)
    assert (len(frames), fps) == (3, 12.0)
    middle = frames[1].shape[0] // 2
    left, right = (frames[1, middle, int(part * frames.shape[2])].mean() for part in (0.25, 0.75))
    np.testing.assert_allclose([left, right], [*SHADES.values()], atol=3)
    assert "dark &lt;b&gt;" in str(shown) and "<b>" not in str(shown)
    assert shown._repr_html_() == str(shown) == shown.__html__()


def test_files_have_their_names_and_rate_and_rows_are_filled(tmp_path):
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", _clip(90), 6.0, lossless=True)
    shown = show_clips([tmp_path / "a.mp4", str(tmp_path / "b.mp4"), tmp_path / "c.mp4"], columns=2)
    (tmp_path / "read").mkdir()
    videos = [*_videos(shown, tmp_path / "read")]
    assert [fps for _, fps in videos] == [6.0, 6.0]
    assert videos[0][0].shape[2] > 1.8 * videos[1][0].shape[2]
    assert re.findall(r"<span>(\w+)</span>", str(shown)) == ["a", "b", "c"]
    assert re.findall(r"width: ([\d.]+)%", str(shown).split("</style>")[1]) == ["100.0", "50.0"]


def test_numbers_between_minus_1_and_1_are_pixels(tmp_path):
    [(frames, _)] = _videos(show_clips([np.zeros((2, 16, 12, 3), np.float32)]), tmp_path)
    np.testing.assert_allclose(frames[0, frames.shape[1] // 2, frames.shape[2] // 2], 127.5, atol=3)


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ([], "at least one clip"),
        ({"a": _clip(0), "b": _clip(0, frames=5)}, "a: 3 frames of 16x12, b: 5 frames of 16x12"),
        ([np.zeros((16, 12, 3))], r"not \[16, 12, 3\]"),
    ],
)
def test_clips_that_cannot_be_shown_are_told_of(clips, words):
    with pytest.raises(UserError, match=words):
        show_clips(clips)


def _log(workdir, *lines):
    workdir.mkdir(exist_ok=True)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _line(step, **losses):
    return {"step": step, "wall_time": 2.0 * step, "loss": 9.0} | {f"loss/{name}": x for name, x in losses.items()}


def test_curves_have_the_losses_of_the_log(tmp_path):
    _log(tmp_path / "one", _line(1, structure=2.0, identity=1.0), _line(3, structure=1.0, identity=0.5))
    _log(tmp_path / "two", _line(1, structure=4.0, **{"structure/t0-200": 3.0}))
    shown = str(show_curves(tmp_path / "one", tmp_path / "two"))
    assert re.findall("<strong>(.*?)</strong>", shown) == ["structure", "identity"]
    styles = re.findall(r'polyline class="curve (\w+)" points="([^"]*)"', shown)
    assert [style for style, _ in styles] == ["run0", "run1", "run0"]
    heights = [float(point.split(",")[1]) for _, points in styles[:2] for point in points.split()]
    # Values 2 and 1 of the first run, 4 of the second: equal steps of y, downwards.
    assert heights[1] - heights[0] == pytest.approx((heights[0] - heights[2]) / 2, abs=0.2)
    assert re.findall(r'<span class="(\w+)">&#9632; (\w+)</span>', shown) == [("run0", "one"), ("run1", "two")]
    with pytest.raises(UserError, match="three: name from 1 to 6 workdirs"):
        show_curves(tmp_path / "three")


def test_a_page_is_shown_in_a_frame_of_its_own(tmp_path):
    (tmp_path / "page.html").write_text('<p class="x">&amp;</p>')
    shown = str(show_page(tmp_path / "page.html", height=50))
    assert 'srcdoc="&lt;p class=&#34;x&#34;&gt;&amp;amp;&lt;/p&gt;"' in shown and "height: 50px" in shown
    with pytest.raises(UserError, match="no page"):
        show_page(tmp_path / "none.html")


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook was told to show, in order."""
    shown = []

    def display(html, display_id):
        shown.append(html)
        return types.SimpleNamespace(update=shown.append)

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(live, "_SECONDS", 0.01)
    return shown


def test_curves_grow_while_a_run_trains(tmp_path, notebook, capsys):
    with live.live_curves(tmp_path / "two"):
        assert "compiling" in str(notebook[0])
        print("a line")
        _log(tmp_path / "two", _line(1, denoising=2.0))
        wait_until = time.monotonic() + 10
        while len(notebook) < 2 and time.monotonic() < wait_until:
            time.sleep(0.01)
        assert "two: step 1, 2 seconds" in str(notebook[1])
        _log(tmp_path / "two", _line(2, denoising=1.0))
        (tmp_path / "two/skipped_steps.jsonl").write_text('{"step": 2, "clips": []}\n')
    assert "two: step 2, 4 seconds, skipped steps: 1" in str(notebook[-1])
    assert len(notebook) <= 4 and all(isinstance(html, Html) for html in notebook)
    assert capsys.readouterr().out == ""


def test_curves_stay_when_a_run_fails(tmp_path, notebook):
    with pytest.raises(ZeroDivisionError), live.live_curves(tmp_path):
        _log(tmp_path, _line(1, denoising=2.0))
        raise ZeroDivisionError
    assert "step 1" in str(notebook[-1])


def test_outside_of_a_notebook_there_are_no_live_curves(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(UserError, match="for notebooks"), live.live_curves(tmp_path):
        pass
