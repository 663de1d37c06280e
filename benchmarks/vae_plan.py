r"""Memory of the released autoencoder on one chip, as the TPU compiler lays it out; no TPU is needed, only libtpu.

  python -m benchmarks.vae_plan
  python -m benchmarks.vae_plan --only "decoder, v5e, bfloat16, 240x360"

Writes benchmarks/results/vae_plan.json. A clip of any length goes through two compiled programs: one for the first
batch of frames (3 latent frames, 9 video frames) and one for every other (2 and 8, with the cache of the batch before).
The device runs one at a time, its weights and cache included: the larger is the peak of 9 frames and of 49. What comes
on top is the other network's weights, 0.4 GiB, the output of the batch before, 36 MiB of video at most, and for the
encoder the clip. 240x360 is a tile of the released size, 480x720 a whole frame. `--only` compiles all whose names start
so, and keeps what the results file says of the others. A compilation takes minutes; of a program that the compiler
refuses for want of memory its estimate is told, with all weights as arguments.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sr_jax.planning.topologies import Topology, get_topology, prepare

RESULT = Path(__file__).parent / "results" / "vae_plan.json"
_TOPOLOGIES = {"v5e": "v5e:2x2", "v6e": "v6e:2x2", "v5p": "v5p:2x2x1"}
_SIZES = {"240x360": (240, 360), "480x720": (480, 720)}
_CASES = [
    f"{network}, {chip}, {dtype}, {size}"
    for network in ("decoder", "encoder")
    for chip in _TOPOLOGIES
    for dtype in ("bfloat16", "float32")
    for size in _SIZES
]
# Latent frames and video frames of the first batch and of every other.
_FRAMES = {"decoder": (3, 2), "encoder": (9, 8)}
_GIB = 2**30


def main() -> None:
    """Compiles what is asked for, and writes the result after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="start of the names of what to compile; all when not given")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    # Before JAX starts.
    prepare(_TOPOLOGIES["v5e"])
    plans = json.loads(args.output.read_text()) if args.output.exists() else {}
    for case in _CASES:
        if args.only is None or case.startswith(tuple(args.only)):
            network, chip, dtype, size = case.split(", ")
            plans[case] = plan(network, get_topology(_TOPOLOGIES[chip]), dtype, _SIZES[size])
            print(case, json.dumps(plans[case]), flush=True)
            plans = {name: plans[name] for name in _CASES if name in plans}
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps(plans, indent=2) + "\n")


def plan(network: str, topology: Topology, dtype: str, pixels: tuple[int, int]) -> dict[str, Any]:
    """GiB of each of the two programs of a network, and whether the larger fits the chip."""
    programs = {}
    for name, step in zip(("first", "later"), _steps(network, topology, dtype, pixels), strict=True):
        start = time.monotonic()
        programs[name] = _memory(*step) | {"compile_seconds": round(time.monotonic() - start)}
    peak = max(program["total"] for program in programs.values())
    capacity = topology.capacity / _GIB
    fits = peak <= capacity and not any(program["refused"] for program in programs.values())
    return {"peak_gib": peak, "capacity_gib": capacity, "fits": fits, "programs": programs}


def _steps(network: str, topology: Topology, dtype: str, pixels: tuple[int, int]) -> Iterator[tuple[Any, tuple]]:
    """The jitted network with abstract arguments on one device: of the first batch, and of every other."""
    import jax
    import numpy as np

    from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
    from sr_jax.backbones.cogvideox.vae_network import RELEASED, Autoencoder
    from sr_jax.models.functional import Functional
    from sr_jax.parallel.mesh import make_mesh, on_mesh

    config = RELEASED["5b_i2v"]
    sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])

    def on_chip(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    params = jax.eval_shape(Functional(lambda rngs: Autoencoder(config, rngs=rngs)).init, jax.random.key(0))
    codec = CogVideoXVAE(config, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params), dtype=dtype)
    if network == "decoder":
        size, step = (
            (*(side // codec.spatial_compression_ratio for side in pixels), codec.latent_channels),
            codec._decode_step,
        )
    else:
        size, step = (*pixels, 3), codec._encode_step
    # Convolutions ask the mesh for which platform they are compiled.
    compiled = jax.jit(on_mesh(make_mesh({}, topology.devices[:1]), step), donate_argnums=2)
    cache = None
    for frames in _FRAMES[network]:
        arguments = on_chip((codec.params, jax.ShapeDtypeStruct((1, frames, *size), np.float32), cache))
        yield compiled, arguments
        _, cache = jax.eval_shape(step, *arguments)


def _memory(step: Any, arguments: tuple) -> dict[str, Any]:
    import jax

    from sr_jax.planning.memory import refused_temporaries

    given = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arguments))
    try:
        stats = step.lower(*arguments).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        temporaries = refused_temporaries(str(error), given)
        if temporaries is None:
            raise
        parts, refused = {"arguments": given, "temporaries": temporaries}, True
    else:
        parts, refused = (
            {
                # As the device lays them out.
                "arguments": stats.argument_size_in_bytes,
                "outputs": stats.output_size_in_bytes - stats.alias_size_in_bytes,
                "temporaries": stats.temp_size_in_bytes,
                "code": stats.generated_code_size_in_bytes,
            },
            False,
        )
    parts["total"] = sum(parts.values())
    return {name: round(part / _GIB, 2) for name, part in parts.items()} | {"refused": refused}


if __name__ == "__main__":
    main()
