"""Peak memory of decoding clips of several lengths, each in a fresh process.

  python -m benchmarks.vae_memory

Writes benchmarks/results/vae_memory.json. The autoencoder is the released one with an eighth of the channels, on small
frames: what matters is how the peak grows from one length to the next. On an accelerator it is the device's memory that
is measured; otherwise that of the process after compiling, with the finished video, and what of it was there before.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FRAMES = (9, 17, 33)
HEIGHT, WIDTH = 96, 128
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
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    os.environ |= _RETURN_FREED_MEMORY
    runs = []
    # Every task has a process of its own: a peak is that of a whole process.
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for frames in FRAMES:
            runs.append(pool.submit(measure, frames).result())
            print(json.dumps(runs[-1]), flush=True)
    result = {
        "height": HEIGHT,
        "width": WIDTH,
        "video_mib_per_frame": round(HEIGHT * WIDTH * 3 * 4 / _MIB, 2),
        "peak_mib_per_frame": round(slope(runs), 2),
        "runs": runs,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['peak_mib_per_frame']} MiB for each frame more, written to {output}")


def measure(frames: int) -> dict[str, Any]:
    """Decodes a clip of this many video frames."""
    # Only here: the parent process needs none of it, and an accelerator serves one process.
    import jax
    import numpy as np

    from sr_jax.models.functional import Functional
    from sr_jax.models.vae import CogVideoXVAE
    from sr_jax.models.vae_network import RELEASED, Autoencoder

    widths = tuple(width // 8 for width in RELEASED["5b_i2v"].block_out_channels)
    config = dataclasses.replace(RELEASED["5b_i2v"], block_out_channels=widths, norm_num_groups=4)
    codec = CogVideoXVAE(config, Functional(lambda rngs: Autoencoder(config, rngs=rngs)).init(jax.random.key(0)))
    size = (HEIGHT // codec.spatial_compression_ratio, WIDTH // codec.spatial_compression_ratio)
    shape = (1, 1 + (frames - 1) // codec.temporal_compression_ratio, *size, codec.latent_channels)
    latents = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    # Compiles both sizes of a batch of frames; compiling needs memory too, but not what is measured here.
    codec.decode_to_host(latents[:, :1].repeat(_WARM_UP, axis=1))
    device = jax.local_devices()[0]
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    before = _peak_bytes(device)
    start = time.monotonic()
    video = codec.decode_to_host(latents)
    seconds = time.monotonic() - start
    if video.shape != (1, frames, HEIGHT, WIDTH, 3):
        raise ValueError(f"{frames} frames of {HEIGHT}x{WIDTH} came out as {video.shape}")
    return {
        "frames": frames,
        "before_mib": round(before / _MIB, 1),
        "peak_mib": round(_peak_bytes(device) / _MIB, 1),
        "seconds": round(seconds, 1),
        "device": device.device_kind,
    }


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
