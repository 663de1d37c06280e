r"""Imports and exports a random transformer of the size of CogVideoX-5B-I2V: wall time and peak memory.

  python -m benchmarks.convert_5b --scratch /tmp/scratch --output benchmarks/results/convert_5b.json

Writes the released sizes as bfloat16 shards of random bits (11.25 GB), runs `python -m sr_jax.convert import` and
`export` on them, each in a process of its own, compares the export with the shards file by file, and removes
everything. With `--layers 4` it is a tenth as large. Peak memory is the largest resident set of the process; it counts
the pages of mapped files too. It is to be at most the largest file plus 2 GiB.
"""

import argparse
import dataclasses
import filecmp
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import ml_dtypes
import numpy as np

from sr_jax.conversion import transformer
from sr_jax.conversion.components import CONFIG_FILE, KINDS
from sr_jax.conversion.rules import expected_shapes
from sr_jax.conversion.safetensors_file import file_size
from sr_jax.conversion.shards import index_of, new_files
from sr_jax.conversion.weight_files import index_name
from sr_jax.models.cogvideox_config import RELEASED

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_BLOCK = 2**26


def write_random_model(folder: Path, layers: int, shard_bytes: int) -> int:
    """Writes config, index and shards of random finite numbers; returns the number of parameters."""
    kind = KINDS["transformer"]
    config = dataclasses.replace(RELEASED["5b_i2v"], num_layers=layers)
    shapes = expected_shapes(kind.conversion.rules(config), kind.functional(config).abstract_params())
    headers = new_files({name: (_BFLOAT16, shape) for name, shape in shapes.items()}, kind.weights, shard_bytes)
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(json.dumps(transformer.config_to_diffusers(config)))
    if len(headers) > 1:
        (folder / index_name(kind.weights)).write_text(index_of(headers))
    rng = np.random.default_rng(0)
    for name, header in headers.items():
        with (folder / name).open("wb") as file:
            file.write(header)
            left = file_size(header, folder / name) - len(header)
            while left:
                # Without the highest bit of the exponent every pattern is a finite number.
                bits = rng.integers(0, 2**16, min(left, _BLOCK) // 2, np.uint16) & 0xBFFF
                file.write(bits.tobytes())
                left -= bits.nbytes
    return sum(int(np.prod(shape)) for shape in shapes.values())


def measure(*argv: str) -> dict[str, float]:
    """Runs a command of `sr_jax.convert`; wall seconds, CPU seconds and peak resident GiB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sr_jax.convert", *map(str, argv)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"convert {argv[0]} failed with status {status}")
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall_seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_gib": usage.ru_maxrss / 2**20}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for about 3 times the model; made and removed"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--layers", type=int, default=42, help="transformer blocks")
    parser.add_argument("--shard_gb", type=float, default=5.0, help="size of the source's files")
    args = parser.parse_args()
    theirs, ours, back = (args.scratch / name for name in ("theirs", "ours", "back"))
    args.scratch.mkdir(parents=True)
    try:
        count = write_random_model(theirs, args.layers, int(args.shard_gb * 1e9))
        size = sum(path.stat().st_size for path in theirs.iterdir())
        result = {
            "model": {"layers": args.layers, "parameters": count, "gib": size / 2**30, "shard_gb": args.shard_gb},
            "import": measure("import", "--source", theirs, "--output", ours),
            "export": measure("export", "--checkpoint", ours, "--output", back),
        }
        result["model"]["largest_file_gib"] = max(path.stat().st_size for path in theirs.iterdir()) / 2**30
        names = sorted(path.name for path in theirs.iterdir())
        _, mismatch, errors = filecmp.cmpfiles(theirs, back, names, shallow=False)
        result["bit_exact"] = not mismatch and not errors and names == sorted(path.name for path in back.iterdir())
    finally:
        shutil.rmtree(args.scratch)
    result["machine"] = {"cpus": os.cpu_count(), "python": platform.python_version(), "jax": jax.__version__}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
