"""The CogVideoX video diffusion transformer, all released variants.

Real topology (diffusers: `CogVideoXTransformer3DModel`): text and video tokens form one sequence; a block is
adaLN-Zero, joint attention, adaLN-Zero, feed-forward; each stream has its own modulation and shares everything else.
The blocks are identical, so their parameters are stacked on a leading axis and run by a scan: one block is compiled
whatever the depth, and pruning in depth is slicing.

Initialisation is for training from scratch (see `layers`): zero-initialised modulations make every new block the
identity, and the zero-initialised last projection makes the first prediction 0, whose error is exactly the variance of
the target. Both are what DiT found to train best.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from sr_jax.errors import UserError
from sr_jax.models import attention, layers, positions

# CogVideoX1.5-5B-I2V is conditioned on this constant ("ofs") beside the timestep.
_OFS = 2.0


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


def pad_frames(latents: Float[Array, "b t h w c"], multiple: int) -> Float[Array, "b t_padded h w c"]:
    """Repeats the first latent frame in front until the frames are a multiple of the temporal patch (1.5).

    Released trainers pad so; released pipelines cut as many frames off the front of what they generate.
    """
    added = -latents.shape[1] % multiple
    return jnp.concatenate([latents[:, :1]] * added + [latents], axis=1)


class PatchEmbed(nnx.Module):
    """Tokens of text and latent patches, with their absolute positions if any (diffusers: `CogVideoXPatchEmbed`).

    Args:
        config: Of the transformer.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, config: CogVideoXConfig, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.config = config
        self.dtype = dtype
        self.proj = layers.linear(
            config.in_channels * int(np.prod(config.patch)),
            config.width,
            ("patch", "embed"),
            rngs=rngs,
            dtype=dtype,
            use_bias=config.patch_bias or config.patch_size_t is not None,
        )
        self.text_proj = layers.linear(config.text_embed_dim, config.width, ("text", "embed"), rngs=rngs, dtype=dtype)
        if config.use_learned_positional_embeddings:
            text = np.zeros((config.max_text_seq_length, config.width), np.float32)
            table = np.concatenate([text, self._sincos(config.sample_size)])
            self.pos_embedding = nnx.Param(jnp.asarray(table), logical_axes=("positions", "embed"))

    def __call__(
        self, hidden_states: Float[Array, "b t h w c"], encoder_hidden_states: Float[Array, "b l e"]
    ) -> Float[Array, "b s d"]:
        """Returns the joint sequence, text first.

        Raises:
            UserError: If the latent or the text does not fit the learned position table.
        """
        text = self.text_proj(encoder_hidden_states)
        video = self.proj(layers.patchify(hidden_states, self.config.patch))
        if self.config.use_learned_positional_embeddings:
            text_positions, video_positions = self._learned(hidden_states.shape[1:4], text.shape[1])
            text, video = text + text_positions, video + video_positions
        elif not self.config.use_rotary_positional_embeddings:
            video = video + self._sincos(hidden_states.shape[1:4])
        return jnp.concatenate([text, video], axis=1).astype(self.dtype)

    def _sincos(self, size: tuple[int, int, int]) -> np.ndarray:
        scales = (self.config.spatial_interpolation_scale, self.config.temporal_interpolation_scale)
        return positions.sincos_table(self.config.tokens(size), self.config.width, *scales)

    def _learned(self, size: tuple[int, int, int], text_length: int) -> tuple[Array, Array]:
        config = self.config
        if size != config.sample_size or text_length > config.max_text_seq_length:
            raise UserError(
                f"the learned position table is for latents of {config.sample_size} (T, H, W) and at most "
                f"{config.max_text_seq_length} text tokens, not {size} and {text_length}: "
                "set use_learned_positional_embeddings=False to use rotary positions alone"
            )
        # Stored with the released weights as a buffer, which no released trainer updates.
        table = jax.lax.stop_gradient(self.pos_embedding[...])
        return table[:text_length], table[config.max_text_seq_length :]


