"""A folder of rendered clips, as many as are wanted."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tqdm

from sr_jax.demo.people.clips import sample_clip
from sr_jax.demo.people.files import is_written, write_clip
from sr_jax.outputs import remove_leftovers, writing_to

_SEED_STRIDE = 1_000_000  # the most clips of one seed


def render_clips(
    folder: Path,
    split: str,
    *,
    clips: int,
    seed: int = 0,
    size: tuple[int, int],
    num_frames: int,
    fps: float,
    framing: str | None = None,
    violent_only: bool = False,
) -> None:
    """Renders the clips that are not in the folder yet, on all cores, with their depth, captions and labels.

    Args:
        folder: Where they go; made when missing.
        split: Of whom, see `kinds.SPLITS`.
        clips: How many there are to be.
        seed: Another one gives other clips.
        size: Height and width in pixels.
        num_frames: Frames of a clip.
        fps: Frames a second.
        framing: How much of a person is seen, one of `kinds.FRAMINGS`; None: drawn for each clip.
        violent_only: Whether only fast and large motions are shown.

    Raises:
        UserError: When the folder holds clips made otherwise, or cannot be written.
    """
    settings = {"seed": seed, "height": size[0], "width": size[1], "frames": num_frames, "fps": fps}
    # In the words of the command, which wrote all folders there are.
    settings |= {"framing": framing.replace(" ", "_") if framing else "mixed"}
    settings |= {"motions": "violent" if violent_only else "all"}
    videos = [folder / f"{index:06d}.mp4" for index in range(clips)]
    missing = [index for index, video in enumerate(videos) if not is_written(video, settings)]
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)

    def render(index: int) -> None:
        clip = sample_clip(
            seed * _SEED_STRIDE + index,
            split,
            size=size,
            num_frames=num_frames,
            fps=fps,
            framing=framing,
            violent_only=violent_only,
        )
        write_clip(videos[index], clip, fps, settings)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm.tqdm(pool.map(render, missing), desc=f"rendering {split}", unit="clip", total=len(missing))
        for _ in bar:
            pass
