"""A backbone in one file: rectified flow, one network for every latent pixel, and the first frame given as it is."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sr_jax.backbones.base import ClipSize, Inputs, Output
from sr_jax.diffusion.process import Steps
from sr_jax.errors import UserError
from sr_jax.models.flops import Flops
from sr_jax.models.layers import linear


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    latent_channels: int = 4
    latent_size: tuple[int, int, int] = (2, 4, 4)
    text_shape: tuple[int, int] = (4, 12)
    width: int = 16
    num_layers: int = 2


class ToyNetwork(nnx.Module):
    """Reads a latent pixel, the first frame's, the mean of the text and the time; adds one layer after the other."""

    def __init__(self, config: ToyConfig, rngs: nnx.Rngs, dtype: Any):
        channels, width, options = config.latent_channels, config.width, {"rngs": rngs, "dtype": dtype}
        features = 2 * channels + config.text_shape[1] + 1
        self.proj_in = linear(features, width, ("patch", "embed"), **options)
        self.blocks = nnx.List([linear(width, width, ("embed", "mlp"), **options) for _ in range(config.num_layers)])
        self.proj_out = linear(width, channels, ("embed", "patch"), **options)

    def __call__(self, latents: jax.Array, image: jax.Array, text: jax.Array, times: jax.Array, taps: tuple[int, ...]):
        told = jnp.concatenate([text.sum(axis=1) / max(text.shape[1], 1), times[:, None]], axis=-1)
        told = jnp.broadcast_to(told[:, None, None, None], (*latents.shape[:-1], told.shape[-1]))
        x = self.proj_in(jnp.concatenate([latents, jnp.broadcast_to(image, latents.shape), told], axis=-1))
        hidden = {}
        for number, block in enumerate(self.blocks, start=1):
            x = x + jnp.tanh(block(x))
            hidden |= {number: x} if number in taps else {}
        return self.proj_out(x), hidden


class RectifiedFlow:
    """`zt = (1 - t) z0 + t eps`; the network predicts `eps - z0`. Times are 0 to 1."""

    clean_time, noise_time = 0.0, 1.0
    sampler, constants = "euler", {}

    def times_at(self, shares: jax.Array) -> jax.Array:
        return shares

    def snr(self, times: jax.Array) -> jax.Array:
        return ((1 - times) / times) ** 2

    def add_noise(self, clean: jax.Array, noise: jax.Array, times: jax.Array) -> jax.Array:
        t = times[:, None, None, None, None]
        return (1 - t) * clean + t * noise

    def target(self, clean: jax.Array, noise: jax.Array, times: jax.Array) -> jax.Array:
        return noise - clean

    def predict_clean(self, noisy: jax.Array, prediction: jax.Array, times: jax.Array) -> jax.Array:
        return noisy - times[:, None, None, None, None] * prediction

    def bins(self) -> dict[str, tuple[float, float]]:
        return {"t0.0-0.5": (0.0, 0.5), "t0.5-1.0": (0.5, 1.0)}

    def steps(self, sampler: str, num_inference_steps: int) -> Steps:
        if sampler not in ("", "euler") or num_inference_steps < 1:
            raise UserError(f"unknown sampler {sampler!r}: choose euler, and 1 step or more")
        edges = np.linspace(1.0, 0.0, num_inference_steps + 1)
        keep, zero = edges[1:] / edges[:-1], np.zeros(num_inference_steps)
        return Steps(edges[:-1].astype(np.float32), keep, 1 - keep, zero, zero)


class Toy:
    parts: Mapping[str, Any] = {}
    patch, num_heads, given_frames = (1, 1, 1), 1, 1

    def __init__(self, config: ToyConfig, takes_image: bool = True):
        self.config, self.takes_image, self.num_layers = config, takes_image, config.num_layers
        self.latent_channels, self.latent_size = config.latent_channels, config.latent_size
        self.text_shape = config.text_shape

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Toy":
        known = {field.name for field in dataclasses.fields(ToyConfig)} | {"takes_image"}
        if unknown := fields.keys() - known:
            raise UserError(f"no toy has the fields {', '.join(sorted(unknown))}")
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        takes_image = fields.pop("takes_image", True)
        return cls(ToyConfig(**fields), takes_image)

    @staticmethod
    def schedule_of_release(scheduler: Mapping[str, Any]) -> dict[str, Any]:
        raise UserError("toys are not released")

    @staticmethod
    def schedule_to_release(section: Mapping[str, Any]) -> dict[str, Any]:
        raise UserError("toys are not released")

    def process(self, section: Mapping[str, Any]) -> RectifiedFlow:
        return RectifiedFlow()

    def build(self, rngs: nnx.Rngs, *, dtype: Any, remat: str) -> ToyNetwork:
        return ToyNetwork(self.config, rngs, jnp.dtype(dtype))

    def predict(self, network: Callable[..., Any], inputs: Inputs, taps: tuple[int, ...] = ()) -> Output:
        image, noisy = inputs.condition.get("first"), inputs.noisy
        if image is not None:
            noisy = jnp.concatenate([image, noisy[:, 1:]], axis=1)
        else:
            image = jnp.zeros_like(noisy[:, :1])
        return Output(*network(noisy, image, inputs.text, inputs.times, taps))

    def condition(self, image: jax.Array | None, num_frames: int) -> dict[str, jax.Array]:
        return {} if image is None else {"first": image}

    def pruned_params(self, wanted: Any, params: Any, source: "Toy") -> Any:
        return params | {"blocks": {number: params["blocks"][number] for number in wanted["blocks"]}}

    def fitted(self, params: Any, size: tuple[int, int, int], position_table: str) -> tuple[Any, "Toy"]:
        return params, self

    def differences(self, other: "Toy") -> dict[str, tuple[Any, Any]]:
        ours, theirs = dataclasses.asdict(self.config), dataclasses.asdict(other.config)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def clip_size(self, spatial_compression_ratio: int) -> ClipSize:
        frames, rows, columns = self.latent_size
        height, width = rows * spatial_compression_ratio, columns * spatial_compression_ratio
        return ClipSize(4 * (frames - 1) + 1, height, width, 8.0)

    def flops(self, size: tuple[int, int, int], text_length: int) -> Flops:
        channels, width = self.latent_channels, self.config.width
        products = (2 * channels + self.text_shape[1] + 1) * width + self.num_layers * width**2 + width * channels
        return Flops(2 * int(np.prod(size)) * products, 0)

    def tokens(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        return size


BACKBONE = Toy
