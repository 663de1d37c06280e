"""What a metric is: a number for every clip, or one for a whole set of clips.

A metric is a module of this package that defines a class `Metric`, or anybody's own class, named in the config as
`package.module:Class`:

    config.metrics = ("psnr", "motion_score", "my.module:Sharpness")

The class says what it measures and what it looks at. An object of it is made once, from the config of the evaluation,
and may load networks of its own then. Results keep the class's name and description, so that the report, which makes no
object, shows and compares any metric.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import ml_collections
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sr_jax import registry
from sr_jax.errors import UserError
from sr_jax.evaluation.body_parts import PartTracks, follow_parts, part_count
from sr_jax.evaluation.flow import optical_flow
from sr_jax.evaluation.weights import MissingWeightsError


@dataclasses.dataclass(frozen=True)
class Score:
    """What a metric's value is called, which way is better, and how to say what it means.

    Attributes:
        key: Its name in `metrics.json`; scores with the same key are equal.
        label: Its name for a reader.
        unit: Unit of its value; empty for a pure number.
        direction: +1 when higher is better, -1 when lower is better, 0 when it only describes.
        digits: Decimals to show.
        meaning: One plain sentence: what is measured, and how.
        by_frame: What its values frame by frame are, for the axis of their chart over the time of a clip; empty for a
            metric that gives none.
        paper_finds_better: Whether the paper's Table 1 finds it better with SemanticREPA than with fine-tuning alone.
    """

    key: str
    label: str = dataclasses.field(compare=False)
    unit: str = dataclasses.field(compare=False)
    direction: int = dataclasses.field(compare=False)
    digits: int = dataclasses.field(compare=False)
    meaning: str = dataclasses.field(compare=False)
    by_frame: str = dataclasses.field(default="", compare=False)
    paper_finds_better: bool = dataclasses.field(default=False, compare=False)


class Faces(NamedTuple):
    """The largest face in every frame of a clip.

    Attributes:
        embeddings: Unit length, `[F, E]`; zero where there is no face.
        found: Whether there is one, `[F]`.
    """

    embeddings: Float[np.ndarray, "f e"]
    found: Bool[np.ndarray, " f"]


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip, and what metrics may look at. What a judge reads is None as long as no metric needs that judge.

    Attributes:
        clip_id: Its name.
        reference: The real frames `[F, H, W, 3]`.
        reference_structure: The real clip's true disparity in [0, 1], `[F, H, W]`; None where no dataset holds it.
        latents: What is scored, `[T, h, w, C]`; None where that is a video file.
        video: Its frames `[F, H, W, 3]`, as the codec decodes them, or as the file holds them.
        structure: The disparity in [0, 1] that the judge of structure reads in the latents, `[F, H, W]`.
        faces: What the judge of faces finds in `video`.
        reference_faces: What it finds in `reference`.
        body_parts: Number of the part that the judge of body parts sees at each pixel of `video`, `[F, H, W]`.
        reference_body_parts: The same of `reference`.
        image_faces: What it finds in the reference image, one row; None where that is the real first frame.
        depth: What a depth network reads in `video`: disparity of any scale, `[F, H, W]`.
        reference_depth: What it reads in `reference`.
        prompt: What the clip was to show; empty where nothing says it.
    """

    clip_id: str
    reference: UInt8[np.ndarray, "f h w 3"]
    reference_structure: Float[np.ndarray, "f h w"] | None = None
    latents: Float[np.ndarray, "t y x c"] | None = None
    video: UInt8[np.ndarray, "f h w 3"] | None = None
    structure: Float[np.ndarray, "f h w"] | None = None
    faces: Faces | None = None
    reference_faces: Faces | None = None
    body_parts: UInt8[np.ndarray, "f h w"] | None = None
    reference_body_parts: UInt8[np.ndarray, "f h w"] | None = None
    image_faces: Faces | None = None
    depth: Float[np.ndarray, "f h w"] | None = None
    reference_depth: Float[np.ndarray, "f h w"] | None = None
    prompt: str = ""

    @functools.cached_property
    def flow(self) -> Float[np.ndarray, "g h w 2"]:
        """Optical flow of `video`, `[F - 1, H, W, 2]`; metrics that look at it share it."""
        return optical_flow(self.video)

    def real(self) -> "Clip":
        """The real clip in the place of the one that is scored; its latents are the scored clip's."""
        read = {
            "structure": self.reference_structure,
            "faces": self.reference_faces,
            "body_parts": self.reference_body_parts,
            "depth": self.reference_depth,
        }
        return dataclasses.replace(self, video=self.reference, **read)


class Measurement(NamedTuple):
    """What a metric gives for one clip.

    Attributes:
        value: None where it is not defined.
        frames: The same frame by frame, `[F]`, NaN where not defined; for a score that has `by_frame`.
    """

    value: float | None
    frames: Float[np.ndarray, " f"] | None = None


JUDGES = ("structure", "faces", "body_parts")
"""The judges of what `sample --data` wrote."""

NEEDS = (*JUDGES, "depth", "prompt")
"""What a metric may need beside the real clip, the latents and their video. Depth is read in video files alone."""


