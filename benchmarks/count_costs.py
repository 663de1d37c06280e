r"""Counts what preparing, training and sampling cost for CogVideoX-5B-I2V: FLOPs of a clip, without running anything.

  python -m benchmarks.count_costs --output benchmarks/results/count_costs.json

A clip has 49 frames of 480x720. Teachers are traced at their released sizes, and the products of the traced functions
counted (2 for each multiply-add); training is counted in closed form, as `sr_jax.plan` does. The tables of
docs/preparing.md and docs/training.md come from the file: `--preparing PAGE --training PAGE` writes them between their
markers. Nothing here is a measured time.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.pages import publish
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_network import RELEASED as AUTOENCODERS
from sr_jax.backbones.cogvideox.vae_network import Autoencoder
from sr_jax.backbones.cogvideox.vae_tiling import Tiling
from sr_jax.configs import base, stage_one, stage_two
from sr_jax.models import arcface, video_depth
from sr_jax.models.functional import Functional
from sr_jax.models.t5 import T5Config, T5Encoder
from sr_jax.planning.operations import count_flops
from sr_jax.planning.planner import NOISY_IMAGES, described_stage_one
from sr_jax.teachers.depth import video_depth_anything
from sr_jax.teachers.depth.windows import STEP, WINDOW
from sr_jax.training import builders
from sr_jax.training.program import record_spec

SIZE, FRAMES, HEIGHT, WIDTH = "5b_i2v", 49, 480, 720
_SAMPLING_STEPS = 50
_PEAKS = {"A100": 312e12, "H100": 989e12, "v5e": 197e12, "v5p": 459e12}
"""Published dense bfloat16 peaks of one chip, in FLOP/s."""


def _traced(network: Functional, *inputs: jax.ShapeDtypeStruct) -> int:
    return count_flops(jax.jit(network.apply).trace(network.abstract_params(), *inputs).jaxpr)


def _array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _depth(size: str) -> int:
    """Of Video Depth Anything: windows of 32 frames, every 22, at 518 pixels."""
    config = video_depth.RELEASED[size]
    inner = video_depth_anything.input_size_for(
        (HEIGHT, WIDTH), video_depth_anything.INPUT_SIZE, config.backbone.patch_size
    )
    network = Functional(lambda rngs: video_depth.VideoDepthAnything(config, rngs=rngs, dtype=jnp.bfloat16))
    return math.ceil(FRAMES / STEP) * _traced(network, _array(1, WINDOW, *inner, 3))


def _autoencoder(*, tiled: bool) -> tuple[int, int, int]:
    """Of encoding a clip, encoding one frame, and decoding a clip."""
    config = AUTOENCODERS[SIZE]
    params = Functional(lambda rngs: Autoencoder(config, rngs=rngs, dtype=jnp.bfloat16)).abstract_params()
    tiling = Tiling(config.sample_height // 2, config.sample_width // 2) if tiled else None

    def count(method: str, *shape: int) -> int:
        def run(params: Any, values: jax.Array) -> Any:
            return getattr(CogVideoXVAE(config, params, dtype=jnp.bfloat16, tiling=tiling), method)(values)

        return count_flops(jax.jit(run).trace(params, _array(1, *shape)).jaxpr)

    latent = (1 + (FRAMES - 1) // 4, HEIGHT // 8, WIDTH // 8, config.latent_channels)
    frame = count("encode", 1, HEIGHT, WIDTH, 3)
    return count("encode", FRAMES, HEIGHT, WIDTH, 3), frame, count("decode", *latent)


def preparing() -> dict[str, int]:
    """FLOPs of each teacher on one clip."""
    video, frame, _ = _autoencoder(tiled=True)
    images = NOISY_IMAGES + 1
    faces = Functional(lambda rngs: arcface.IResNet(arcface.RELEASED["r100"], rngs=rngs))
    text = Functional(lambda rngs: T5Encoder(T5Config(), rngs=rngs, dtype=jnp.bfloat16))
    return {
        **{f"depth: Video Depth Anything {size}": _depth(size) for size in video_depth.RELEASED},
        "autoencoder: clip and depth": 2 * video,
        f"autoencoder: {images} first frames": images * frame,
        "text: T5 XXL, 226 tokens": _traced(text, _array(1, 226, dtype=jnp.int32)),
        f"faces: iResNet-100, {FRAMES} faces": _traced(faces, _array(FRAMES, 112, 112, 3)),
    }


def training() -> dict[str, dict[str, int]]:
    """FLOPs of a step with one clip, and the parameters that are trained and frozen."""
    lora = stage_two.get_config(SIZE)
    lora.lora.rank = 64
    plain = base.get_config(SIZE)
    configs = {
        "plain fine-tuning": plain,
        "stage one": stage_one.get_config(SIZE),
        "stage two": stage_two.get_config(SIZE),
        "stage two, LoRA of rank 64": lora,
    }
    found = {}
    for name, config in configs.items():
        stage = builders.build_stage(config, None if config is plain else described_stage_one(config))
        records = record_spec(config, stage, noisy_images=NOISY_IMAGES)
        found[name] = {
            "flops": stage.work(records.latent_shape[:3], records.text_shape[0]).flops,
            "trained": _size([module.abstract_params() for module in stage.modules.values()]),
            "steps": config.num_train_steps,
            "clips_a_step": config.batch_size,
        }
    return found


def sampling() -> dict[str, int]:
    """FLOPs of one clip: the transformer with and without guidance, and decoding."""
    config = base.get_config(SIZE)
    stage = builders.build_stage(config)
    records = record_spec(config, stage, noisy_images=NOISY_IMAGES)
    forward = stage.work(records.latent_shape[:3], records.text_shape[0]).flops // 3
    _, _, decode = _autoencoder(tiled=True)
    return {"transformer, one evaluation": forward, "50 steps with guidance": 2 * _SAMPLING_STEPS * forward,
            "decoding": decode}  # fmt: skip


def _size(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def preparing_table(counted: dict[str, int]) -> str:
    """FLOPs of each teacher, and the least seconds of one clip at the peaks of some chips."""
    lines = [
        "| teacher | TFLOPs a clip |" + "".join(f" s on {chip} |" for chip in _PEAKS),
        "|-|-|" + "-|" * len(_PEAKS),
    ]
    for name, flops in counted.items():
        seconds = "".join(f" {flops / peak:.3f} |" for peak in _PEAKS.values())
        lines.append(f"| {name} | {flops / 1e12:,.1f} |{seconds}")
    return "\n".join(lines)


def training_table(counted: dict[str, dict[str, int]]) -> str:
    """What a run of each kind costs at the steps of its config, at 64 clips a step."""
    lines = ["| run | trained | TFLOPs a clip | steps | least chip-hours on v5p, 64 clips a step |", "|-|-|-|-|-|"]
    for name, item in counted.items():
        hours = item["flops"] * 64 * item["steps"] / _PEAKS["v5p"] / 3600
        lines.append(
            f"| {name} | {item['trained'] / 1e6:,.0f} M | {item['flops'] / 1e12:,.0f} | {item['steps']:,} "
            f"| {hours:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Counts, and writes what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--preparing", type=Path, help="page of the table of teachers")
    parser.add_argument("--training", type=Path, help="page of the table of runs")
    args = parser.parse_args()
    found = {"preparing": preparing(), "training": training(), "sampling": sampling()}
    args.output.write_text(json.dumps(found, indent=2) + "\n")
    if args.preparing:
        publish(args.preparing, "count_preparing", preparing_table(found["preparing"]))
    if args.training:
        publish(args.training, "count_training", training_table(found["training"]))


if __name__ == "__main__":
    main()
