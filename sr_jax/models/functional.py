"""A Flax NNX module as two pure functions: initialise, apply."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

Params = dict[str, Any]
"""Nested dict of arrays: the parameters of one module, without any object around them."""


class Functional:
    """A module split once into its graph and its parameters, so that training steps are pure functions of arrays.

    Building one allocates no array, whatever the size of the module.

    Attributes:
        build: Builds the module.
        abstract: `nnx.State` of `jax.ShapeDtypeStruct` leaves with their metadata (`logical_axes`).
    """

    def __init__(self, build: Callable[[nnx.Rngs], nnx.Module]):
        """Traces `build` for the module's graph and shapes; `build` must create `nnx.Param` variables only."""
        self.build = build
        self._graphdef, self.abstract = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))), nnx.Param)

    def init(self, key: jax.Array) -> Params:
        """Draws fresh parameters; pure, so it can be jitted with `out_shardings`."""
        return nnx.to_pure_dict(nnx.state(self.build(nnx.Rngs(params=key)), nnx.Param))

    def apply(self, params: Params, *args: Any, **kwargs: Any) -> Any:
        """Calls the module with `params`: `apply(params, *args)` is `module(*args)`."""
        return nnx.merge(self._graphdef, params)(*args, **kwargs)

    def abstract_params(self) -> Params:
        """Shapes and types of the parameters, in the structure of `init`."""
        return nnx.to_pure_dict(self.abstract)
