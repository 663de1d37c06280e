"""Two hundred files that nobody should have put among the videos."""

import json
import os
import wave
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from sr_jax.data import builder
from tests.preparation import fakes

_STRANGE = (
    "  spaces  ",
    "two\nlines",
    "tab\t",
    "caf\u00e9 \u4eba",
    "-rf",
    "%03d",
    "a'b\"c",
    "[x]{y}*?",
    "http:x",
    os.fsdecode(b"\xff\xfe"),
)


def _encode(path: Path, frames: np.ndarray, codec: str, pixel_format: str, container: str, jump: int = 0) -> bytes:
    """A video at 8 frames a second; after its fourth frame, time jumps by so many seconds."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number + (jump * 8 if number >= 4 else 0)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path.read_bytes()


def _sound(path: Path) -> bytes:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"\0" * 16000)
    return path.read_bytes()


def _hostile(scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of 185 files."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (24, 16, 24, 3)).astype(np.uint8)
    mp4 = _encode(scratch / "a", noise, "libx264", "yuv420p", "mp4")
    mkv = _encode(scratch / "a", noise, "ffv1", "bgr0", "matroska")
    huge = _encode(scratch / "a", np.zeros((1, 4400, 7800, 3), np.uint8), "libx264", "yuv420p", "mp4")
    png = scratch / "a.png"
    av.VideoFrame.from_ndarray(noise[0], format="rgb24").to_image().save(png)
    for number, part in enumerate(rng.uniform(0.02, 0.98, 30)):
        yield f"cut{number}.mp4", mp4[: int(part * len(mp4))]
    for number, part in enumerate(rng.uniform(0.02, 0.8, 30)):
        yield f"torn{number}.mkv", mkv[: int(part * len(mkv))]
    for number in range(5):
        yield f"empty{number}.mp4", b""
        yield f"jump{number}.mkv", _encode(scratch / "a", noise[:8], "ffv1", "bgr0", "matroska", 10 ** (number + 6))
        yield f"odd{number}.mp4", mp4
    for number, suffix in enumerate(["mp4", "mov", "avi", "webm", "mkv"] * 5):
        yield f"text{number}.{suffix}", f"this is no video but number {number}".encode()
        if number < 20:
            yield f"noise{number}.{suffix}", rng.bytes(3000)
        if number < 10:
            yield f"picture{number}.{suffix}", png.read_bytes()
    for number in range(10):
        yield f"huge{number}.mp4", huge
        yield f"single{number}.mp4", _encode(scratch / "a", noise[:1], "libx264", "yuv420p", "mp4")
        yield f"short{number}.mkv", _encode(scratch / "a", noise[: 2 + number % 3], "ffv1", "bgr0", "matroska")
        yield f"sound{number}.mp4", _sound(scratch / "a")
    for name in _STRANGE:
        yield f"{name}.mov", b"strange name, strange content"
    for number in range(5):
        yield f"forbidden{number}.mp4", mp4


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with 200 hostile files and the good videos of `_STRANGE` names; their paths."""
    folder, scratch = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("scratch")
    fakes.write_source(scratch / "good.mp4", frames=7)
    good = [folder / "good" / f"{name}.mp4" for name in (*_STRANGE, "plain")]
    hostile = []
    for name, content in _hostile(scratch):
        hostile.append(folder / name)
        hostile[-1].write_bytes(content)
    (folder / "good").mkdir()
    for path in good:
        path.write_bytes((scratch / "good.mp4").read_bytes())
    for number in range(5):
        loop, gone = folder / f"loop{number}.mp4", folder / f"gone{number}.mp4"
        loop.symlink_to(loop.name)
        gone.symlink_to(f"nothing{number}")
        circle = folder / "good" / f"circle{number}"
        circle.symlink_to(folder)
        hostile += [loop, gone, circle]
    return folder, good, hostile


def test_none_stops_the_run_and_each_is_named_once(videos, tmp_path, monkeypatch):
    folder, good, hostile = videos
    assert len(hostile) == 200
    open_video = av.open

    # The super-user, who runs tests in containers, may read everything.
    def refuse(file, *args, **kwargs):
        if "forbidden" in file:
            raise PermissionError(13, "Permission denied")
        if "odd" in file:
            raise MemoryError
        return open_video(file, *args, **kwargs)

    monkeypatch.setattr(av, "open", refuse)
    options = {
        "planning": {"strict": False, "default_prompt": "somebody"},
        "teachers": fakes.depth(fakes.BrightnessDepth()),
    }
    summary = fakes.make(folder, tmp_path / "data", shards=3, batch_size=8, keep_clips=False, **options)
    rows = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    named = Counter(row["file"] for row in rows)
    assert named == Counter(str(path) for path in hostile)
    reasons = {row["file"]: row["reason"] for row in rows}
    for word, reason in {
        "cut1.mp4": "cannot read the video",
        "torn1.mkv": "cannot read the video",
        "empty1.mp4": "cannot read the video",
        "jump0.mkv": f"every shot of {folder / 'jump0.mkv'} is too short: 8 frames",
        "jump4.mkv": f"every shot of {folder / 'jump4.mkv'} is too short: 8 frames",
        "odd1.mp4": f"MemoryError while reading {folder / 'odd1.mp4'}",
        "text1.mov": "cannot read the video",
        "picture1.mov": "holds no video stream",
        "huge1.mp4": "7800x4400 pixels: scale it down",
        "single1.mp4": "is too short: 1 frames",
        "short1.mkv": "is too short: 3 frames",
        "sound1.mp4": "holds no video stream",
        "forbidden1.mp4": "Permission denied",
        "loop1.mp4": "is a link that leads to no file",
        "good/circle1": "is a link to a folder that was searched already",
    }.items():
        assert reason in reasons[str(folder / word)], word
    records = list(builder.open_dataset(tmp_path / "data", "train"))
    assert len(records) == len(good) == summary.clips.total()
    assert summary.rejected.total() == 200
