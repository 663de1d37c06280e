"""The layouts of LoRA files: how each program names low-rank factors. Everything here is a table and how it is read.

Layers are called as diffusers calls them (`transformer_blocks.3.attn1.to_q`); what other programs call them is said by
`layer_names`.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sr_jax.conversion.layer_names import Names, Place, place_of


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a kind of LoRA file names what it holds: `PREFIX LAYER FACTOR`.

    Of several spellings all are read, and the first is written.

    Attributes:
        prefixes: Before the name of a layer.
        names: Whose names of layers; "diffusers", or a key of `PartKind.other_names`.
        separator: Between the words of a layer's name.
        down: Behind it, for the factor `[rank, in]`.
        up: Behind it, for the factor `[out, rank]`.
        alpha: Behind it, for alpha: the product counts alpha / rank times. Empty: the file holds none.
    """

    prefixes: tuple[str, ...]
    names: tuple[str, ...]
    separator: str
    down: tuple[str, ...]
    up: tuple[str, ...]
    alpha: str = ""

    @property
    def endings(self) -> dict[str, str]:
        """From every ending of a key to what it holds: "down", "up" or "alpha"."""
        found = dict.fromkeys(self.down, "down") | dict.fromkeys(self.up, "up")
        return found | ({self.alpha: "alpha"} if self.alpha else {})


_PEFT = {"down": (".lora_A.weight", ".lora_A.default.weight"), "up": (".lora_B.weight", ".lora_B.default.weight")}
_OLD = {"down": (".lora.down.weight", ".lora_down.weight"), "up": (".lora.up.weight", ".lora_up.weight")}
_ORIGINAL_MODEL = {
    "prefixes": ("diffusion_model.", "model.diffusion_model."),
    "separator": ".",
    "down": _PEFT["down"] + _OLD["down"],
    "up": _PEFT["up"] + _OLD["up"],
    "alpha": ".alpha",
}

LAYOUTS = {
    # `load_lora_weights` takes no alpha beside the factors.
    "diffusers": Layout(
        ("transformer.", ""), ("diffusers",), ".", _PEFT["down"] + _OLD["down"], _PEFT["up"] + _OLD["up"]
    ),
    "peft": Layout(("base_model.model.", "base_model.model.transformer."), ("diffusers",), ".", **_PEFT),
    # Also what VideoX-Fun writes, with a second underscore before layers outside of the blocks, and OneTrainer.
    "kohya": Layout(
        ("lora_unet_", "lora_unet__", "lora_transformer_"),
        ("diffusers", "comfyui", "original"),
        "_",
        (".lora_down.weight",),
        (".lora_up.weight",),
        ".alpha",
    ),
    # ComfyUI takes its own names alone; trainers that write this prefix before those of diffusers are read, too.
    "comfyui": Layout(names=("comfyui", "diffusers"), **_ORIGINAL_MODEL),
    "original": Layout(names=("original",), **_ORIGINAL_MODEL),
}
"""By name. A key that several have is read in the same way by all of them."""


class Found(NamedTuple):
    """What a key of a LoRA file holds.

    Attributes:
        layer: Name of the layer in the file.
        holds: "down", "up" or "alpha".
        places: Where our layers lie in it, by diffusers' names: one, or all that it joins.
    """

    layer: str
    holds: str
    places: Mapping[str, Place]


def recognise(
    keys: Iterable[str], layers: Iterable[str], other_names: Mapping[str, Names]
) -> tuple[str, dict[str, Found], set[str]]:
    """Tells the layout of a LoRA file from its keys: the one that explains most of them.

    Args:
        keys: Of the file.
        layers: Diffusers' names of all layers that can be adapted.
        other_names: What other programs call them (`PartKind.other_names`).

    Returns:
        The name of the layout, what each key holds, and the keys that it does not explain.
    """
    keys, layers = set(keys), list(layers)
    found = {name: _explained(layout, keys, layers, other_names) for name, layout in LAYOUTS.items()}
    best = max(found, key=lambda name: len(found[name]))
    return best, found[best], keys - found[best].keys()


def written_key(layout: Layout, place: Place, holds: str) -> str:
    """The key of one factor, or of alpha, of a layer that lies at `place`."""
    ending = {"down": layout.down[0], "up": layout.up[0], "alpha": layout.alpha}[holds]
    return f"{layout.prefixes[0]}{_spelt(layout, place.name)}{ending}"


def _explained(
    layout: Layout, keys: Iterable[str], layers: Iterable[str], other_names: Mapping[str, Names]
) -> dict[str, Found]:
    places: dict[str, dict[str, Place]] = {}
    for layer in layers:
        for names in layout.names:
            place = place_of(other_names.get(names, {}), layer)
            places.setdefault(_spelt(layout, place.name), {})[layer] = place
    prefix = "|".join(map(re.escape, sorted(layout.prefixes, key=len, reverse=True)))
    ending = "|".join(map(re.escape, layout.endings))
    pattern = re.compile(rf"(?:{prefix})(?P<layer>.+?)(?P<ending>{ending})")
    matches = {key: match for key in keys if (match := pattern.fullmatch(key)) and match["layer"] in places}
    return {
        key: Found(match["layer"], layout.endings[match["ending"]], places[match["layer"]])
        for key, match in matches.items()
    }


def _spelt(layout: Layout, name: str) -> str:
    return name.replace(".", layout.separator)
