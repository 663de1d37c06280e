"""Seconds a clip of every metric, and the memory of scoring two folders of clips.

  python -m benchmarks.evaluate_folders --clips 200 --metrics psnr,ssim,motion_score,motion_magnitude,cpbd
  python -m benchmarks.evaluate_folders --networks

Clips are textures that slide, 49 frames of 480x720 pixels; the files of a folder are links to a few of them, which is
all the same to what reads them. Networks have random weights: their time does not depend on them.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import numpy as np

from sr_jax.configs.evaluate import get_config
from sr_jax.evaluation.batches import in_batches
from sr_jax.evaluation.files import evaluate_files
from sr_jax.evaluation.inception import prepare as prepare_inception
from sr_jax.evaluation.metrics.base import Clip, find_metric
from sr_jax.evaluation.metrics.fvd import prepare as prepare_i3d
from sr_jax.evaluation.metrics.lpips import distances
from sr_jax.media.video import write_video
from sr_jax.models.alexnet import WIDTHS, AlexNet
from sr_jax.models.functional import Functional
from sr_jax.models.i3d import I3D, I3DConfig
from sr_jax.models.inception_v3 import InceptionV3

SIZE = (49, 480, 720)
_DISTINCT = 2


def clip(seed: int, size: tuple[int, int, int] = SIZE) -> np.ndarray:
    """A texture that slides, with noise, uint8 `[F, H, W, 3]`."""
    frames, height, width = size
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (height, width + 2 * frames, 3)).astype(np.float32), (0, 0), 4)
    texture = 128 + 8 * (texture - texture.mean())
    shown = [
        texture[:, 2 * frame : 2 * frame + width] + rng.normal(0, 3, (height, width, 3)) for frame in range(frames)
    ]
    return np.clip(np.stack(shown), 0, 255).astype(np.uint8)


def write_folders(folder: Path, count: int) -> tuple[Path, Path]:
    """Folders of so many generated and real clips."""
    made = folder / "made"
    made.mkdir()
    for seed in range(2 * _DISTINCT):
        write_video(made / f"{seed}.mp4", clip(seed), 8.0)
    folders = folder / "generated", folder / "reference"
    for kind, path in enumerate(folders):
        path.mkdir()
        for number in range(count):
            (path / f"clip{number:04d}.mp4").symlink_to(made / f"{2 * (number % _DISTINCT) + kind}.mp4")
    return folders


def seconds(function: Callable[[], object], *, compiles: bool) -> float:
    """Of a call, or of the second one where the first compiles."""
    if compiles:
        function()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def time_metrics(names: list[str]) -> None:
    """Prints what each metric takes for one clip, with the flow that metrics share where it looks at that."""
    config = get_config("clips")
    ours, real = clip(0), clip(1)
    for name in names:
        metric = find_metric(name)(config)
        call = metric.measure if metric.level == "clip" else metric.features
        spent = seconds(lambda call=call: call(Clip("a", real, video=ours)), compiles=False)
        print(f"{name:<24}{spent:8.2f} s a clip", flush=True)


def time_networks() -> None:
    """Prints what each network takes for one clip: I3D for 16 of its frames, all others for all of them."""
    ours, real = clip(0), clip(1)
    key = jax.random.key(0)
    i3d = Functional(lambda rngs: I3D(I3DConfig(), rngs=rngs))
    inception = Functional(lambda rngs: InceptionV3(rngs=rngs))
    trunk = Functional(lambda rngs: AlexNet(rngs=rngs))
    lpips = distances({"trunk": trunk.init(key), "heads": [np.ones(width, np.float32) for width in WIDTHS]})
    i3d_params, inception_params = i3d.init(key), inception.init(key)
    see_clip, see_frames = jax.jit(i3d.apply), jax.jit(inception.apply)
    calls = {
        "fvd": lambda: np.asarray(see_clip(i3d_params, prepare_i3d(ours[:16])[None])),
        "fid, kid": lambda: in_batches(
            lambda batch: see_frames(inception_params, np.stack([prepare_inception(frame) for frame in batch])),
            ours,
            size=16,
        ),
        "lpips": lambda: in_batches(lpips, ours, real, size=8),
    }
    for name, call in calls.items():
        print(f"{name:<24}{seconds(call, compiles=True):8.2f} s a clip", flush=True)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=0, help="score folders of so many clips")
    parser.add_argument("--metrics", default="psnr,ssim,motion_score,motion_magnitude,temporal_flicker,cpbd")
    parser.add_argument("--each", action="store_true", help="time each metric alone")
    parser.add_argument("--networks", action="store_true", help="time networks")
    args = parser.parse_args()
    if args.each:
        time_metrics(args.metrics.split(","))
    if args.networks:
        time_networks()
    if args.clips:
        with tempfile.TemporaryDirectory() as name:
            generated, reference = write_folders(Path(name), args.clips)
            config = get_config("clips")
            config.metrics = (args.metrics,)
            start = time.perf_counter()
            evaluate_files(config, generated=generated, reference=reference, output=Path(name) / "metrics.json")
            spent = time.perf_counter() - start
        print(f"{args.clips} clips of {'x'.join(map(str, SIZE))}: {spent:.0f} s, {spent / args.clips:.2f} s a clip")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
