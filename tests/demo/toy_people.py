"""Toy clips for fitting: one oval head with eyes, of a colour that is its person's, drifting over a plain wall."""

import json

import numpy as np

from sr_jax.demo.labelled_clips import LabelledClips
from sr_jax.media.video import write_video

HEIGHT, WIDTH, FRAMES, FPS = 32, 24, 5, 8.0


def toy_clips(split, count):
    """`count` clips, two of each person; people of `train` and `test` differ. Some last frames hide it."""
    clips = [_clip(np.random.default_rng([split == "test", n]), split, n // 2, hidden=n % 5 == 4) for n in range(count)]
    frames, boxes, visible, identities = zip(*clips)
    names = [f"{n:03d}" for n in range(count)]
    return LabelledClips(names, np.stack(frames), FPS, np.stack(boxes), np.stack(visible), identities)


def write_toy_clips(folder, clips):
    """Writes clips as `sr_jax.demo.people` does."""
    folder.mkdir(parents=True)
    for name, frames, boxes, visible, who in zip(
        clips.names, clips.frames, clips.face_boxes, clips.face_visible, clips.identities
    ):
        write_video(folder / f"{name}.mp4", frames, clips.fps, lossless=True)
        ramp = np.broadcast_to(np.linspace(1, 4, WIDTH, dtype=np.float32), frames.shape[:3])
        np.savez(folder / f"{name}.depth.npz", depth=ramp)
        labels = {"identity": who, "face_boxes": boxes.tolist(), "face_visible": visible.tolist()}
        (folder / f"{name}.json").write_text(json.dumps(labels))


def _clip(rng, split, person, *, hidden):
    looks = np.random.default_rng([split == "test", 1000 + person])
    skin, eyes = looks.uniform(40, 255, 3), looks.uniform(0, 255, 3)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    wall = rng.uniform(60, 180, 3)
    centre = rng.uniform([8, 8], [WIDTH - 8, HEIGHT - 8])
    radii = rng.uniform(4, 5.5) * np.array([0.85, 1.0])
    frames, boxes = [], []
    for _ in range(FRAMES):
        centre = centre + rng.uniform(-0.7, 0.7, 2)
        across, up = (columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1]
        frame = np.broadcast_to(wall, (HEIGHT, WIDTH, 3)).copy()
        if not (hidden and len(frames) == FRAMES - 1):
            frame[across**2 + up**2 < 1] = skin
            frame[(np.abs(np.abs(across) - 0.4) < 0.2) & (np.abs(up + 0.2) < 0.2)] = eyes
        frames.append(np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8))
        boxes.append([*(centre - radii), *(centre + radii)])
    visible = np.ones(FRAMES, bool)
    visible[-1] = not hidden
    return np.stack(frames), np.array(boxes, np.float32), visible, f"{split}-{person}"
