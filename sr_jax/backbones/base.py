"""What a video diffusion transformer is to everything that trains, samples, plans or converts one.

A backbone is a folder of this package that defines `BACKBONE` (in its `__init__`): sizes and variants of one family,
and all that follows from them. It holds no weights.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from sr_jax import registry
from sr_jax.conversion.parts import PartKind
from sr_jax.diffusion.process import Process
from sr_jax.errors import UserError
from sr_jax.models.flops import Flops
from sr_jax.models.functional import Params


@struct.dataclass
class Inputs:
    """What a network reads.

    Attributes:
        noisy: Noisy latents, of whole patches.
        times: Of the noisy latents; see `Process`.
        text: Embedded captions; L may be 0.
        condition: What `Backbone.condition` gave.
    """

    noisy: Float[Array, "b t h w c"]
    times: Shaped[Array, " b"]
    text: Float[Array, "b l e"]
    condition: Mapping[str, Array]


class Output(NamedTuple):
    """What a network gives.

    Attributes:
        prediction: Of the target of the backbone's process, in the compute type.
        hidden: Video tokens behind the blocks that were asked for, by number, on their grid.
    """

    prediction: Float[Array, "b t h w c"]
    hidden: dict[int, Float[Array, "b tt y x d"]]


class ClipSize(NamedTuple):
    """What a clip measures: `num_frames` of `height` x `width` pixels, `fps` of them a second."""

    num_frames: int
    height: int
    width: int
    fps: float


@runtime_checkable
class Backbone(Protocol):
    """One size and variant of a family of transformers. All latents are scaled, `[B, T, H, W, C]`.

    Attributes:
        parts: What a release of the family consists of, by the names of its folders.
        config: Sizes and variant, a frozen dataclass with the names that releases use.
        latent_channels: C, what it generates.
        latent_size: T, H and W of training.
        patch: Latent frames, rows and columns of a token; what it is given has whole ones (`pad_frames`).
        text_shape: L and E of the captions of training.
        num_layers: Blocks, the numbers of `taps`.
        num_heads: What tensor parallelism can split.
        takes_image: Whether it generates from a first frame.
        given_frames: Leading latent frames that `condition` gives; they count in no loss.
    """

    parts: Mapping[str, PartKind]
    config: Any
    latent_channels: int
    latent_size: tuple[int, int, int]
    patch: tuple[int, int, int]
    text_shape: tuple[int, int]
    num_layers: int
    num_heads: int
    takes_image: bool
    given_frames: int

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Backbone":
        """The backbone of a config's `model` section.

        Raises:
            UserError: For fields, or values of them, that are none of the family's.
        """
        ...

    @staticmethod
    def schedule_of_release(scheduler: Mapping[str, Any]) -> dict[str, Any]:
        """A config's `schedule` section, with every field, from the scheduler's config of a release.

        Raises:
            UserError: When it is of another kind.
        """
        ...

    @staticmethod
    def schedule_to_release(section: Mapping[str, Any]) -> dict[str, Any]:
        """The scheduler's config of a release from a config's `schedule` section."""
        ...

    def process(self, section: Mapping[str, Any]) -> Process:
        """The diffusion process of a config's `schedule` section."""
        ...

    def build(self, rngs: nnx.Rngs, *, dtype: DTypeLike, remat: str) -> nnx.Module:
        """The network, with fresh weights; `remat` is one of `remat.POLICIES`."""
        ...

    def predict(self, network: Callable[..., Any], inputs: Inputs, taps: tuple[int, ...] = ()) -> Output:
        """Runs a network of `build`, or its `Functional.apply` with parameters.

        Raises:
            UserError: When the inputs do not fit.
        """
        ...

    def condition(self, image: Float[Array, "b 1 h w c"] | None, num_frames: int) -> dict[str, Array]:
        """What the network reads beside noisy latents of `num_frames` and text, from the latent of a first frame."""
        ...

    def pruned_params(self, wanted: Params, params: Params, source: "Backbone") -> Params:
        """Where training of this network starts when it has fewer blocks, or reads less, than a trained one.

        Args:
            wanted: Shapes of this network's parameters.
            params: Of the trained network.
            source: The trained network's backbone.

        Raises:
            UserError: When the two do not fit, naming the parameter.
        """
        ...

    def fitted(self, params: Params, size: tuple[int, int, int], position_table: str) -> tuple[Params, "Backbone"]:
        """Weights and backbone for latents of another size.

        Args:
            params: Weights of this backbone.
            size: T, H and W.
            position_table: What becomes of positions that are learned: `keep`, `drop` or `interpolate`.

        Raises:
            UserError: When it does not fit that size so.
        """
        ...

    def differences(self, other: "Backbone") -> dict[str, tuple[Any, Any]]:
        """Fields of `config` in which two transformers cannot share weights: this one's value and the other's."""
        ...

    def clip_size(self, spatial_compression_ratio: int) -> ClipSize:
        """The clips that it was trained on last, as its config names them."""
        ...

    def flops(self, size: tuple[int, int, int], text_length: int) -> Flops:
        """Of one clip with latents of T, H and W."""
        ...

    def tokens(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Tokens along T, H and W of a latent of whole patches."""
        ...


POSITION_TABLES = ("keep", "drop", "interpolate")
"""What can become of learned positions; see `Backbone.fitted`."""


def get_backbone(name: str, fields: Mapping[str, Any]) -> Backbone:
    """The backbone that a config names, with the fields of its `model` section.

    Raises:
        UserError: For an unknown name, or fields that are none of it.
    """
    return family(name).from_fields(fields)


def family(name: str) -> type:
    """The class of a family's backbones (`Backbone`).

    Raises:
        UserError: For an unknown name.
    """
    return registry.find("backbone", name, package=__package__, attribute="BACKBONE")


def families() -> dict[str, type]:
    """Every family of this package by its name."""
    return {name: family(name) for name in registry.names(__package__, "BACKBONE")}


def family_with_fields(fields: Mapping[str, Any]) -> str:
    """The name of the family that has these fields: of configs from before backbones were named.

    Raises:
        UserError: When none has.
    """
    for name, found in families().items():
        try:
            found.from_fields(fields)
        except UserError:
            continue
        return name
    raise UserError(f"no backbone has a model with the fields {', '.join(sorted(fields))}")


def pad_frames(latents: Float[Array, "b t h w c"], multiple: int) -> Float[Array, "b t_padded h w c"]:
    """Repeats the first latent frame in front until the frames are a multiple of a patch's.

    Released trainers (CogVideoX 1.5) pad so; released pipelines cut as many frames off the front of what they generate.
    """
    added = -latents.shape[1] % multiple
    return jnp.concatenate([latents[:, :1]] * added + [latents], axis=1)


def padded_size(size: tuple[int, int, int], patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """T, H and W of latents behind `pad_frames`."""
    frames, height, width = size
    return (frames + -frames % patch[0], height, width)


def first_frame_condition(image: Float[Array, "b 1 h w c"], num_frames: int) -> Float[Array, "b {num_frames} h w c"]:
    """The image latent on frame 0, zeros on the others."""
    return jnp.pad(image, ((0, 0), (0, num_frames - 1), (0, 0), (0, 0), (0, 0)))


def noisy_first_frame(image_latents: Float[Array, "b k 1 h w c"], key: jax.Array) -> Float[Array, "b 1 h w c"]:
    """One of the noisy draws of each clip's first frame, which training conditions on.

    Args:
        image_latents: Draw 0 is the clean image, which sampling uses; draws 1.. are of the noisy image.
        key: Chooses a noisy draw for each sample.

    Raises:
        UserError: When there is no noisy draw.
    """
    batch_size, num_draws = image_latents.shape[:2]
    if num_draws < 2:
        raise UserError("they have no noisy first frames: prepare the videos with config.noisy_images of 1 or more")
    chosen = jax.random.randint(key, (batch_size,), 1, num_draws)
    return jnp.take_along_axis(image_latents, chosen[:, None, None, None, None, None], axis=1)[:, 0]
