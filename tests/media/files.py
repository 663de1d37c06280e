"""Video files with what a camera, a cutter or a bad line leaves in them."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

# Numbers of ITU-T H.273.
COLOUR_FIELDS = ("colorspace", "color_range", "color_trc", "color_primaries")


def smooth(count: int = 6, height: int = 32, width: int = 48) -> np.ndarray:
    """Smooth pictures `[count, height, width, 3]` that differ at every corner, and from each other."""
    y, x = np.mgrid[:height, :width]
    pictures = [np.stack([240 * x // width, 240 * y // height, np.full_like(x, 20 * n)], -1) for n in range(count)]
    return np.stack(pictures).astype(np.uint8)


def textured(count: int, height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Coarse noise that moves by two pixels a frame to the left."""
    rng = np.random.default_rng(seed)
    noise = np.kron(rng.integers(0, 256, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return np.stack([np.roll(noise, -2 * number, axis=1) for number in range(count)])


def write(
    path: Path,
    frames: Sequence[av.VideoFrame] | np.ndarray,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    fps: int = 25,
    container: str | None = None,
    matrix: Sequence[int] | None = None,
    colours: Sequence[int] = (),
    **options: str,
) -> Path:
    """Writes a video; the matrix turns its frames, and what it says of its colours are the `COLOUR_FIELDS`."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=fps, options=options)
        if isinstance(frames, np.ndarray):
            frames = [av.VideoFrame.from_ndarray(pixels, format="rgb24") for pixels in frames]
        stream.height, stream.width, stream.pix_fmt = frames[0].height, frames[0].width, pixel_format
        for field, value in zip(COLOUR_FIELDS, colours):
            setattr(stream.codec_context, field, value)
        if matrix:
            stream.set_display_matrix(matrix)
        for number, frame in enumerate(frames):
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def join(path: Path, *parts: Path) -> Path:
    """Puts MPEG transport streams one after the other, as `cat` does."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
