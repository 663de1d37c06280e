r"""Imports, exports and loads random weights of the size of CogVideoX-5B-I2V: wall time and peak memory.

  python -m benchmarks.convert_5b --scratch /tmp/scratch --output benchmarks/results/convert_5b.json

Writes transformer, T5 encoder and autoencoder at their released sizes as shards of random bits (21 GB, bfloat16), and
then, each in a process of its own, imports them with `python -m sr_jax.convert import`, exports them again, compares
the export with the shards file by file, imports the transformer as float32, and loads the imported one into the
shardings of a mesh of 8 devices. Removes everything. With `--layers 4` the transformer is a tenth as large.

Peak memory is the largest resident set of the process; it counts the pages of mapped files too. It is to be at most the
largest file plus 2 GiB. On the mesh, whose devices have their memory in the same process, what they hold is taken off.
"""

import argparse
import concurrent.futures
import dataclasses
import filecmp
import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from sr_jax.backbones.cogvideox import config as cogvideox_config
from sr_jax.backbones.cogvideox import vae_network
from sr_jax.conversion.components import CONFIG_FILE, KINDS, PIPELINE_FILE
from sr_jax.conversion.rules import expected_shapes
from sr_jax.conversion.safetensors_file import file_size
from sr_jax.conversion.shards import index_of, new_files
from sr_jax.conversion.weight_files import index_name
from sr_jax.models import t5

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_BLOCK = 2**26
_GIB = 2**30
_DEVICES = 8


def configs(layers: int) -> dict[str, Any]:
    """Our configuration of each part."""
    return {
        "transformer": dataclasses.replace(cogvideox_config.RELEASED["5b_i2v"], num_layers=layers),
        "text_encoder": t5.RELEASED["xxl"],
        "vae": vae_network.RELEASED["5b_i2v"],
    }


def write_random_pipeline(folder: Path, layers: int, shard_bytes: int) -> dict[str, int]:
    """Writes configs, indices and shards of random finite numbers; returns the number of parameters of each part."""
    counts = {}
    rng = np.random.default_rng(0)
    for name, config in configs(layers).items():
        kind = KINDS[name]
        shapes = expected_shapes(kind.conversion.rules(config), kind.functional(config).abstract_params())
        headers = new_files({tensor: (_BFLOAT16, shape) for tensor, shape in shapes.items()}, kind.weights, shard_bytes)
        (folder / name).mkdir(parents=True)
        (folder / name / CONFIG_FILE).write_text(json.dumps(kind.conversion.config_to_diffusers(config)))
        if len(headers) > 1:
            (folder / name / index_name(kind.weights)).write_text(index_of(headers))
        for file, header in headers.items():
            _write_random_file(folder / name / file, header, rng)
        counts[name] = sum(int(np.prod(shape)) for shape in shapes.values())
    (folder / PIPELINE_FILE).write_text("{}")
    return counts


def _write_random_file(path: Path, header: bytes, rng: np.random.Generator) -> None:
    with path.open("wb") as file:
        file.write(header)
        left = file_size(header, path) - len(header)
        while left:
            # Without the highest bit of the exponent every pattern is a finite number.
            bits = rng.integers(0, 2**16, min(left, _BLOCK) // 2, np.uint16) & 0xBFFF
            file.write(bits.tobytes())
            left -= bits.nbytes


def convert(*argv: str | Path) -> dict[str, float]:
    """Runs a command of `sr_jax.convert`; wall seconds, CPU seconds and peak resident GiB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sr_jax.convert", *map(str, argv)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"convert {argv[0]} failed with status {status}")
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    peak = usage.ru_maxrss * 2**10 / _GIB
    return {"wall_seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_gib": round(peak, 2)}


def load(imported: Path) -> dict[str, float]:
    """Loads an imported transformer onto a mesh, as training does."""
    # Only here: another process has other devices.
    from sr_jax.backbones.releases import open_component
    from sr_jax.parallel.batches import place
    from sr_jax.parallel.lazy import nbytes
    from sr_jax.parallel.mesh import make_mesh
    from sr_jax.parallel.sharding import ShardingRules, param_shardings

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", _DEVICES)
    start = time.perf_counter()
    config, params = open_component(imported, "transformer")
    abstract = KINDS["transformer"].functional(config).abstract
    placed = place(params, param_shardings(abstract, make_mesh({"fsdp": _DEVICES}), ShardingRules()))
    seconds = time.perf_counter() - start
    peak = 2**10 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))
    on_devices = sum(shard.data.nbytes for leaf in jax.tree.leaves(placed) for shard in leaf.addressable_shards)
    return {
        "wall_seconds": round(seconds, 1),
        "on_devices_gib": round(on_devices / _GIB, 2),
        "peak_beside_devices_gib": round((peak - on_devices) / _GIB, 2),
        "largest_parameter_gib": round(max(map(nbytes, jax.tree.leaves(params))) / _GIB, 2),
    }


def in_new_process(function: Any, *args: Any) -> Any:
    """Calls a function in a process that has done nothing yet."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *args).result()


def files(folder: Path) -> Iterator[Path]:
    """All files in a folder, relative to it."""
    return (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())


def run(scratch: Path, layers: int, shard_bytes: int) -> dict[str, Any]:
    """Everything; what is no longer needed is removed, so that two copies are the most there is on disk, and a bit."""
    theirs, ours, back, wide = (scratch / name for name in ("theirs", "ours", "back", "wide"))
    counts = write_random_pipeline(theirs, layers, shard_bytes)
    sizes = {name: (theirs / name).stat().st_size for name in files(theirs)}
    largest = max(sizes.values()) / _GIB
    result = {
        "model": {"layers": layers, "parameters": counts, "gib": round(sum(sizes.values()) / _GIB, 2)},
        "largest_file_gib": round(largest, 2),
        "peak_allowed_gib": round(largest + 2, 2),
        "import": convert("import", "--source", theirs, "--output", ours),
        "import_as_float32": convert(
            "import", "--source", theirs, "--output", wide, "--components", "transformer", "--dtype", "float32"
        ),
    }
    shutil.rmtree(wide)
    result["load_on_mesh"] = in_new_process(load, ours)
    result["export"] = convert("export", "--checkpoint", ours, "--output", back)
    _, mismatch, errors = filecmp.cmpfiles(theirs, back, list(map(str, sizes)), shallow=False)
    result["bit_exact"] = not mismatch and not errors and list(sizes) == list(files(back))
    return result


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for about 3 times the weights; made and removed"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--layers", type=int, default=42, help="transformer blocks")
    parser.add_argument("--shard_gb", type=float, default=5.0, help="size of the source's files")
    args = parser.parse_args()
    args.scratch.mkdir(parents=True)
    try:
        result = run(args.scratch, args.layers, int(args.shard_gb * 1e9))
    finally:
        shutil.rmtree(args.scratch)
    result["machine"] = {"cpus": os.cpu_count(), "python": platform.python_version(), "jax": jax.__version__}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
