"""Who a person is: everything about the head and the build that stays the same from clip to clip.

Identities vary continuously: an identity is a whole number that seeds the draws below. Training and test identities
come from disjoint ranges of numbers, so no test person can appear in training.
"""

import colorsys
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sr_jax.demo.people.kinds import SPLITS

IDENTITIES_PER_SPLIT = 1_000_000_000

HAIR_STYLES = ("bald", "short", "bob", "long", "bun", "ponytail", "afro", "mohawk", "quiff")
_STYLE_WEIGHTS = {
    "man": (0.13, 0.34, 0.03, 0.05, 0.04, 0.03, 0.12, 0.10, 0.16),
    "woman": (0.01, 0.08, 0.22, 0.26, 0.14, 0.13, 0.10, 0.03, 0.03),
}
_BEARDS = ("none", "stubble", "moustache", "goatee", "full")
_SKIN_TONES = [(252, 216, 190), (241, 194, 158), (222, 166, 120), (184, 124, 82), (138, 88, 60), (96, 62, 46)]
_NATURAL_HAIR = {
    "black": (28, 24, 26),
    "dark brown": (70, 42, 26),
    "brown": (118, 70, 36),
    "auburn": (150, 58, 26),
    "ginger": (216, 104, 30),
    "blond": (234, 190, 92),
    "white": (232, 230, 226),
    "grey": (150, 150, 156),
}
_FANTASY_HAIR = {
    "red": 0.985, "orange": 0.07, "green": 0.36, "teal": 0.48, "blue": 0.60, "purple": 0.76, "pink": 0.90,
}  # fmt: skip
_IRIS = {
    "brown": (92, 52, 24), "blue": (40, 120, 220), "green": (40, 150, 70),
    "grey": (110, 130, 150), "black": (20, 16, 16)
}  # fmt: skip
_GLASSES = ((20, 20, 24), (190, 30, 40), (30, 70, 190), (240, 190, 40), (245, 245, 245))


class FaceShape(NamedTuple):
    """Where the features lie on the face, and how much of each there is.

    Lengths are fractions of the head's half width (across) or half height (up); amounts are in [0, 1].

    Attributes:
        eye_apart: Distance of an eye's centre from the middle.
        eye_height: Height of the eyes above the middle of the head.
        eye_width: Half width of an eye.
        eye_open: Half height of an eye.
        iris_size: Radius of the iris.
        brow_lift: Height of the brows above the eyes.
        brow_thickness: Half thickness of a brow.
        brow_tilt: How much a brow rises outwards.
        nose_width: Half width of the nose.
        nose_length: Half length of the nose.
        mouth_height: Height of the mouth (negative: below the middle).
        mouth_width: Half width of the mouth.
        mouth_thickness: Half thickness of the lips.
        smile: How much the corners of the mouth rise.
        fringe: Height above which the forehead is covered by hair; 2 for none.
        parting: Sideways slant of the fringe.
        stubble: Strength of a beard over the whole jaw.
        goatee: Strength of a beard on the chin alone.
        moustache: Strength of a moustache.
        glasses: 1 with glasses, 0 without.
        blush: Redness of the cheeks.
    """

    eye_apart: float
    eye_height: float
    eye_width: float
    eye_open: float
    iris_size: float
    brow_lift: float
    brow_thickness: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_height: float
    mouth_width: float
    mouth_thickness: float
    smile: float
    fringe: float
    parting: float
    stubble: float
    goatee: float
    moustache: float
    glasses: float
    blush: float


class Person(NamedTuple):
    """One identity; colours are sRGB in [0, 1].

    Attributes:
        identity: The number that seeded everything else.
        kind: "man" or "woman".
        hair_name: Colour of the hair in words, or "bald".
        hair_style: One of `HAIR_STYLES`.
        beard_name: "none", "stubble", "moustache", "goatee" or "full".
        has_glasses: Whether glasses are worn.
        skin: Skin colour.
        hair: Hair colour.
        brow: Colour of the brows.
        beard: Beard colour.
        lips: Lip colour.
        iris: Iris colour.
        glasses: Colour of the frames.
        face: Parameters of the painted face, see `FaceShape`.
        head_radii: Half width, half height and half depth of the head, metres.
        hair_volume: How far hair stands off the head, relative to a usual cut.
        hair_length: Length of hanging hair, relative to a usual length.
        height: Body height relative to the usual 1.6 m.
        girth: Thickness of torso and limbs relative to usual.
        shoulders: Half the width between the shoulder joints, metres.
        hips: Half the width between the hip joints, metres.
    """

    identity: int
    kind: str
    hair_name: str
    hair_style: str
    beard_name: str
    has_glasses: bool
    skin: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]
    brow: Float[np.ndarray, "3"]
    beard: Float[np.ndarray, "3"]
    lips: Float[np.ndarray, "3"]
    iris: Float[np.ndarray, "3"]
    glasses: Float[np.ndarray, "3"]
    face: FaceShape
    head_radii: Float[np.ndarray, "3"]
    hair_volume: float
    hair_length: float
    height: float
    girth: float
    shoulders: float
    hips: float


def identity_number(split: str, index: int) -> int:
    """The number of the `index`-th identity (from 0) of a split; the splits' ranges are disjoint.

    Raises:
        ValueError: For an unknown split or an index outside `[0, IDENTITIES_PER_SPLIT)`.
    """
    if split not in SPLITS or not 0 <= index < IDENTITIES_PER_SPLIT:
        raise ValueError(
            f"no identity {index} in split {split!r}: there are {IDENTITIES_PER_SPLIT} in each of {SPLITS}"
        )
    return SPLITS.index(split) * IDENTITIES_PER_SPLIT + index


