"""Low-rank adaptation of linear layers (LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4.1).

An adapted layer computes `x W + b + (alpha / rank) (x A) B`, where `W` and `b` are frozen. The product is added to what
the layer returns and not to `W`: a training step then holds neither a second copy of the kernels nor their gradients,
which of the stacked blocks of a large model would be gigabytes. `merge` adds it to `W`, for sampling and export.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jaxtyping import Array, Float

from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.int8 import Int8Linear, int8_product
from sr_jax.parallel.lazy import AnyArray, Index, LazyArray

_FACTORS = ("lora_a", "lora_b")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which layers are adapted, and how much.

    Attributes:
        rank: Width of the bottleneck, at least 1.
        alpha: The product counts `alpha / rank` times.
        targets: Names of layers, or of parts of their paths: "attn1.to_q" is one layer of every block, "attn1" are all
            linear layers of the attention.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / self.rank


class LoraLinear(nnx.Module):
    """A linear layer beside a low-rank one; its own kernel and bias keep their names.

    `A` starts uniform within `1 / sqrt(in)` (PEFT's default: Kaiming-uniform with `a = sqrt(5)`), `B` starts at 0, so
    that a new layer computes what the old one did.

    Args:
        linear: The layer to adapt; its kernel may be stacked, `[layers, in, out]`.
        config: Rank and alpha.
        rngs: Initialisation keys.
    """

    def __init__(self, linear: nnx.Linear | Int8Linear, config: LoraConfig, rngs: nnx.Rngs):
        kernel = self._take_kernel(linear)
        self.bias, self.dtype = linear.bias, linear.dtype
        self.scale = config.scale
        *stack, in_features, out_features = kernel.get_value().shape
        in_axis, out_axis = kernel.get_metadata()["logical_axes"]
        bound = in_features**-0.5
        a = jax.random.uniform(rngs.params(), (*stack, in_features, config.rank), minval=-bound, maxval=bound)
        self.lora_a = nnx.LoRAParam(a, logical_axes=(in_axis, "lora_rank"))
        b = jnp.zeros((*stack, config.rank, out_features))
        self.lora_b = nnx.LoRAParam(b, logical_axes=("lora_rank", out_axis))

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        """Applies both layers."""
        x, a, b = (value.astype(self.dtype) for value in (x, self.lora_a, self.lora_b))
        y = self._product(x)
        if self.bias is not None:
            y = y + self.bias.astype(self.dtype)
        return y + self.scale * ((x @ a) @ b)

    def _take_kernel(self, linear: nnx.Linear) -> nnx.Param:
        self.kernel = linear.kernel
        return self.kernel

    def _product(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        return x @ self.kernel.astype(self.dtype)


class LoraInt8Linear(LoraLinear):
    """The same beside a layer whose kernel is stored as integers."""

    def _take_kernel(self, linear: Int8Linear) -> nnx.Param:
        self.kernel_q, self.kernel_scale = linear.kernel_q, linear.kernel_scale
        return self.kernel_q

    def _product(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        return int8_product(x, self.kernel_q[...], self.kernel_scale[...])


_ADAPTED: dict[type[nnx.Module], type[LoraLinear]] = {nnx.Linear: LoraLinear, Int8Linear: LoraInt8Linear}


class AdaptedFunctional(Functional):
    """A module whose low-rank factors alone are trained.

    `abstract`, `abstract_params` and `init` are of the factors, so that a trainer has nothing else to train, average
    and save. `apply` takes them joined with the module's own parameters (`join`).

    Attributes:
        frozen: As `abstract`, of the module's own parameters, in the structure that they have without factors.
    """

    def __init__(self, module: Functional, config: LoraConfig):
        """Adapts the layers of `module` that `config` names.

        Raises:
            UserError: As `adapt`.
        """
        super().__init__(lambda rngs: adapt(module.build(rngs), config, rngs))
        self.frozen = module.abstract
        self.abstract = nnx.filter_state(self.abstract, nnx.LoRAParam)

    def init(self, key: jax.Array) -> Params:
        """Draws fresh factors; jitted, so that the module's own parameters are never made."""

        def factors(key: jax.Array) -> Params:
            return nnx.to_pure_dict(nnx.state(self.build(nnx.Rngs(params=key)), nnx.LoRAParam))

        return jax.jit(factors)(key)


def adapt(module: nnx.Module, config: LoraConfig, rngs: nnx.Rngs) -> nnx.Module:
    """Replaces, in place, the linear layers that `config` names.

    Raises:
        UserError: If a target names no layer, or there is none.
    """
    linears = {path: layer for path, layer in nnx.iter_modules(module) if type(layer) in _ADAPTED}
    for path in _chosen(linears, config.targets):
        parent, linear = functools.reduce(getattr, path[:-1], module), linears[path]
        setattr(parent, path[-1], _ADAPTED[type(linear)](linear, config, rngs))
    return module


def _chosen(linears: dict[tuple[Any, ...], nnx.Module], targets: tuple[str, ...]) -> list[tuple[Any, ...]]:
    names = {path: ".".join(map(str, path)) for path in linears}
    unknown = [target for target in targets if not any(_names(target, name) for name in names.values())]
    if unknown or not targets:
        raise UserError(
            f"config.lora.targets {', '.join(unknown) or 'is empty and'} names no linear layer: choose among "
            f"{', '.join(sorted(names.values()))}, or parts of these names"
        )
    return [path for path, name in names.items() if any(_names(target, name) for target in targets)]


def _names(target: str, name: str) -> bool:
    return f".{target}." in f".{name}."


def join(params: Params, lora: Params) -> Params:
    """One tree of a module's own parameters and the factors of its adapted layers, for `AdaptedFunctional.apply`."""
    return traverse_util.unflatten_dict(traverse_util.flatten_dict(params) | traverse_util.flatten_dict(lora))


def adapted_layers(lora: Params) -> dict[tuple[Any, ...], tuple[AnyArray, AnyArray]]:
    """`A` `[..., in, rank]` and `B` `[..., rank, out]` of every adapted layer, by its path."""
    flat = traverse_util.flatten_dict(lora)
    paths = dict.fromkeys(path[:-1] for path in flat)
    return {path: tuple(flat[*path, factor] for factor in _FACTORS) for path in paths}


def merge(params: Params, lora: Params, config: LoraConfig) -> Params:
    """The parameters of a module without factors that computes what the adapted one does.

    Every adapted kernel becomes `W + (alpha / rank) A B`, computed in float32 and in the wider type of the two, as a
    `LazyArray`: the sum is made of the parts that are read of it. All else is shared with `params`.
    """
    flat = dict(traverse_util.flatten_dict(params))
    for path, factors in adapted_layers(lora).items():
        flat[*path, "kernel"] = _merged(flat[*path, "kernel"], *factors, config.scale)
    return traverse_util.unflatten_dict(flat)


def _merged(kernel: AnyArray, a: AnyArray, b: AnyArray, scale: float) -> LazyArray:
    def read(index: Index) -> np.ndarray:
        *stack, rows, columns = index
        total = np.asarray(a[*stack, rows, :], np.float32) @ np.asarray(b[*stack, :, columns], np.float32)
        total *= scale
        total += kernel[index]
        return total

    dtype = np.dtype(jnp.promote_types(kernel.dtype, a.dtype))
    return LazyArray(kernel.shape, dtype, read, getattr(kernel, "rows", 1))
