"""What a clip shows, in a sentence."""

from sr_jax.demo.people.clothes import Clothes
from sr_jax.demo.people.identities import Person

_CAMERA = {
    "left": "the camera moves left", "right": "the camera moves right",
    "closer": "the camera moves closer", "back": "the camera moves back",
    "orbit left": "the camera circles to the left", "orbit right": "the camera circles to the right",
}  # fmt: skip


def write_caption(person: Person, clothes: Clothes, action: str, camera: str) -> str:
    """A caption such as "a woman with long red hair, a blue shirt and black trousers waves the left hand".

    Args:
        person: Who is seen.
        clothes: What the person wears.
        action: What the person does, with a verb in the third person.
        camera: Name of the camera's move; "still" goes unsaid.
    """
    traits = [_hair(person)]
    if person.beard_name in ("full", "goatee"):
        traits.append("a beard")
    if person.beard_name == "moustache":
        traits.append("a moustache")
    if person.has_glasses:
        traits.append("glasses")
    traits.append(f"{_article(clothes.top_name)} {clothes.top_name} shirt")
    skirt = clothes.legwear == "skirt"
    traits.append(f"{_article(clothes.bottom_name) + ' ' if skirt else ''}{clothes.bottom_name} {clothes.legwear}")
    sentence = f"a {person.kind} with {', '.join(traits[:-1])} and {traits[-1]} {action}"
    return f"{sentence}, {_CAMERA[camera]}" if camera in _CAMERA else sentence


def _hair(person: Person) -> str:
    named = {"bald": "a bald head", "short": "short {} hair", "bob": "{} hair in a bob", "long": "long {} hair",
             "bun": "{} hair in a bun", "ponytail": "{} hair in a ponytail", "afro": "{} curly hair",
             "mohawk": "a {} mohawk", "quiff": "a {} quiff"}  # fmt: skip
    return named[person.hair_style].replace("a {}", f"{_article(person.hair_name)} {{}}").format(person.hair_name)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