def identity_split(identity: int) -> str:
    """The split whose range holds this identity.

    Raises:
        ValueError: For a number in no split's range.
    """
    if not 0 <= identity < IDENTITIES_PER_SPLIT * len(SPLITS):
        raise ValueError(f"identity {identity} is in no split's range")
    return SPLITS[identity // IDENTITIES_PER_SPLIT]


def make_person(identity: int) -> Person:
    """The person of an identity number; always the same for the same number."""
    rng = np.random.default_rng([7919, identity])
    kind = str(rng.choice(["man", "woman"]))
    woman = kind == "woman"
    tone = rng.uniform(0, len(_SKIN_TONES) - 1)
    skin = np.array([np.interp(tone, range(len(_SKIN_TONES)), channel) for channel in zip(*_SKIN_TONES)]) / 255.0
    skin = np.clip(skin + rng.normal(0, 0.012, 3), 0, 1)
    style = str(rng.choice(HAIR_STYLES, p=_STYLE_WEIGHTS[kind]))
    hair_name, hair = _hair_colour(rng)
    beard_name = "none" if woman else str(rng.choice(_BEARDS, p=(0.40, 0.10, 0.14, 0.16, 0.20)))
    has_glasses = bool(rng.random() < 0.25)
    lips = skin * (0.80, 0.55, 0.55)
    if woman:
        lips = _mix(lips, np.array(colorsys.hsv_to_rgb(rng.uniform(0.92, 1.02) % 1, 0.8, rng.uniform(0.5, 0.85))), 0.75)
    # Dyed hair keeps its natural brows and beard.
    grown = hair if hair_name in _NATURAL_HAIR else np.array(_NATURAL_HAIR["dark brown"]) / 255.0
    iris = np.array(list(_IRIS.values())[rng.integers(len(_IRIS))]) / 255.0
    return Person(
        identity=identity,
        kind=kind,
        hair_name="bald" if style == "bald" else hair_name,
        hair_style=style,
        beard_name=beard_name,
        has_glasses=has_glasses,
        skin=skin,
        hair=hair,
        brow=_mix(grown * 0.6, skin * 0.3, 0.3),
        beard=grown * 0.8,
        lips=lips,
        iris=iris,
        glasses=np.array(_GLASSES[rng.integers(len(_GLASSES))]) / 255.0,
        face=_face_shape(rng, woman, style, beard_name, has_glasses),
        head_radii=np.array([rng.uniform(0.106, 0.132), rng.uniform(0.142, 0.160), rng.uniform(0.125, 0.138)]),
        hair_volume=float(rng.uniform(0.7, 1.5)),
        hair_length=float(rng.uniform(0.7, 1.4)),
        height=float(rng.uniform(0.95, 1.02) if woman else rng.uniform(0.98, 1.06)),
        girth=float(rng.uniform(0.88, 1.12) if woman else rng.uniform(0.95, 1.3)),
        shoulders=float(rng.uniform(0.145, 0.165) if woman else rng.uniform(0.17, 0.2)),
        hips=float(rng.uniform(0.085, 0.1) if woman else rng.uniform(0.08, 0.092)),
    )


def _face_shape(rng: np.random.Generator, woman: bool, style: str, beard: str, glasses: bool) -> FaceShape:
    fringed = style in ("short", "bob", "long", "bun", "ponytail") and rng.random() < (0.6 if woman else 0.3)
    full = {"full": 1.0, "stubble": 0.4}.get(beard, 0.0)
    return FaceShape(
        eye_apart=rng.uniform(0.36, 0.46),
        eye_height=rng.uniform(-0.02, 0.10),
        eye_width=rng.uniform(0.22, 0.29),
        eye_open=rng.uniform(0.14, 0.21),
        iris_size=rng.uniform(0.13, 0.18),
        brow_lift=rng.uniform(0.24, 0.34),
        brow_thickness=rng.uniform(0.025, 0.05) if woman else rng.uniform(0.04, 0.085),
        brow_tilt=rng.uniform(-0.25, 0.35),
        nose_width=rng.uniform(0.13, 0.24),
        nose_length=rng.uniform(0.15, 0.26),
        mouth_height=rng.uniform(-0.60, -0.48),
        mouth_width=rng.uniform(0.22, 0.38),
        mouth_thickness=rng.uniform(0.055, 0.09) if woman else rng.uniform(0.04, 0.06),
        smile=rng.uniform(-0.1, 0.9),
        fringe=rng.uniform(0.42, 0.56) if fringed else 2.0,
        parting=rng.uniform(-0.25, 0.25),
        stubble=full,
        goatee=1.0 if beard == "goatee" else full,
        moustache=1.0 if beard in ("moustache", "goatee", "full") else full,
        glasses=float(glasses),
        blush=rng.uniform(0.1, 0.5) if woman else rng.uniform(0.0, 0.25),
    )


def _hair_colour(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    if rng.random() < 0.62:
        name = list(_NATURAL_HAIR)[rng.integers(len(_NATURAL_HAIR))]
        return name, np.clip(np.array(_NATURAL_HAIR[name]) / 255.0 + rng.normal(0, 0.02, 3), 0, 1)
    name = list(_FANTASY_HAIR)[rng.integers(len(_FANTASY_HAIR))]
    hue = (_FANTASY_HAIR[name] + rng.uniform(-0.02, 0.02)) % 1
    return name, np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.9), rng.uniform(0.6, 0.95)))


def _mix(a: np.ndarray, b: np.ndarray, amount: float) -> np.ndarray:
    return a * (1 - amount) + b * amount
