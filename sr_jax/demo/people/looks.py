"""A person and an outfit as the numbers that the renderer needs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sr_jax.demo.people.clothes import Clothes
from sr_jax.demo.people.identities import FaceShape, Person

_HAIR_SOLIDS = 5


class Look(NamedTuple):
    """What shapes and colours a body; inside `jit`, JAX arrays. Lengths in metres, colours linear RGB in [0, 1].

    Attributes:
        head_radii: Half axes of the head, `[3]`.
        hair_centres: Centres of the ellipsoids that make the hair, in head coordinates, `[5, 3]`.
        hair_radii: Their half axes, `[5, 3]`.
        height: Body height relative to the usual 1.6 m.
        girth: Thickness of torso and limbs relative to usual.
        shoulders: Half the width between the shoulder joints.
        hips: Half the width between the hip joints.
        nose_width: Half width of the nose.
        nose_length: Half length of the nose.
        skirt: 1 with a skirt, 0 without.
        skin: Colour of face, neck and hands.
        hair: Hair colour.
        top: Colour of the torso.
        upper_arm: Colour of the upper arms.
        forearm: Colour of the forearms.
        bottom: Colour of the pelvis or skirt.
        thigh: Colour of the thighs.
        shin: Colour of the shins.
        shoes: Colour of the feet.
        face: Shape of the painted face.
        brow: Colour of the brows.
        beard: Beard colour.
        lips: Lip colour.
        iris: Iris colour.
        glasses: Colour of the glasses' frames.
    """

    head_radii: Float[np.ndarray, "3"]
    hair_centres: Float[np.ndarray, "5 3"]
    hair_radii: Float[np.ndarray, "5 3"]
    height: Float[np.ndarray, ""]
    girth: Float[np.ndarray, ""]
    shoulders: Float[np.ndarray, ""]
    hips: Float[np.ndarray, ""]
    nose_width: Float[np.ndarray, ""]
    nose_length: Float[np.ndarray, ""]
    skirt: Float[np.ndarray, ""]
    skin: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]
    top: Float[np.ndarray, "3"]
    upper_arm: Float[np.ndarray, "3"]
    forearm: Float[np.ndarray, "3"]
    bottom: Float[np.ndarray, "3"]
    thigh: Float[np.ndarray, "3"]
    shin: Float[np.ndarray, "3"]
    shoes: Float[np.ndarray, "3"]
    face: FaceShape
    brow: Float[np.ndarray, "3"]
    beard: Float[np.ndarray, "3"]
    lips: Float[np.ndarray, "3"]
    iris: Float[np.ndarray, "3"]
    glasses: Float[np.ndarray, "3"]


def make_look(person: Person, clothes: Clothes) -> Look:
    """The look of a person in an outfit."""
    skin, top, bottom = (linear_rgb(colour) for colour in (person.skin, clothes.top, clothes.bottom))
    centres, radii = _hair(person)
    values = Look(
        head_radii=person.head_radii,
        hair_centres=centres,
        hair_radii=radii,
        height=person.height,
        girth=person.girth,
        shoulders=person.shoulders,
        hips=person.hips,
        nose_width=person.face.nose_width * person.head_radii[0],
        nose_length=person.face.nose_length * person.head_radii[1],
        skirt=float(clothes.legwear == "skirt"),
        skin=skin,
        hair=linear_rgb(person.hair),
        top=top,
        upper_arm=skin if clothes.sleeves == "none" else top,
        forearm=top if clothes.sleeves == "long" else skin,
        bottom=bottom,
        thigh=bottom,
        shin=bottom if clothes.legwear == "trousers" else skin,
        shoes=linear_rgb(clothes.shoes),
        face=FaceShape(*(np.float32(value) for value in person.face)),
        brow=linear_rgb(person.brow),
        beard=linear_rgb(person.beard),
        lips=linear_rgb(person.lips),
        iris=linear_rgb(person.iris),
        glasses=linear_rgb(person.glasses),
    )
    return Look(*(value if isinstance(value, FaceShape) else np.asarray(value, np.float32) for value in values))


def linear_rgb(colour: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light of an sRGB colour, both in [0, 1] (IEC 61966-2-1)."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _hair(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Centres and half axes of the hair's ellipsoids; unused ones hide inside the head."""
    width, height, depth = person.head_radii
    volume, length, style = person.hair_volume, person.hair_length, person.hair_style
    off = 0.012 * volume
    solids = []
    if style not in ("bald", "mohawk"):
        # A cap a little larger than the head, set up and back: where the two cross is the hairline.
        solids.append(((0, 0.026, -0.028), (width + off, height + 0.2 * off, depth + 0.5 * off)))
    if style == "afro":
        size = 0.15 + 0.02 * volume
        solids.append(((0, 0.075, -size + 0.085), (size * 1.1, size, size)))
    if style in ("bob", "long"):
        drop = (0.085 if style == "bob" else 0.17) * length
        for sign in (1, -1):
            solids.append(((sign * (width - 0.004), -drop * 0.8, -0.03), (0.03 + off, drop + 0.03, 0.065)))
        solids.append(((0, -drop * 0.8, -0.075), (width + off, drop + 0.05, 0.05)))
    if style == "bun":
        solids.append(((0, height + 0.035, -0.035), (0.06 * volume, 0.05 * volume, 0.06 * volume)))
    if style == "ponytail":
        swing = width * 0.9
        solids.append(((swing, -0.03 * length, -depth * 0.9), (0.05, 0.15 * length, 0.05)))
    if style == "mohawk":
        solids.append(((0, height * 0.62, -0.03), (0.026, 0.11 * (0.7 + 0.3 * volume), depth * 0.95)))
    if style == "quiff":
        solids.append(((0, height * 0.82, 0.035), (width * 0.85, 0.045 * volume, depth * 0.7)))
    hidden = [((0, 0, 0), (0.01, 0.01, 0.01))] * (_HAIR_SOLIDS - len(solids))
    centres, radii = zip(*(solids + hidden))
    return np.array(centres, np.float32), np.array(radii, np.float32)
