"""Which files the pretrained models are."""

from pathlib import Path

from sr_jax.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"
"""Where they lie in the package."""
CARD = "card.json"
"""What made them, and how good they are."""
CARD_TEXT = "MODEL_CARD.md"
"""The same, to be read."""

COPIED = {
    "codec.safetensors": "codec/codec.safetensors",
    **{
        f"{name}/{network}.safetensors": f"{name}/faces/{network}.safetensors"
        for name in ("teacher", "judge")
        for network in ("detector", "recogniser")
    },
}
"""Files that are shipped as they are, by their names in the package, and where the pretraining made them."""

WORKDIRS = {
    "transformer": ("transformer",),
    "modules": ("structure", "identity"),
    "structure_judge": ("structure_judge",),
    "noisy_structure": ("noisy_structure",),
    "flat_identity": ("flat_identity",),
}
"""What is packed as NAME.safetensors: workdirs of the pretraining, several where each trained a part."""


def names() -> list[str]:
    """All files of weights."""
    return [*COPIED, *(f"{name}.safetensors" for name in WORKDIRS)]


def weights_file(name: str) -> Path:
    """A file of weights in the package.

    Raises:
        UserError: If it is not there.
    """
    path = WEIGHTS / name
    if not path.is_file():
        raise UserError(
            f"the pretrained models are not in this copy of sr_jax: {path} is missing. Make them with "
            "python -m sr_jax.demo.pretrain, or train smaller ones with bash launch/demo.sh --from-scratch"
        )
    return path
