"""What is measured: parts, and the sizes that both sides share."""

import dataclasses
import math

from sr_jax.backbones.cogvideox import vae_network
from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.backbones.cogvideox.flops import transformer_flops
from sr_jax.models import t5

TEXT_TOKENS = RELEASED["5b_i2v"].max_text_seq_length
_SPATIAL_RATIO = 8
_TEMPORAL_RATIO = 4
# Of the 42 blocks of the released transformer, the structure module has 12.
_STRUCTURE_SHARE = 12 / 42
_VAE_WIDTH = vae_network.RELEASED["5b_i2v"].block_out_channels[0]


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
        text_heads: Its attention heads, and in proportion its width; T5 v1.1 XXL has 64.
        tile_height: Pixel rows of a tile of the autoencoder; released are 240.
        tile_width: Pixel columns of a tile; released are 360.
        vae_width: Channels of the autoencoder's first stage, and in proportion of the others; released are 128.
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
    text_heads: int = 64
    vae_width: int = 128
    tile_height: int = 240
    tile_width: int = 360
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
    def autoencoder(self) -> vae_network.CogVideoXVAEConfig:
        """The released autoencoder at this width."""
        released = vae_network.RELEASED["5b_i2v"]
        widths = tuple(width * self.vae_width // _VAE_WIDTH for width in released.block_out_channels)
        return dataclasses.replace(
            released, block_out_channels=widths, norm_num_groups=min(released.norm_num_groups, self.vae_width)
        )

    @property
    def text_encoder(self) -> t5.T5Config:
        """T5 v1.1 XXL with as many blocks and heads."""
        xxl = t5.RELEASED["xxl"]
        return dataclasses.replace(
            xxl,
            num_layers=self.text_layers,
            num_heads=self.text_heads,
            d_model=xxl.d_model * self.text_heads // xxl.num_heads,
            d_ff=xxl.d_ff * self.text_heads // xxl.num_heads,
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


SIZES = {
    "full": Settings(),
    "cpu": Settings(
        layers=2,
        frames=9,
        height=256,
        width=288,
        dtype="float32",
        text_layers=2,
        tile_height=48,
        tile_width=80,
        depth_frames=8,
        depth_input=280,
    ),
    "tiny": Settings(
        layers=1,
        heads=2,
        frames=9,
        height=32,
        width=48,
        dtype="float32",
        sampling_steps=2,
        text_layers=1,
        text_heads=4,
        vae_width=16,
        tile_height=24,
        tile_width=40,
        depth_frames=2,
        depth_input=28,
    ),
}
"""By name: the released size, for a GPU of 140 GB; for a CPU of two cores, at the released width; for a trial."""

TOGETHER, APART, AFRESH = "together", "apart", "afresh"


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that is measured.

    Attributes:
        title: For the report.
        contestants: Who does it, sr_jax first: keys of `worker.WORKLOADS`.
        turns: How they take turns. `TOGETHER`: all stay in memory, and run by run. `APART`: process by process, of some
            runs each, because not all fit in memory at full size. `AFRESH`: process by process, of which each is timed
            from its start until its first run is done.
    """

    title: str
    contestants: tuple[str, ...]
    turns: str = TOGETHER


_BOTH = ("sr_jax", "pytorch")
_ALL = (*_BOTH, "pytorch_tuned")
PARTS = {
    "attention": Part("Attention kernel, forwards and backwards, against XLA's in float32", ("sr_jax",)),
    "forward": Part("Transformer, forward pass", _ALL),
    "training": Part("Training step with AdamW and gradient checkpointing", ("sr_jax", "stage_two", *_ALL[1:]), APART),
    "sampling": Part("Sampling with guidance, transformer and sampler", _ALL),
    "vae_encode": Part("VAE, encode a clip", _BOTH),
    "vae_decode": Part("VAE, decode a clip", _BOTH),
    "vae_encode_tiled": Part("VAE, encode a clip in tiles", _BOTH),
    "vae_decode_tiled": Part("VAE, decode a clip in tiles", _BOTH),
    "t5": Part("Text encoder, T5 v1.1 XXL", _BOTH),
    "depth": Part("Depth teacher, Video Depth Anything (small)", _BOTH),
    "input": Part("Input pipeline, 16 clips", ("sr_jax",)),
    "first_step": Part(
        "From the start of the process to the first training step", ("sr_jax", "cached", "pytorch"), AFRESH
    ),
}
"""All parts by name. `pytorch` is diffusers, or transformers, as they come, and for the depth teacher the published
network in plain PyTorch; `pytorch_tuned` has compiled blocks and cuDNN's attention where there is one; `stage_two` is
sr_jax with both losses of stage two, all else is plain; `cached` is sr_jax with a filled compilation cache, and sr_jax
starts its first step with an empty one."""
