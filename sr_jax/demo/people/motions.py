"""How people move: joint angles over time for gentle and violent motions.

A motion is a function from clip times and a random generator to a `Pose`. Phase, tempo and size are drawn per clip.
Angles are written as a person would say them, the same for left and right: x bends forward (a knee bends back), y
twists outward (for root, spine and head: turns to the person's left), z lifts sideways (for root, spine and head: leans
to the person's right).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

JOINTS = (
    "root", "spine", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_hip", "right_hip", "left_knee", "right_knee",
)  # fmt: skip
SIDES = ("left", "right")
# A stepping leg is bent most a little before it passes the other: this shift of its cycle, radians.
_SWING = 3.5


class Pose(NamedTuple):
    """A person's posture over a clip of F frames.

    Attributes:
        angles: Joint angles in radians, `[F, len(JOINTS), 3]`, in the convention of this module.
        travel: Offset of the root over the floor along x and z, metres, `[F, 2]`.
        lift: Height of the lower foot above the floor, metres, `[F]`.
    """

    angles: Float[np.ndarray, "f j 3"]
    travel: Float[np.ndarray, "f 2"]
    lift: Float[np.ndarray, "f"]


class Motion(NamedTuple):
    """A kind of motion.

    Attributes:
        phrase: What the person does, for the caption; may hold `{side}`.
        violent: Whether the motion is fast and large.
        held_out: Whether only the test split shows it.
        whole_body: Whether the legs must be seen to recognise it.
        weight: How often it is drawn, relative to the others.
        move: Makes the pose from times in seconds, a generator, and a side.
    """

    phrase: str
    violent: bool
    held_out: bool
    whole_body: bool
    weight: float
    move: Callable[[Float[np.ndarray, "f"], np.random.Generator, str], Pose]


def sample_motion(rng: np.random.Generator, held_out: bool, violent_only: bool = False) -> str:
    """Draws the name of a motion among those that are, or are not, held out from training."""
    names = [
        name for name, motion in MOTIONS.items() if motion.held_out == held_out and (motion.violent or not violent_only)
    ]
    weights = np.array([MOTIONS[name].weight for name in names])
    return str(rng.choice(names, p=weights / weights.sum()))


class _Figure:
    """A pose under construction: a relaxed stand that a motion then changes joint by joint."""

    def __init__(self, time: np.ndarray, rng: np.random.Generator):
        self.pose = Pose(np.zeros((len(time), len(JOINTS), 3)), np.zeros((len(time), 2)), np.zeros(len(time)))
        sway = np.sin(2 * np.pi * (0.5 * time + rng.random()))
        self.turn("spine", x=0.03, z=0.02 * sway)
        self.turn("head", x=rng.uniform(-0.05, 0.1), y=rng.uniform(-0.2, 0.2) + 0.08 * sway, z=0.05 * sway)
        for side in SIDES:
            self.turn(f"{side}_shoulder", x=0.05 * sway, z=rng.uniform(0.12, 0.22))
            self.turn(f"{side}_elbow", x=rng.uniform(0.15, 0.35))
            self.turn(f"{side}_hip", z=rng.uniform(0.03, 0.08))

    def turn(self, joint: str, x=None, y=None, z=None) -> None:
        """Sets the angles given of one joint over the clip."""
        for axis, value in enumerate((x, y, z)):
            if value is not None:
                self.pose.angles[:, JOINTS.index(joint), axis] = value

    def bend_legs(self, amount: np.ndarray) -> None:
        """Bends both knees with the feet below the body; 1 is a deep squat."""
        for side in SIDES:
            self.turn(f"{side}_hip", x=1.15 * amount)
            self.turn(f"{side}_knee", x=1.9 * amount)
        self.turn("spine", x=0.03 + 0.25 * amount)


def _cycle(time: np.ndarray, rng: np.random.Generator, slow: float, fast: float) -> np.ndarray:
    """Phase in radians of a cycle whose frequency lies between `slow` and `fast` hertz."""
    return 2 * np.pi * (time * rng.uniform(slow, fast) + rng.random())


def _rise(phase: np.ndarray) -> np.ndarray:
    """0 to 1 and back, smoothly, once per cycle."""
    return 0.5 - 0.5 * np.cos(phase)


def _other(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]


def _stand(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 0.4, 0.7)
    figure.turn("spine", z=0.10 * np.sin(phase))
    figure.turn("head", y=0.35 * np.sin(phase * 0.7), z=0.06 * np.sin(phase))
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.18 * np.sin(phase))
        figure.turn(f"{each}_elbow", x=0.35 + 0.2 * np.sin(phase))
    return figure.pose


def _walk(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 0.8, 1.15)
    size = rng.uniform(0.85, 1.15)
    for offset, each in enumerate(SIDES):
        stride = np.sin(phase + np.pi * offset)
        figure.turn(f"{each}_hip", x=0.08 + 0.48 * size * stride)
        figure.turn(f"{each}_knee", x=0.08 + 0.9 * size * _rise(phase + np.pi * offset + _SWING) ** 2)
        figure.turn(f"{each}_shoulder", x=-0.6 * size * stride)
        figure.turn(f"{each}_elbow", x=0.45 - 0.25 * stride)
    figure.turn("spine", x=0.05, y=0.12 * np.sin(phase))
    _travel(figure.pose, time, rng.uniform(0.15, 0.5))
    return figure.pose


def _run(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 1.5, 1.9)
    for offset, each in enumerate(SIDES):
        stride = np.sin(phase + np.pi * offset)
        figure.turn(f"{each}_hip", x=0.35 + 0.7 * stride)
        figure.turn(f"{each}_knee", x=0.25 + 1.4 * _rise(phase + np.pi * offset + _SWING))
        figure.turn(f"{each}_shoulder", x=-0.9 * stride, z=0.2)
        figure.turn(f"{each}_elbow", x=1.5)
    figure.turn("spine", x=0.18, y=0.2 * np.sin(phase))
    figure.pose.lift[:] = 0.07 * _rise(2 * phase)
    return figure.pose


def _wave(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 1.0, 1.6)
    figure.turn(f"{side}_shoulder", x=0.0, y=1.57, z=rng.uniform(0.3, 0.6))
    figure.turn(f"{side}_elbow", x=2.4 + 0.5 * np.sin(phase))
    figure.turn("head", z=0.08 * np.sin(phase))
    figure.turn("spine", z=0.05 * np.sin(phase))
    return figure.pose


def _turn_round(time, rng, side):
    figure = _Figure(time, rng)
    direction = 1.0 if side == "left" else -1.0
    swing = np.cos(np.pi * np.clip((time - rng.uniform(0, 0.2)) / rng.uniform(1.1, 1.4), 0, 1))
    figure.turn("root", y=-direction * rng.uniform(0.7, 1.5) * swing)
    for offset, each in enumerate(SIDES):
        figure.turn(f"{each}_shoulder", x=0.3 * np.sin(3 * time + np.pi * offset), z=0.3)
    return figure.pose


def _raise_arms(time, rng, side):
    figure = _Figure(time, rng)
    up = _rise(_cycle(time, rng, 0.55, 0.8))
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.0, y=0.8 * up, z=0.25 + 2.4 * up)
        figure.turn(f"{each}_elbow", x=0.2 + 0.3 * (1 - up))
    figure.turn("head", x=-0.15 * up)
    return figure.pose


def _clap(time, rng, side):
    figure = _Figure(time, rng)
    apart = _rise(_cycle(time, rng, 1.3, 1.9))
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.75, y=-0.35 + 0.75 * apart, z=0.1 + 0.3 * apart)
        figure.turn(f"{each}_elbow", x=1.25)
    return figure.pose


def _look_around(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 0.5, 0.7)
    figure.turn("head", y=0.8 * np.sin(phase), x=0.05)
    figure.turn("spine", y=0.3 * np.sin(phase))
    return figure.pose


def _bow(time, rng, side):
    figure = _Figure(time, rng)
    down = _rise(_cycle(time, rng, 0.5, 0.65))
    figure.turn("spine", x=0.75 * down)
    figure.turn("head", x=0.1 - 0.35 * down)
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.5 * down)
    return figure.pose


def _jump(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 1.1, 1.4)
    height = np.maximum(np.sin(phase), 0.0)
    crouch = np.maximum(-np.sin(phase), 0.0)
    figure.pose.lift[:] = rng.uniform(0.16, 0.24) * height
    figure.bend_legs(0.08 + 0.35 * crouch)
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.5 * height, z=0.3 + 1.9 * height)
        figure.turn(f"{each}_elbow", x=0.4 + 0.4 * crouch)
    return figure.pose


def _jumping_jacks(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 0.9, 1.25)
    spread = _rise(phase)
    figure.pose.lift[:] = 0.12 * np.sin(phase) ** 2
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.0, y=0.9 * spread, z=0.15 + 2.5 * spread)
        figure.turn(f"{each}_elbow", x=0.2)
        figure.turn(f"{each}_hip", z=0.04 + 0.42 * spread)
    return figure.pose


def _dance(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 0.9, 1.3)
    beat = np.sin(phase)
    figure.turn("root", y=0.35 * np.sin(phase * 0.5), z=0.0)
    figure.turn("spine", y=0.25 * beat, z=0.2 * beat)
    figure.turn("head", y=-0.2 * beat, z=-0.15 * beat)
    figure.bend_legs(0.10 + 0.18 * _rise(2 * phase))
    figure.turn("spine", x=0.05)
    for offset, each in enumerate(SIDES):
        up = _rise(phase + np.pi * offset)
        figure.turn(f"{each}_shoulder", x=0.2, y=1.2 * up, z=0.5 + 1.5 * up)
        figure.turn(f"{each}_elbow", x=1.5 - 0.7 * up)
        figure.turn(f"{each}_hip", z=0.08 + 0.2 * up)
    figure.pose.travel[:, 0] = 0.12 * beat
    return figure.pose


def _punch(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 1.0, 1.5)
    figure.turn("root", y=0.2 * np.sin(phase))
    figure.turn("spine", y=0.3 * np.sin(phase), x=0.12)
    for offset, each in enumerate(SIDES):
        out = _rise(phase + np.pi * offset) ** 2
        figure.turn(f"{each}_shoulder", x=0.35 + 1.2 * out, y=0.15, z=0.3 - 0.25 * out)
        figure.turn(f"{each}_elbow", x=2.1 - 2.0 * out)
        figure.turn(f"{each}_hip", x=(0.3, -0.25)[offset], z=0.12)
        figure.turn(f"{each}_knee", x=0.25)
    return figure.pose


def _kick(time, rng, side):
    figure = _Figure(time, rng)
    out = _rise(_cycle(time, rng, 0.9, 1.2)) ** 2
    figure.turn(f"{side}_hip", x=1.45 * out, z=0.05)
    figure.turn(f"{side}_knee", x=1.2 * np.sqrt(out) * (1 - out) * 2)
    figure.turn(f"{_other(side)}_knee", x=0.15)
    figure.turn("spine", x=-0.2 * out)
    for each in SIDES:
        figure.turn(f"{each}_shoulder", z=0.4 + 0.5 * out, x=0.2)
        figure.turn(f"{each}_elbow", x=0.9)
    return figure.pose


def _squat(time, rng, side):
    figure = _Figure(time, rng)
    down = _rise(_cycle(time, rng, 0.6, 0.9))
    figure.bend_legs(0.05 + 0.75 * down)
    for each in SIDES:
        figure.turn(f"{each}_shoulder", x=0.2 + 1.2 * down, z=0.1)
        figure.turn(f"{each}_elbow", x=0.15)
        figure.turn(f"{each}_hip", z=0.15 + 0.1 * down)
    return figure.pose


def _swing_arms(time, rng, side):
    figure = _Figure(time, rng)
    phase = _cycle(time, rng, 0.9, 1.2)
    for offset, each in enumerate(SIDES):
        figure.turn(f"{each}_shoulder", x=np.unwrap(phase) + np.pi * offset, z=0.3)
        figure.turn(f"{each}_elbow", x=0.1)
    figure.turn("spine", y=0.25 * np.sin(phase))
    return figure.pose


def _travel(pose: Pose, time: np.ndarray, speed: float) -> None:
    """Moves the root straight ahead at `speed` metres a second, centred on the clip."""
    pose.travel[:, 1] = speed * (time - time.mean())


MOTIONS = {
    "stand": Motion("stands and sways", False, False, False, 0.7, _stand),
    "walk": Motion("walks", False, False, True, 1.6, _walk),
    "wave": Motion("waves the {side} hand", False, False, False, 1.5, _wave),
    "turn": Motion("turns to the {side}", False, False, False, 1.0, _turn_round),
    "raise_arms": Motion("raises both arms", False, False, False, 1.2, _raise_arms),
    "clap": Motion("claps", False, False, False, 1.0, _clap),
    "look_around": Motion("looks around", False, False, False, 0.7, _look_around),
    "bow": Motion("bows", False, False, False, 0.6, _bow),
    "run": Motion("runs on the spot", True, False, True, 1.0, _run),
    "jump": Motion("jumps", True, False, True, 1.2, _jump),
    "jumping_jacks": Motion("does jumping jacks", True, False, True, 1.2, _jumping_jacks),
    "dance": Motion("dances", True, False, True, 1.5, _dance),
    "punch": Motion("punches", True, False, False, 1.2, _punch),
    "kick": Motion("kicks with the {side} leg", True, True, True, 1.0, _kick),
    "squat": Motion("squats", False, True, True, 1.0, _squat),
    "swing_arms": Motion("swings the arms in circles", True, True, False, 1.0, _swing_arms),
}
