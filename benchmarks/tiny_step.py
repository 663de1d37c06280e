r"""Seconds of a base step at the tiny size as it was in November 2026, whatever the configs say today.

  python -m benchmarks.tiny_step --steps 30

Two versions of sr_jax are compared by calling this in the checkouts of both, in turn.
"""

import argparse
import statistics
import time

import jax
import ml_collections

from benchmarks.training_step import TrainingStep
from sr_jax.configs import base

TINY = {
    "model": {
        "num_attention_heads": 3,
        "attention_head_dim": 64,
        "in_channels": 32,
        "out_channels": 16,
        "num_layers": 4,
        "time_embed_dim": 192,
        "text_embed_dim": 256,
        "max_text_seq_length": 24,
        "patch_size": 2,
        "use_rotary_positional_embeddings": True,
        "sample_frames": 13,
        "sample_height": 16,
        "sample_width": 12,
    },
    "batch_size": 8,
    "optimizer": {"name": "muon", "warmup_steps": 30, "schedule": "cosine", "max_grad_norm": 1.0},
    "dtype": "float32",
    "remat": "save_matmuls",
    "mesh": {"data": -1, "fsdp": 1},
}
"""What decides how long a step takes, of `sr_jax/configs/sizes.py` at the time."""


def get_config() -> ml_collections.ConfigDict:
    """The base run at that size."""
    config = base.get_config("tiny")
    config.update(TINY)
    return config


def main() -> None:
    """Prints the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="that are timed, after two that are not")
    steps = parser.parse_args().steps
    step = TrainingStep(get_config())
    step.compile()
    step.create()
    seconds = []
    for _ in range(2 + steps):
        start = time.perf_counter()
        jax.block_until_ready(step())
        seconds.append(time.perf_counter() - start)
    print(f"{statistics.median(seconds[2:]):.3f} s a step, {min(seconds[2:]):.3f} s at least")


if __name__ == "__main__":
    main()
