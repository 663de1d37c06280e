"""Draws the README's moving picture from what launch/demo.sh wrote.

  python -m benchmarks.demo_picture --demo demo_output --picture docs/demo.webp

The first held-out clips in the order of their names, none chosen by eye: the real clip, the control and SemanticREPA
below one another.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from sr_jax.media.video import read_video

_GAP = 4
_LABEL_HEIGHT = 18
_BACKGROUND, _INK = (255, 255, 255), (40, 40, 40)


def moving_picture(folders: dict[str, Path], *, clips: int, scale: float) -> list[Image.Image]:
    """One picture a frame: a row for each folder with its name above it, a column for each clip.

    Args:
        folders: By what they are called; each holds NAME.mp4 of the same clips.
        clips: How many of them, the first ones by name of the last folder.
        scale: How much larger than in the files.
    """
    names = sorted(path.name for path in list(folders.values())[-1].glob("*.mp4"))[:clips]
    rows = {title: _row([folder / name for name in names], scale) for title, folder in folders.items()}
    return [_stacked({title: row[number] for title, row in rows.items()}) for number in range(_shortest(rows))]


def save(pictures: Sequence[Image.Image], path: Path, *, fps: float) -> None:
    """Writes an animated WebP that is shown without end."""
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=82, method=6)


def _row(paths: Sequence[Path], scale: float) -> UInt8[np.ndarray, "f h w 3"]:
    """Clips beside one another."""
    clips = [read_video(path)[0] for path in paths]
    height, width = (round(side * scale) for side in clips[0].shape[1:3])
    enlarged = [[cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in clip] for clip in clips]
    gap = np.full((height, _GAP, 3), _BACKGROUND, np.uint8)
    frames = [[part for picture in pictures for part in (picture, gap)][:-1] for pictures in zip(*enlarged)]
    return np.stack([np.concatenate(parts, axis=1) for parts in frames])


def _stacked(rows: dict[str, UInt8[np.ndarray, "h w 3"]]) -> Image.Image:
    """Rows below one another, each below its name."""
    height, width = next(iter(rows.values())).shape[:2]
    picture = Image.new("RGB", (width, len(rows) * (height + _LABEL_HEIGHT)), _BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for place, (title, row) in enumerate(rows.items()):
        top = place * (height + _LABEL_HEIGHT)
        draw.text((1, top + 1), title, fill=_INK, font=font)
        picture.paste(Image.fromarray(row), (0, top + _LABEL_HEIGHT))
    return picture


def _shortest(rows: dict[str, UInt8[np.ndarray, "f h w 3"]]) -> int:
    return min(map(len, rows.values()))


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--demo", type=Path, default=Path("demo_output"), help="what launch/demo.sh wrote")
    parser.add_argument("--picture", type=Path, default=Path("docs/demo.webp"), help="file to write")
    parser.add_argument("--clips", type=int, default=6, help="columns")
    parser.add_argument("--scale", type=float, default=1.5, help="how much larger than the clips")
    parser.add_argument("--fps", type=float, default=8.0, help="frames a second; the clips have 40")
    args = parser.parse_args()
    folders = {
        "real clip (held out)": args.demo / "data/clips/test",
        "fine-tuned only (control)": args.demo / "samples/control",
        "SemanticREPA": args.demo / "samples/semantic_repa",
    }
    save(moving_picture(folders, clips=args.clips, scale=args.scale), args.picture, fps=args.fps)


if __name__ == "__main__":
    main()
