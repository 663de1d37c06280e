"""How a released size is trained on a pod: mesh, batch and memory levers, planned to fit (see `sr_jax.plan`).

  python -m sr_jax.train --config configs/stage_two.py:5b_i2v@v5e:16x16 ...

A size names its pod behind an @. Every value can be set otherwise on the command line, as always.
"""

from typing import Any

# What attention computed is kept where it fits: a tenth less to compute.
_KEEP = {"remat": "save_attention"}

PODS: dict[tuple[str, str], dict[str, Any]] = {
    # 95 GiB a chip: one clip a chip, parameters split over all chips.
    ("5b_i2v", "v5p:2x2x4"): {"mesh.fsdp": 16, "batch_size": 16} | _KEEP,
    ("5b_i2v", "v5p:4x4x4"): {"mesh.fsdp": 64, "batch_size": 64} | _KEEP,
    # 32 GiB a chip. Parameters split over half of the chips compile faster than over all.
    ("5b_i2v", "v6e:8x8"): {"mesh.data": 2, "mesh.fsdp": 32, "batch_size": 64},
    # 16 GiB a chip: four chips share the tokens of a clip.
    ("5b_i2v", "v5e:16x16"): {"mesh.fsdp": 64, "mesh.context": 4, "batch_size": 64} | _KEEP,
    ("1_5_5b_i2v", "v5p:4x4x8"): {"mesh.fsdp": 128, "batch_size": 128} | _KEEP,
}
"""Config fields by size and pod."""


def pod_names(size: str) -> list[str]:
    """The pods that a size is planned for."""
    return [pod for name, pod in PODS if name == size]
