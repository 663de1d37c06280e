"""Fitting the small learned codec: the linear one in closed form, then what residual networks add to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers, muon

from sr_jax.demo.fit_teachers.codec import WeightedVideos, fit_linear_codec
from sr_jax.demo.fit_teachers.descent import FitSchedule, minimise
from sr_jax.demo.linear_codec import LinearVideoCodec
from sr_jax.demo.small_codec.codec import CodecNetworks
from sr_jax.demo.small_codec.network import SmallCodecConfig
from sr_jax.demo.small_faces.teacher import to_unit_range
from sr_jax.models.functional import Params

# Added to a clip's mean squared error, of values in [-1, 1], before its logarithm: about 54 dB.
_LEAST_ERROR = 1.5e-5
# Adam's rates, relative to Muon's, for what else the networks hold and for the linear maps.
_ADAM_SHARE, _LINEAR_SHARE = 0.2, 0.01
# How firmly the latents of a batch are held to the variance 1, roughly: it is made exact when all is learned.
_SCALE_WEIGHT = 0.1
# Clips that the closed form is fitted on, and those that the scale of the latents is measured on.
_LINEAR_CLIPS, _MEASURED_CLIPS, _BATCH = 512, 256, 16


def fit_small_codec(
    videos: Sequence[WeightedVideos],
    config: SmallCodecConfig,
    schedule: FitSchedule,
    *,
    latent_noise: float,
    seed: int,
    progress_file: Path | None,
) -> Params:
    """Fits a small codec; the loss is what PSNR measures.

    Args:
        videos: Sets of videos of one size, weighted: a clip is drawn from a set as often as its weight says.
        config: Sizes.
        schedule: How long, and Muon's learning rate.
        latent_noise: The decoder reads latents with Gaussian noise of a standard deviation drawn evenly from 0 to this
            for each clip, so that what a transformer generates, never quite a latent, is decoded as well.
        seed: Of initialisation, noise and batches.
        progress_file: See `minimise`.

    Returns:
        Parameters of encoder and decoder, whose latents have mean 0 in each channel and variance 1 over all.

    Raises:
        UserError: As `fit_linear_codec`, and if the progress is of another codec.
    """
    networks = CodecNetworks.of(config)
    weights = np.array([weight for weight, _ in videos]) / sum(weight for weight, _ in videos)
    init_key, key = jax.random.split(jax.random.key(seed))

    def loss(params: Params, data: tuple[Array, ...], key: Array, progress: Array) -> Array:
        del progress
        draw_key, size_key, noise_key = jax.random.split(key, 3)
        video = _draw(data, weights, schedule.batch_size, draw_key)
        latents = networks.encoder.apply(params["encoder"], video)
        sizes = jax.random.uniform(size_key, (len(video), 1, 1, 1, 1), maxval=latent_noise)
        noisy = latents + sizes * jax.random.normal(noise_key, latents.shape)
        error = (networks.decoder.apply(params["decoder"], noisy) - video) ** 2
        # Latents of any larger scale would drown the noise.
        scale = (jnp.mean(latents**2) - 1) ** 2
        return jnp.log(error.mean(axis=(1, 2, 3, 4)) + _LEAST_ERROR).mean() + _SCALE_WEIGHT * scale

    linear = fit_linear_codec(
        [(weight, clips[:_LINEAR_CLIPS]) for weight, clips in videos],
        latent_channels=config.latent_channels,
        temporal_compression_ratio=config.temporal_compression_ratio,
        spatial_compression_ratio=config.spatial_compression_ratio,
    )
    data = tuple(clips for _, clips in videos)
    start = start_from(linear, networks, init_key)
    params = minimise(
        loss, start, data, schedule, _rule(schedule), key, "codec", bar_line=0, progress_file=progress_file
    )
    return _standardised(params, networks, videos)


def start_from(linear: LinearVideoCodec, networks: CodecNetworks, key: Array) -> Params:
    """Parameters of networks that do what a linear codec of the same sizes does."""
    keys = jax.random.split(key)
    params = {
        name: jax.jit(network.init)(key) for (name, network), key in zip(networks._asdict().items(), keys, strict=True)
    }
    params["encoder"]["linear"] = {
        "kernel": jnp.asarray(linear.encoder),
        "bias": jnp.asarray(-linear.mean @ linear.encoder),
    }
    params["decoder"]["linear"] = {"kernel": jnp.asarray(linear.decoder), "bias": jnp.asarray(linear.offset)}
    return params


def _draw(
    data: tuple[Array, ...], weights: Float[np.ndarray, " sets"], count: int, key: Array
) -> Float[Array, "b f h w 3"]:
    """Clips in [-1, 1], some of them mirrored: of each set in turn, as many as its weight says."""
    edges = np.round(np.concatenate([[0], np.cumsum(weights)]) * count).astype(int)
    keys = jax.random.split(key, len(data) + 1)
    drawn = [
        clips[jax.random.randint(key, (end - start,), 0, len(clips))]
        for clips, start, end, key in zip(data, edges, edges[1:], keys, strict=False)
    ]
    video = to_unit_range(jnp.concatenate(drawn))
    return jnp.where(jax.random.bernoulli(keys[-1], 0.5, (count, 1, 1, 1, 1)), video[:, :, :, ::-1], video)


def _standardised(params: Params, networks: CodecNetworks, videos: Sequence[WeightedVideos]) -> Params:
    """The same codec, but that its latents have mean 0 in each channel and variance 1 over all."""
    latents = _latents(params["encoder"], networks, videos)
    mean = latents.mean(axis=(0, 1, 2, 3))
    scale = np.sqrt(np.mean((latents - mean) ** 2))

    def out(layer: Params, shift: Float[np.ndarray, " c"] | float = 0.0) -> Params:
        return {"kernel": layer["kernel"] / scale, "bias": (layer["bias"] - shift) / scale}

    def into(layer: Params) -> Params:
        # The channels in are the last axis but one.
        kernel = layer["kernel"]
        shift = mean @ kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
        return {"kernel": kernel * scale, "bias": layer["bias"] + shift}

    encoder, decoder = params["encoder"], params["decoder"]
    return {
        "encoder": {
            "linear": out(encoder["linear"], mean),
            "blocks": encoder["blocks"] | {"last": out(encoder["blocks"]["last"])},
        },
        "decoder": {
            "linear": into(decoder["linear"]),
            "blocks": decoder["blocks"] | {"first": into(decoder["blocks"]["first"])},
        },
    }


def _latents(
    encoder: Params, networks: CodecNetworks, videos: Sequence[WeightedVideos]
) -> Float[np.ndarray, "b t y x c"]:
    """Of some clips of each set, as many as its weight says."""
    encode = jax.jit(networks.encoder.apply)
    latents = []
    for weight, clips in videos:
        count = max(1, round(_MEASURED_CLIPS * weight / sum(weight for weight, _ in videos)))
        chosen = clips[np.linspace(0, len(clips) - 1, count).astype(int)]
        latents += [
            np.asarray(encode(encoder, to_unit_range(chosen[start : start + _BATCH])))
            for start in range(0, count, _BATCH)
        ]
    return np.concatenate(latents)


def _rule(schedule: FitSchedule) -> optax.GradientTransformation:
    """Muon for the matrices and convolutions of the blocks, Adam for the rest, as Muon's authors advise.

    The linear maps, which are good already, learn slowest.
    """
    rate = schedule.rate()

    def share(factor: float) -> optax.Schedule:
        return lambda count: factor * rate(count)

    def dimensions(path: tuple[Any, ...], leaf: Array) -> MuonDimensionNumbers | None:
        if "blocks" not in [key.key for key in path[2:]] or leaf.ndim not in (2, 4):
            return None
        return MuonDimensionNumbers(reduction_axis=tuple(range(leaf.ndim - 1)), output_axis=leaf.ndim - 1)

    def with_dimensions(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(dimensions, params)

    def label(path: tuple[Any, ...], leaf: Array) -> str:
        return "linear" if path[1].key == "linear" else "networks"

    networks = muon(
        rate, adam_learning_rate=share(_ADAM_SHARE), muon_weight_dimension_numbers=with_dimensions, adam_b2=0.99
    )
    return optax.partition(
        {"networks": networks, "linear": optax.adam(share(_LINEAR_SHARE), b2=0.99)},
        lambda params: jax.tree_util.tree_map_with_path(label, params),
    )
