"""Sizes and variants of the CogVideoX transformer, and those that are released."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class CogVideoXConfig:
    """Sizes and variants of the transformer, with diffusers' names; the defaults are CogVideoX-2B.

    Attributes:
        num_attention_heads: Heads; the model width is `num_attention_heads * attention_head_dim`.
        attention_head_dim: Channels of a head; a multiple of 16 where positions are rotary.
        num_layers: Transformer blocks.
        in_channels: Latent channels in: 16, or 32 with the image latent behind the noisy one (I2V).
        out_channels: Latent channels out.
        time_embed_dim: Width of the time embedding.
        text_embed_dim: Width of the text embedding.
        max_text_seq_length: Text tokens; matters only for the learned position table.
        patch_size: Rows and columns of a patch.
        patch_size_t: Latent frames of a patch (1.5), or None (1.0).
        patch_bias: Whether the patch projection has a bias; 1.5 has one in any case.
        ofs_embed_dim: Width of the "ofs" embedding (1.5-I2V; equals `time_embed_dim`), or None.
        sample_height: Latent rows of training, the base of the rotary grid.
        sample_width: Latent columns of training.
        sample_frames: Video frames of training.
        temporal_compression_ratio: Video frames per latent frame, after the first.
        spatial_interpolation_scale: Divides the rows and columns of sinusoidal positions.
        temporal_interpolation_scale: Divides the frames of sinusoidal positions.
        use_rotary_positional_embeddings: Rotary positions (5B and later) instead of sinusoidal ones (2B).
        use_learned_positional_embeddings: A position table stored with the weights, beside the rotary one (5B-I2V).
        norm_eps: Of every LayerNorm but those of queries and keys.
    """

    num_attention_heads: int = 30
    attention_head_dim: int = 64
    num_layers: int = 30
    in_channels: int = 16
    out_channels: int = 16
    time_embed_dim: int = 512
    text_embed_dim: int = 4096
    max_text_seq_length: int = 226
    patch_size: int = 2
    patch_size_t: int | None = None
    patch_bias: bool = True
    ofs_embed_dim: int | None = None
    sample_height: int = 60
    sample_width: int = 90
    sample_frames: int = 49
    temporal_compression_ratio: int = 4
    spatial_interpolation_scale: float = 1.875
    temporal_interpolation_scale: float = 1.0
    use_rotary_positional_embeddings: bool = False
    use_learned_positional_embeddings: bool = False
    norm_eps: float = 1e-5

    @property
    def width(self) -> int:
        """Model width."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def patch(self) -> tuple[int, int, int]:
        """Patch size in latent frames, rows and columns."""
        return (self.patch_size_t or 1, self.patch_size, self.patch_size)

    @property
    def sample_size(self) -> tuple[int, int, int]:
        """Latent T, H and W of training."""
        frames = (self.sample_frames - 1) // self.temporal_compression_ratio + 1
        return (frames, self.sample_height, self.sample_width)

    @property
    def image_to_video(self) -> bool:
        """Whether it takes the latents of a first frame behind the noisy ones."""
        return self.in_channels == 2 * self.out_channels

    def tokens(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Tokens along T, H and W of a latent of this size."""
        return tuple(n // p for n, p in zip(size, self.patch, strict=True))


_5B = CogVideoXConfig(num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True)
_1_5_5B = dataclasses.replace(
    _5B, patch_size_t=2, patch_bias=False, sample_frames=81, sample_height=96, sample_width=170
)
RELEASED = {
    "2b": CogVideoXConfig(),
    "5b": _5B,
    "5b_i2v": dataclasses.replace(_5B, in_channels=32, use_learned_positional_embeddings=True),
    "1_5_5b": _1_5_5B,
    "1_5_5b_i2v": dataclasses.replace(_1_5_5B, in_channels=32, ofs_embed_dim=512),
}
"""The released transformers by name."""
