"""Anybody's own metrics: one of clips and one of sets, which know nothing of this project but what they are given."""

from typing import ClassVar

import numpy as np

from sr_jax.evaluation.metrics.base import Clip, Measurement, Score


class Redness:
    """How red each frame is."""

    level = "clip"
    score = Score("redness", "Redness", "%", +1, 1, "Share of red < the rest.", by_frame="% of red")
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config):
        self.scale = config.get("redness_scale", 100.0)

    def measure(self, clip: Clip) -> Measurement:
        """Not defined where the real clip is blue."""
        frames = self.scale * clip.video[..., 0].mean(axis=(1, 2)) / 255
        return Measurement(None if clip.reference[..., 2].mean() > 100 else float(frames.mean()), frames)


class ColourDistance:
    """Squared distance between the mean colours of two sets."""

    level = "set"
    score = Score("colour_distance", "Colour distance", "", -1, 3, "Of mean colours.")
    needs: ClassVar[frozenset[str]] = frozenset()
    features_name = "colour"

    def __init__(self, config):
        pass

    def features(self, clip: Clip) -> np.ndarray:
        """The clip's mean colour, `[3]`."""
        return clip.video.mean(axis=(0, 1, 2))

    @staticmethod
    def value(ours, real, counts):
        means = [counts @ features / counts.sum(axis=1, keepdims=True) for features in (ours, real)]
        return np.square(means[0] - means[1]).sum(axis=-1)


class Thirsty(Redness):
    """Needs what there is not."""

    needs = frozenset({"water"})


class Patient(Redness):
    """Looks at longer clips than there are."""

    least_frames = 6


class Prompted(Redness):
    """Looks at prompts."""

    needs = frozenset({"prompt"})
