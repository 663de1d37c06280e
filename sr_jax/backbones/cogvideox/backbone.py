"""CogVideoX as a backbone: all released variants, and smaller ones of the same topology."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.backbones.base import ClipSize, Inputs, Output, first_frame_condition
from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.backbones.cogvideox.flops import transformer_flops
from sr_jax.backbones.cogvideox.parts import PARTS
from sr_jax.backbones.cogvideox.position_table import fit_position_table
from sr_jax.backbones.cogvideox.pruning import pruned_params
from sr_jax.backbones.cogvideox.scheduler_config import config_from_diffusers, config_to_diffusers
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError
from sr_jax.models.flops import Flops
from sr_jax.models.functional import Params

# Latent rows and columns in copies of version 1.5's released config, where they bound a table of angles; no clips of
# 2400 x 2400 pixels were trained on.
_NO_SIZE = (300, 300)


class CogVideoX:
    """See `backbones.base.Backbone`. Image-to-video variants take the image latent behind the noisy one, on channels.

    Attributes:
        config: Sizes and variant.
    """

    parts = PARTS
    given_frames = 0

    def __init__(self, config: CogVideoXConfig):
        self.config = config
        self.latent_channels = config.out_channels
        self.latent_size, self.patch = config.sample_size, config.patch
        self.text_shape = (config.max_text_seq_length, config.text_embed_dim)
        self.num_layers, self.num_heads = config.num_layers, config.num_attention_heads
        self.takes_image = config.image_to_video

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "CogVideoX":
        """Of the fields of `CogVideoXConfig`.

        Raises:
            UserError: For another field.
        """
        try:
            return cls(CogVideoXConfig(**fields))
        except TypeError as error:
            raise UserError(f"no CogVideoX model has such fields: {error}") from error

    @staticmethod
    def schedule_of_release(scheduler: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `ScheduleConfig`; see `scheduler_config`."""
        return dataclasses.asdict(config_from_diffusers(scheduler))

    @staticmethod
    def schedule_to_release(section: Mapping[str, Any]) -> dict[str, Any]:
        """Of the fields of `ScheduleConfig`."""
        return config_to_diffusers(ScheduleConfig(**section))

    def process(self, section: Mapping[str, Any]) -> VPrediction:
        """Of the fields of `ScheduleConfig`."""
        return VPrediction(ScheduleConfig(**section))

    def build(self, rngs: nnx.Rngs, *, dtype: DTypeLike, remat: str) -> CogVideoXTransformer3D:
        """The transformer."""
        return CogVideoXTransformer3D(self.config, rngs=rngs, dtype=jnp.dtype(dtype), remat=remat)

    def predict(self, network: Callable[..., Any], inputs: Inputs, taps: tuple[int, ...] = ()) -> Output:
        """Joins noisy latents and image on the channels."""
        latents = jnp.concatenate([inputs.noisy, *inputs.condition.values()], axis=-1)
        prediction, hidden = network(latents, inputs.text, inputs.times, taps=taps)
        return Output(prediction, hidden)

    def condition(self, image: Float[Array, "b 1 h w c"] | None, num_frames: int) -> dict[str, Array]:
        """The image latent on frame 0 and zeros on the other frames; nothing for a text-to-video model."""
        if image is None or not self.takes_image:
            return {}
        return {"image": first_frame_condition(image, num_frames)}

    def pruned_params(self, wanted: Params, params: Params, source: "CogVideoX") -> Params:
        """Evenly spaced blocks and all shared layers; see `pruning`."""
        return pruned_params(wanted, params, source.num_layers, self.num_layers)

    def fitted(self, params: Params, size: tuple[int, int, int], position_table: str) -> tuple[Params, "CogVideoX"]:
        """As `position_table.fit_position_table`."""
        params, config = fit_position_table(params, self.config, size, position_table)
        return params, CogVideoX(config)

    def clip_size(self, spatial_compression_ratio: int) -> ClipSize:
        """Where a config of version 1.5 names none, only how far its angles go, it is that version's released size."""
        config = self.config
        if config.patch_size_t is not None and (config.sample_height, config.sample_width) == _NO_SIZE:
            config = RELEASED["1_5_5b_i2v"]
        return ClipSize(
            config.sample_frames,
            config.sample_height * spatial_compression_ratio,
            config.sample_width * spatial_compression_ratio,
            fps=8.0 if config.patch_size_t is None else 16.0,
        )

    def differences(self, other: "CogVideoX") -> dict[str, tuple[Any, Any]]:
        """Fields in which two transformers cannot share weights: this one's value and the other's.

        No position of version 1.5 depends on the size of training, and copies of its released config differ in it. The
        number of text tokens matters to a learned position table alone.
        """
        passed_over = ("sample_frames", "sample_height", "sample_width") if self.config.patch_size_t is not None else ()
        ours, theirs = dataclasses.asdict(self.config), dataclasses.asdict(other.config)
        if not (self.config.use_learned_positional_embeddings or other.config.use_learned_positional_embeddings):
            passed_over += ("max_text_seq_length",)
        return {
            name: (ours[name], theirs[name]) for name in ours if name not in passed_over and ours[name] != theirs[name]
        }

    def flops(self, size: tuple[int, int, int], text_length: int) -> Flops:
        """See `flops.transformer_flops`."""
        return transformer_flops(self.config, size, text_length)

    def tokens(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """One for each patch."""
        return self.config.tokens(size)