@runtime_checkable
class ClipMetric(Protocol):
    """A metric with a value for every clip; that of a set is the mean over the clips that have one.

    A class that compares no frame with the real one at its time says so by `alone = True`: real clips have a value too.

    Attributes:
        score: What is measured.
        needs: Those of `NEEDS` that it looks at.
    """

    level: ClassVar[Literal["clip"]] = "clip"
    score: ClassVar[Score]
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: ml_collections.ConfigDict):
        """Made from the config of the evaluation, of which few metrics read anything."""

    def measure(self, clip: Clip) -> Measurement:
        """The value of one clip."""
        ...


@runtime_checkable
class SetMetric(Protocol):
    """A metric of a whole set of clips, such as a distance between two distributions.

    An object that needs clips of some length says so by `least_frames`; one with a network, by `about`, which it is.

    Attributes:
        score: What is measured.
        needs: Those of `NEEDS` that it looks at.
        features_name: Of its features in `metrics.npz`; metrics that give it the same name share them.
    """

    level: ClassVar[Literal["set"]] = "set"
    score: ClassVar[Score]
    needs: ClassVar[frozenset[str]] = frozenset()
    features_name: ClassVar[str]

    def __init__(self, config: ml_collections.ConfigDict):
        """Made from the config of the evaluation, of which few metrics read anything."""

    def features(self, clip: Clip) -> Float[np.ndarray, "..."]:
        """What is kept of one clip, of the same shape for all; of a real clip, it is given `Clip.real`."""
        ...

    @staticmethod
    def value(
        ours: Float[np.ndarray, "n ..."], real: Float[np.ndarray, "n ..."], counts: Int[np.ndarray, "r n"]
    ) -> Float[np.ndarray, " r"]:
        """The value of each of R sets, from features alone: the report calls it for resampled sets.

        Args:
            ours: Features of the clips that are scored.
            real: Features of the real clips in the same order.
            counts: How often each clip is in each set.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Description:
    """What results say of a metric.

    Attributes:
        name: By which a config names it.
        level: "clip" or "set".
        score: What it measures.
        features_name: Of a `SetMetric`, else empty.
    """

    name: str
    level: str
    score: Score
    features_name: str = ""


def find_metric(name: str) -> type:
    """The class, a `ClipMetric` or a `SetMetric`, that a config names.

    Raises:
        UserError: When there is none of this name.
    """
    return registry.find("metric", name, package=__package__, attribute="Metric")


def build_metrics(config: ml_collections.ConfigDict) -> dict[str, ClipMetric | SetMetric]:
    """The metrics that `config.metrics` names, by these names, in their order.

    Raises:
        UserError: For an unknown metric, one that needs something else than `NEEDS`, two with the same key, or one
            whose weights are not there.
    """
    return {name: metric(config) for name, metric in _classes(config).items()}


def build_available(config: ml_collections.ConfigDict) -> tuple[dict[str, ClipMetric | SetMetric], dict[str, str]]:
    """As `build_metrics`, but metrics whose weights are not there are left out: the second dict says why, by name.

    Raises:
        UserError: As `build_metrics`, and when no metric is left.
    """
    metrics, left_out = {}, {}
    for name, metric in _classes(config).items():
        try:
            metrics[name] = metric(config)
        except MissingWeightsError as error:
            left_out[name] = str(error)
    if not metrics:
        raise UserError(
            "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "config.metrics is empty"
        )
    return metrics, left_out


def _classes(config: ml_collections.ConfigDict) -> dict[str, type]:
    # On a command line a tuple may be written as names with commas between them.
    names = [name.strip() for entry in config.metrics for name in entry.split(",")]
    classes = {name: find_metric(name) for name in names}
    keys = [metric.score.key for metric in classes.values()]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"config.metrics names several metrics whose key is {repeated[0]!r}")
    for name, metric in classes.items():
        if strangers := sorted(set(metric.needs) - set(NEEDS)):
            raise UserError(f"the metric {name!r} needs {strangers[0]!r}: what there is are {', '.join(NEEDS)}")
    return classes


def conventions(metrics: Mapping[str, ClipMetric | SetMetric]) -> dict[str, Mapping[str, str]]:
    """What decides the values of metrics beside their scores' words: networks with their hashes, sizes, windows."""
    return {metric.score.key: metric.about for metric in metrics.values() if hasattr(metric, "about")}


def describe(metrics: Mapping[str, ClipMetric | SetMetric]) -> list[Description]:
    """What results say of metrics, by the names that a config gave them."""
    return [
        Description(name, metric.level, metric.score, metric.features_name if metric.level == "set" else "")
        for name, metric in metrics.items()
    ]


def body_part_tracks(clip: Clip) -> tuple[PartTracks, PartTracks]:
    """The body parts of a clip and of the real one, followed over their frames."""
    count = part_count(clip.body_parts, clip.reference_body_parts)
    return follow_parts(clip.body_parts, count), follow_parts(clip.reference_body_parts, count)


def mean_where_defined(values: Sequence[float | None] | Float[np.ndarray, " n"]) -> float | None:
    """Mean of what is neither None nor NaN; None when nothing is."""
    values = np.asarray(values, np.float64)
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None