class CogVideoXBlock(nnx.Module):
    """One transformer block on the joint sequence.

    Args:
        config: Of the transformer.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, config: CogVideoXConfig, *, rngs: nnx.Rngs, dtype: DTypeLike):
        norm = (config.time_embed_dim, config.width, config.norm_eps)
        self.norm1 = layers.AdaLayerNormZero(*norm, rngs=rngs, dtype=dtype)
        self.attn1 = attention.SelfAttention(
            config.num_attention_heads, config.attention_head_dim, rngs=rngs, dtype=dtype
        )
        self.norm2 = layers.AdaLayerNormZero(*norm, rngs=rngs, dtype=dtype)
        self.ff = layers.FeedForward(config.width, rngs=rngs, dtype=dtype)

    def __call__(
        self,
        x: Float[Array, "b s d"],
        time: Float[Array, "b e"],
        is_text: Bool[Array, "s"],
        rope: tuple[Float[Array, "s head_dim"], Float[Array, "s head_dim"]] | None,
    ) -> Float[Array, "b s d"]:
        """Applies attention and feed-forward, each normalised before and gated after."""
        normed, gate = self.norm1(x, time, is_text)
        x = x + gate * self.attn1(normed, rope)
        normed, gate = self.norm2(x, time, is_text)
        return x + gate * self.ff(normed)


class CogVideoXTransformer3D(nnx.Module):
    """Predicts the velocity (or whatever it was trained to predict) of a noisy latent.

    Args:
        config: Sizes and variant.
        rngs: Initialisation keys.
        dtype: Compute type of matrix products and of the residual stream; parameters, norms and softmax are float32.
        remat: Whether the backward pass recomputes whole blocks, or only what lies between their matrix products.
    """

    def __init__(self, config: CogVideoXConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, remat: bool = False):
        self.config = config
        self.remat = remat
        self.patch_embed = PatchEmbed(config, rngs=rngs, dtype=dtype)
        self.time_embedding = layers.TimestepEmbedding(config.width, config.time_embed_dim, rngs=rngs, dtype=dtype)
        if config.ofs_embed_dim is not None:
            self.ofs_embedding = layers.TimestepEmbedding(
                config.ofs_embed_dim, config.ofs_embed_dim, rngs=rngs, dtype=dtype
            )

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stacked_blocks(rngs: nnx.Rngs) -> CogVideoXBlock:
            return CogVideoXBlock(config, rngs=rngs, dtype=dtype)

        self.transformer_blocks = stacked_blocks(rngs)
        self.norm_final = layers.layer_norm(config.width, config.norm_eps, rngs=rngs)
        self.norm_out = layers.AdaLayerNormOut(
            config.time_embed_dim, config.width, config.norm_eps, rngs=rngs, dtype=dtype
        )
        self.proj_out = layers.linear(
            config.width,
            config.out_channels * int(np.prod(config.patch)),
            ("embed", "patch"),
            rngs=rngs,
            dtype=dtype,
            kernel_init=nnx.initializers.zeros_init(),
        )

    def __call__(
        self,
        hidden_states: Float[Array, "b t h w c"],
        encoder_hidden_states: Float[Array, "b l e"],
        timesteps: Int[Array, "b"],
    ) -> Float[Array, "b t h w c_out"]:
        """Runs the transformer.

        Args:
            hidden_states: Latents; for I2V the noisy latent and then the image latent, on channels. T, H and W are
                multiples of the patch.
            encoder_hidden_states: Text embedding; L may be 0.
            timesteps: Training timesteps, 0 to 999.

        Returns:
            The prediction, in the compute type.

        Raises:
            UserError: If the latent's size or channels do not fit the configuration.
        """
        config = self.config
        size = hidden_states.shape[1:4]
        if hidden_states.shape[4] != config.in_channels or any(n % p for n, p in zip(size, config.patch, strict=True)):
            raise UserError(
                f"latents {hidden_states.shape} [B, T, H, W, C] do not fit the transformer: it takes "
                f"{config.in_channels} channels and multiples of {config.patch} (T, H, W)"
            )
        time = self.time_embedding(timesteps)
        if config.ofs_embed_dim is not None:
            time = time + self.ofs_embedding(jnp.full((1,), _OFS))
        x = self.patch_embed(hidden_states, encoder_hidden_states)
        text_length = encoder_hidden_states.shape[1]
        x = self._run_blocks(x, time, text_length, self._rope(size, text_length))
        x = self.norm_out(self.norm_final(x[:, text_length:]), time)
        return layers.unpatchify(self.proj_out(x), config.patch, size)

    def _run_blocks(self, x: Array, time: Array, text_length: int, rope: tuple[Array, Array] | None) -> Array:
        is_text = layers.text_mask(text_length, x.shape[1] - text_length)

        def run(x: Array, block: CogVideoXBlock) -> Array:
            return block(x, time, is_text, rope)

        # A scan keeps a stacked copy of everything its backward pass needs: it is faster to keep only what is costly
        # (matrix products) and to recompute the rest. Inside a scan no barrier against merging the two is needed.
        policies = jax.checkpoint_policies
        run = nnx.remat(
            run, policy=policies.nothing_saveable if self.remat else policies.dots_saveable, prevent_cse=False
        )
        return nnx.scan(run, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.transformer_blocks)

    def _rope(self, size: tuple[int, int, int], text_length: int) -> tuple[Array, Array] | None:
        config = self.config
        if not config.use_rotary_positional_embeddings:
            return None
        if config.patch_size_t is None:
            coordinates = positions.rope_grid_1_0(config.tokens(size), config.tokens(config.sample_size)[1:])
        else:
            coordinates = positions.rope_grid_1_5(config.tokens(size))
        cos, sin = positions.rope_table(coordinates, config.attention_head_dim)
        # Text tokens have no place: they are turned by an angle of 0.
        text = ((text_length, 0), (0, 0))
        return jnp.asarray(np.pad(cos, text, constant_values=1.0)), jnp.asarray(np.pad(sin, text))
