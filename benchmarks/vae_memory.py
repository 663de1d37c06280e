r"""Peak memory of decoding clips of several lengths, each in a fresh process.

  python -m benchmarks.vae_memory
  MALLOC_MMAP_THRESHOLD_=33554432 python -m benchmarks.vae_memory --narrower 1 --height 480 --width 720 --tiled \
      --frames 49 9 --no-warm-up --output benchmarks/results/vae_memory_full_size.json

Writes benchmarks/results/vae_memory.json. Without options the autoencoder is the released one with an eighth of the
channels, on small frames: what matters is how the peak grows from one length to the next. The second call is the
released size, all channels on 480x720 in tiles; it takes two cores an hour and a half.

On an accelerator it is the device's memory that is measured; otherwise that of the process, with the finished video,
what of it was there before, and the peak of each batch of frames, of one tile after the other. `--no-warm-up` counts
compiling too. What is freed is returned at once from 64 KiB on; where buffers are as large as a frame's, 32 MiB do,
and spare the convolutions half of their time.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "vae_memory.json"
_MIB = 2**20
# Latent frames: one batch of the first size, one of the other.
_WARM_UP = 5
# What Linux takes for "let VmHWM start anew".
_RESET_PEAK = "5"
# glibc otherwise keeps freed memory in pieces, and the peak grows with the number of calls, whatever is in use.
_RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def main() -> None:
    """Measures every length, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[9, 17, 33])
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--narrower", type=int, default=8, help="divides the released channels and groups")
    parser.add_argument("--tiled", action="store_true", help="in tiles of half the released size")
    parser.add_argument("--no-warm-up", action="store_true", help="let the peak be that of compiling too")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    size = (args.height, args.width)
    os.environ |= _RETURN_FREED_MEMORY | os.environ
    runs = []
    # Every task has a process of its own: a peak is that of a whole process.
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for frames in args.frames:
            runs.append(pool.submit(measure, frames, size, args.narrower, args.tiled, not args.no_warm_up).result())
            print(json.dumps(runs[-1]), flush=True)
    result = {
        "height": args.height,
        "width": args.width,
        "narrower": args.narrower,
        "tiled": args.tiled,
        "compiling_included": args.no_warm_up,
        "video_mib_per_frame": round(args.height * args.width * 3 * 4 / _MIB, 2),
        "peak_mib_per_frame": round(slope(runs), 2) if len(runs) > 1 else None,
        "runs": runs,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['peak_mib_per_frame']} MiB for each frame more, written to {args.output}")


def measure(frames: int, pixels: tuple[int, int], narrower: int, tiled: bool, warm_up: bool) -> dict[str, Any]:
    """Decodes a clip of this many video frames."""
    # Only here: the parent process needs none of it, and an accelerator serves one process.
    import jax
    import numpy as np

    from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
    from sr_jax.backbones.cogvideox.vae_network import RELEASED, Autoencoder
    from sr_jax.backbones.cogvideox.vae_tiling import Tiling
    from sr_jax.models.functional import Functional

    released = RELEASED["5b_i2v"]
    widths = tuple(width // narrower for width in released.block_out_channels)
    groups = released.norm_num_groups // narrower
    config = dataclasses.replace(released, block_out_channels=widths, norm_num_groups=groups)
    params = Functional(lambda rngs: Autoencoder(config, rngs=rngs)).init(jax.random.key(0))
    tiling = Tiling(config.sample_height // 2, config.sample_width // 2) if tiled else None
    codec = CogVideoXVAE(config, params, tiling=tiling)
    size = (side // codec.spatial_compression_ratio for side in pixels)
    shape = (1, 1 + (frames - 1) // codec.temporal_compression_ratio, *size, codec.latent_channels)
    latents = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if warm_up:
        # Compiles both sizes of a batch of frames; compiling needs memory too, but not what is measured here.
        codec.decode_to_host(latents[:, :1].repeat(_WARM_UP, axis=1))
    device = jax.local_devices()[0]
    codec._decode_step = step = _Watched(codec._decode_step, device)
    start = time.monotonic()
    video = codec.decode_to_host(latents)
    seconds = time.monotonic() - start
    if video.shape != (1, frames, *pixels, 3):
        raise ValueError(f"{frames} frames of {pixels} came out as {video.shape}")
    return {
        "frames": frames,
        "before_mib": round(step.before / _MIB, 1),
        "peak_mib": round(max(*step.peaks, _peak_bytes(device)) / _MIB, 1),
        "seconds": round(seconds, 1),
        "device": device.device_kind,
        "peak_mib_of_each_batch": [round(peak / _MIB, 1) for peak in step.peaks],
    }


class _Watched:
    """A compiled network that takes down the peak of every call: a batch of frames, of one tile."""

    def __init__(self, step: Callable[..., Any], device: Any):
        self.step, self.device, self.peaks = step, device, []
        _reset_peak()
        self.before = _peak_bytes(device)

    def __call__(self, *args: Any) -> Any:
        import jax

        output = jax.block_until_ready(self.step(*args))
        self.peaks.append(_peak_bytes(self.device))
        print(f"batch {len(self.peaks)}: {self.peaks[-1] / _MIB:.1f} MiB", flush=True)
        # What follows, the copy to the host and the next call, counts for the next one.
        _reset_peak()
        return output


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def _peak_bytes(device: Any) -> int:
    if device.platform != "cpu":
        return device.memory_stats()["peak_bytes_in_use"]
    # Of this process alone; getrusage would start from what the parent had at the fork.
    kib = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kib.group(1))


def slope(runs: Sequence[dict[str, Any]]) -> float:
    """MiB more at the peak for each frame more: least squares."""
    frames = [run["frames"] for run in runs]
    return statistics.linear_regression(frames, [run["peak_mib"] for run in runs]).slope


if __name__ == "__main__":
    main()
