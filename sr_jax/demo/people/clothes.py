"""What a person wears: drawn per clip, so that identity must be read from the head."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

COLOURS = {
    "red": (205, 35, 40), "orange": (240, 125, 25), "yellow": (245, 205, 45), "green": (40, 145, 65),
    "teal": (20, 150, 150), "blue": (35, 85, 205), "purple": (125, 55, 175), "pink": (240, 120, 165),
    "white": (240, 240, 238), "black": (38, 38, 44), "grey": (125, 128, 135), "brown": (120, 75, 45),
}  # fmt: skip
_TROUSERS = ("blue", "black", "grey", "brown", "white", "green", "red", "purple")
_SLEEVES = ("long", "short", "none")
_LEGWEAR = ("trousers", "shorts", "skirt")


class Clothes(NamedTuple):
    """An outfit.

    Attributes:
        top_name: Colour of the top in words.
        bottom_name: Colour of the legwear in words.
        sleeves: "long", "short" or "none".
        legwear: "trousers", "shorts" or "skirt".
        top: sRGB in [0, 1].
        bottom: sRGB in [0, 1].
        shoes: sRGB in [0, 1].
    """

    top_name: str
    bottom_name: str
    sleeves: str
    legwear: str
    top: Float[np.ndarray, "3"]
    bottom: Float[np.ndarray, "3"]
    shoes: Float[np.ndarray, "3"]


def sample_clothes(rng: np.random.Generator, kind: str) -> Clothes:
    """Draws an outfit for a "man" or a "woman"; top and legwear never share a colour."""
    # Brown tops look like bare skin.
    top = str(rng.choice([name for name in COLOURS if name != "brown"]))
    bottom = str(rng.choice([name for name in _TROUSERS if name != top]))
    legwear = str(rng.choice(_LEGWEAR, p=(0.5, 0.15, 0.35) if kind == "woman" else (0.75, 0.25, 0.0)))
    sleeves = str(rng.choice(_SLEEVES, p=(0.5, 0.3, 0.2) if kind == "woman" else (0.5, 0.45, 0.05)))
    shoes = str(rng.choice([name for name in ("black", "white", "red", "brown", "yellow") if name != bottom]))
    return Clothes(top, bottom, sleeves, legwear, *(_shade(rng, name) for name in (top, bottom, shoes)))


def _shade(rng: np.random.Generator, name: str) -> np.ndarray:
    return np.clip(np.array(COLOURS[name]) / 255.0 * rng.uniform(0.92, 1.05) + rng.normal(0, 0.01, 3), 0, 1)
