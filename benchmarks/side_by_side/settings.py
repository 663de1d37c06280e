"""What is measured: parts, and the sizes that both sides share."""

import dataclasses
import math

from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.backbones.cogvideox.flops import transformer_flops

TEXT_TOKENS = RELEASED["5b_i2v"].max_text_seq_length
_SPATIAL_RATIO = 8
_TEMPORAL_RATIO = 4
# Of the 42 blocks of the released transformer, the structure module has 12.
_STRUCTURE_SHARE = 12 / 42


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes and types, the same on both sides.

    Attributes:
        layers: Blocks of the transformer; CogVideoX-5B-I2V has 42.
        heads: Its attention heads of 64 channels; CogVideoX-5B-I2V has 48.
        frames: Video frames of a clip.
        height: Pixel rows.
        width: Pixel columns.
        dtype: Compute type of matrix products.
        storage: Type of trained parameters and optimizer state.
        remat: What sr_jax's backward pass keeps (`sr_jax.models.remat`). PyTorch runs every block again, as "block".
        sampling_steps: Steps of the sampler, each with guidance.
        prompts: Prompts in one call of the text encoder.
        text_layers: Blocks of the text encoder; T5 v1.1 XXL has 24.
        depth_frames: Frames of a clip that Video Depth Anything (small) sees.
        depth_input: Shorter side of its input.
    """

    layers: int = 42
    heads: int = 48
    frames: int = 49
    height: int = 480
    width: int = 720
    dtype: str = "bfloat16"
    storage: str = "float32"
    remat: str = "block"
    sampling_steps: int = 50
    prompts: int = 1
    text_layers: int = 24
    depth_frames: int = 32
    depth_input: int = 518

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """T, H and W of a clip's latent."""
        return 1 + (self.frames - 1) // _TEMPORAL_RATIO, self.height // _SPATIAL_RATIO, self.width // _SPATIAL_RATIO

    @property
    def transformer(self) -> CogVideoXConfig:
        """CogVideoX-5B-I2V with as many blocks and heads, for clips of this size."""
        _, height, width = self.latent_size
        return dataclasses.replace(
            RELEASED["5b_i2v"],
            num_layers=self.layers,
            num_attention_heads=self.heads,
            sample_frames=self.frames,
            sample_height=height,
            sample_width=width,
        )

    @property
    def structure_layers(self) -> int:
        """Blocks of the structure module, in the proportion of the full size."""
        return max(1, round(self.layers * _STRUCTURE_SHARE))

    @property
    def tokens(self) -> int:
        """Tokens of the joint sequence."""
        return TEXT_TOKENS + math.prod(self.transformer.tokens(self.latent_size))

    @property
    def forward_flops(self) -> int:
        """Of a forward pass of the transformer on one clip."""
        return transformer_flops(self.transformer, self.latent_size, TEXT_TOKENS).forward


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that is measured.

    Attributes:
        title: For the report.
        contestants: Who does it, sr_jax first: keys of `worker.WORKLOADS`.
        together: Whether all contestants fit in memory at once at full size. They then take turns run by run, and
            otherwise process by process.
    """

    title: str
    contestants: tuple[str, ...]
    together: bool = True


_BOTH = ("sr_jax", "pytorch")
_ALL = (*_BOTH, "pytorch_tuned")
PARTS = {
    "attention": Part("Attention kernel, forwards and backwards, against XLA's in float32", ("sr_jax",)),
    "forward": Part("Transformer, forward pass", _ALL),
    "training": Part("Training step with AdamW and gradient checkpointing", ("sr_jax", "stage_two", *_ALL[1:]), False),
    "sampling": Part("Sampling with guidance, transformer and sampler", _ALL),
    "vae_encode": Part("VAE, encode a clip", _BOTH),
    "vae_decode": Part("VAE, decode a clip", _BOTH),
    "vae_encode_tiled": Part("VAE, encode a clip in tiles", _BOTH),
    "vae_decode_tiled": Part("VAE, decode a clip in tiles", _BOTH),
    "t5": Part("Text encoder, T5 v1.1 XXL", _BOTH),
    "depth": Part("Depth teacher, Video Depth Anything (small)", ("sr_jax",)),
    "input": Part("Input pipeline, one record a clip", ("sr_jax",)),
}
"""All parts by name. `pytorch` is diffusers, or transformers, as they come; `pytorch_tuned` has compiled blocks and
cuDNN's attention where there is one; `stage_two` is sr_jax with both losses of stage two, all else is plain."""
