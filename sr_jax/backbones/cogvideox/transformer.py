"""The CogVideoX video diffusion transformer, all released variants.

Real topology (diffusers: `CogVideoXTransformer3DModel`): text and video tokens form one sequence; a block is
adaLN-Zero, joint attention, adaLN-Zero, feed-forward; each stream has its own modulation and shares everything else.
The blocks are identical, so their parameters are stacked on a leading axis and run by a scan: one block is compiled
whatever the depth, and pruning in depth is slicing.

Initialisation is for training from scratch (see `layers`): zero-initialised modulations make every new block the
identity, and the zero-initialised last projection makes the first prediction 0, whose error is exactly the variance of
the target. Both are what DiT found to train best.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from sr_jax.backbones.cogvideox import positions
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.errors import UserError
from sr_jax.models import attention, layers
from sr_jax.models.remat import rematerialise
from sr_jax.parallel import activations

# CogVideoX1.5-5B-I2V is conditioned on this constant ("ofs") beside the timestep.
_OFS = 2.0


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
        self, hidden_states: Float[Array, "b t h w c"], encoder_hidden_states: Float[Array, "b l e"], length: int
    ) -> Float[Array, "b {length} d"]:
        """Returns the joint sequence, text first, and behind it padding up to `length`.

        Every device of a mesh projects its own tokens: the patches are laid out as the sequence is, and not projected
        first and then joined to the text.

        Raises:
            UserError: If the latent or the text does not fit the learned position table.
        """
        text_length = encoder_hidden_states.shape[1]
        patches = layers.patchify(hidden_states, self.config.patch)
        behind = length - text_length - patches.shape[1]
        # Narrow tokens are padded whole, which no device has to send, and then cut.
        patches = jnp.pad(patches, ((0, 0), (text_length, behind), (0, 0)))
        patches = activations.constrain(patches, "batch", None, None)
        video = self.proj(activations.constrain(patches, "batch", "stream", None))
        video = activations.constrain(video, "batch", "stream", None)
        text = activations.constrain(self.text_proj(encoder_hidden_states), "batch", None, None)
        # A product with ones and zeros instead of a pad, whose gradient would gather the whole sequence everywhere.
        places = activations.constrain(jnp.eye(length, text_length, dtype=text.dtype), "stream", None)
        text = activations.constrain(jnp.einsum("nl,bld->bnd", places, text), "batch", "stream", None)
        x = jnp.where(layers.text_mask(text_length, length - text_length)[:, None], text, video)
        table = self._positions(hidden_states.shape[1:4], text_length)
        if table is not None:
            x = x + activations.constrain(jnp.pad(table, ((0, behind), (0, 0))), "stream", None)
        return activations.constrain(x.astype(self.dtype), "batch", "stream", None)

    def _positions(self, size: tuple[int, int, int], text_length: int) -> Float[Array, "s d"] | None:
        """What is added to text and video, if anything."""
        if self.config.use_learned_positional_embeddings:
            return self._learned(size, text_length)
        if not self.config.use_rotary_positional_embeddings:
            return jnp.pad(self._sincos(size), ((text_length, 0), (0, 0)))
        return None

    def _sincos(self, size: tuple[int, int, int]) -> np.ndarray:
        scales = (self.config.spatial_interpolation_scale, self.config.temporal_interpolation_scale)
        return positions.sincos_table(self.config.tokens(size), self.config.width, *scales)

    def _learned(self, size: tuple[int, int, int], text_length: int) -> Float[Array, "s d"]:
        config = self.config
        if text_length != config.max_text_seq_length:
            raise UserError(
                f"the learned position table is for {config.max_text_seq_length} text tokens, not {text_length}: set "
                "text.num_tokens to that"
            )
        # A still image has the places of a video's first frame. For any other number of frames, diffusers adds sines in
        # their full strength to a model that knows this table alone, whose values are nearly 0.
        frames = (config.patch[0], config.sample_size[0])
        if size[0] not in frames or size[1:] != config.sample_size[1:]:
            raise UserError(
                f"the learned position table is for latents of {config.sample_size} (T, H, W), not {size}: "
                "set use_learned_positional_embeddings=False to use rotary positions alone"
            )
        # Stored with the released weights as a buffer, which no released trainer updates.
        num_tokens = text_length + int(np.prod(config.tokens(size)))
        return jax.lax.stop_gradient(self.pos_embedding[...])[:num_tokens]


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
        num_tokens: int,
    ) -> Float[Array, "b s d"]:
        """Applies attention and feed-forward, each normalised before and gated after.

        Args:
            x: The joint sequence, text first.
            time: Time embedding.
            is_text: Which tokens are text.
            rope: Cosines and sines for every token, or None for no rotation.
            num_tokens: How many tokens are no padding, which comes last.
        """
        normed, gate = self.norm1(x, time, is_text)
        x = x + gate * self.attn1(normed, rope, num_tokens)
        normed, gate = self.norm2(x, time, is_text)
        return x + gate * self.ff(normed)


class CogVideoXTransformer3D(nnx.Module):
    """Predicts the velocity (or whatever it was trained to predict) of a noisy latent.

    Args:
        config: Sizes and variant.
        rngs: Initialisation keys.
        dtype: Compute type of matrix products and of the residual stream; parameters, norms and softmax are float32.
        remat: What the backward pass of the blocks keeps, one of `remat.POLICIES`.
    """

    def __init__(self, config: CogVideoXConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, remat: str = "none"):
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
        taps: tuple[int, ...] = (),
    ) -> tuple[Float[Array, "b t h w c_out"], dict[int, Float[Array, "b tt y x d"]]]:
        """Runs the transformer.

        Args:
            hidden_states: Latents; for I2V the noisy latent and then the image latent, on channels. T, H and W are
                multiples of the patch.
            encoder_hidden_states: Text embedding; L may be 0.
            timesteps: Training timesteps, 0 to 999.
            taps: Blocks, from 1, behind which the hidden states are wanted.

        Returns:
            The prediction, and the video tokens behind each tap, in the compute type.

        Raises:
            UserError: If the latent's size or channels do not fit the configuration, or it has no such block.
        """
        config = self.config
        size = hidden_states.shape[1:4]
        if hidden_states.shape[4] != config.in_channels or any(n % p for n, p in zip(size, config.patch, strict=True)):
            raise UserError(
                f"latents {hidden_states.shape} [B, T, H, W, C] do not fit the transformer: it takes "
                f"{config.in_channels} channels and multiples of {config.patch} (T, H, W)"
            )
        if any(not 1 <= tap <= config.num_layers for tap in taps):
            raise UserError(f"blocks {taps} cannot all be tapped: the transformer has blocks 1 to {config.num_layers}")
        # Latents are small, and whole on every device that has their sample.
        hidden_states = activations.constrain(hidden_states, "batch", None, None, None, None)
        time = self.time_embedding(timesteps)
        if config.ofs_embed_dim is not None:
            time = time + self.ofs_embedding(jnp.full(timesteps.shape, _OFS))
        text_length = encoder_hidden_states.shape[1]
        num_tokens = text_length + int(np.prod(config.tokens(size)))
        # Padding, where the mesh does not divide the tokens: attention ignores it, and it is cut off again below.
        length = num_tokens + -num_tokens % activations.ways("stream")
        x = self.patch_embed(hidden_states, encoder_hidden_states, length)
        rope = self._rope(size, text_length, length)
        x, tapped = self._run_blocks(x, time, text_length, num_tokens, rope, taps)
        # On all tokens, though those of text are not wanted: a mesh cuts narrow tokens at less cost than wide ones.
        x = self.proj_out(self.norm_out(self.norm_final(x), time))
        x = activations.constrain(x, "batch", None, None)[:, text_length:num_tokens]
        x = activations.constrain(layers.unpatchify(x, config.patch, size), "batch", None, None, None, None)
        grid = (len(x), *config.tokens(size), config.width)
        return x, {tap: tokens[:, text_length:num_tokens].reshape(grid) for tap, tokens in zip(taps, tapped)}

    def _run_blocks(
        self,
        x: Array,
        time: Array,
        text_length: int,
        num_tokens: int,
        rope: tuple[Array, Array] | None,
        taps: tuple[int, ...],
    ) -> tuple[Array, Array | tuple[()]]:
        """The joint sequence behind all blocks, and behind each tap."""
        is_text = layers.text_mask(text_length, x.shape[1] - text_length)

        def run(x: Array, block: CogVideoXBlock) -> Array:
            return block(x, time, is_text, rope, num_tokens)

        run = rematerialise(run, self.remat)
        if not taps:
            return nnx.scan(run, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.transformer_blocks), ()

        # Taps leave the one scan whole, in a buffer that it carries: cutting it in two would copy slices of the stacked
        # weights. They are written outside what is rematerialised, and added to zeros, so that the backward pass
        # carries the buffer's gradient as it is and keeps nothing else; a select would hold zeros of its own.
        def run_and_keep(carry: tuple[Array, Array, Array], block: CogVideoXBlock) -> tuple[Array, Array, Array]:
            x, done, kept = carry
            x, done = run(x, block), done + 1
            here = (done == jnp.asarray(taps)).reshape(-1, 1, 1, 1)
            kept = kept + here.astype(x.dtype) * x
            return x, done, activations.constrain(kept, None, "batch", "stream", None)

        start = (x, jnp.zeros((), jnp.int32), jnp.zeros((len(taps), *x.shape), x.dtype))
        scan = nnx.scan(run_and_keep, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        x, _, kept = scan(start, self.transformer_blocks)
        return x, kept

    def _rope(self, size: tuple[int, int, int], text_length: int, length: int) -> tuple[Array, Array] | None:
        config = self.config
        if not config.use_rotary_positional_embeddings:
            return None
        if config.patch_size_t is None:
            coordinates = positions.rope_grid_1_0(config.tokens(size), config.tokens(config.sample_size)[1:])
        else:
            coordinates = positions.rope_grid_1_5(config.tokens(size))
        cos, sin = positions.rope_table(coordinates, config.attention_head_dim)
        # Text tokens and padding have no place: they are turned by an angle of 0.
        around = ((text_length, length - text_length - len(cos)), (0, 0))
        return jnp.asarray(np.pad(cos, around, constant_values=1.0)), jnp.asarray(np.pad(sin, around))
