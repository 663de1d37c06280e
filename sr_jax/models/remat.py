"""What the backward pass of scanned blocks keeps from the forward pass, and what it computes again."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from sr_jax.errors import UserError
from sr_jax.models.attention_kernels import SAVED

_BLOCK_INPUT = "block_input"
_policies = jax.checkpoint_policies


def _is_cudnn_attention(primitive: Any, *_: Any, **__: Any) -> bool:
    # cuDNN's residuals have no name to ask for.
    return primitive.name.startswith("dot_product_attention_fwd")


_attention = _policies.save_from_both_policies(_policies.save_only_these_names(SAVED), _is_cudnn_attention)
_POLICIES: dict[str, Callable[..., Any] | None] = {
    "none": None,
    # Products of two activations have batch axes: the logits of attention are the most that could be kept, and quick to
    # compute.
    "save_matmuls": _policies.save_from_both_policies(_policies.dots_with_no_batch_dims_saveable, _attention),
    "save_attention": _attention,
    "block": _policies.nothing_saveable,
    "offload": _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[_BLOCK_INPUT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}
POLICIES = tuple(_POLICIES)
"""From most memory to least.

- none: everything is kept.
- save_matmuls: the results of products with weights and of attention are kept. A scan keeps a stacked copy of all that
  its backward pass needs, so this is faster than "none" for small models.
- save_attention: block inputs and the results of attention are kept; the attention kernel does not run again.
- block: block inputs alone are kept; every block runs again.
- offload: as "block", and the block inputs wait in the host's memory.
"""


def rematerialise(run: Callable[..., Array], policy: str) -> Callable[..., Array]:
    """The body of a scan over blocks, `run(x, block)`, under a policy.

    Raises:
        UserError: For an unknown policy.
    """
    _require(policy)
    if policy == "none":
        return run

    def named(x: Array, *args: Any) -> Array:
        return run(checkpoint_name(x, _BLOCK_INPUT), *args)

    # Inside a scan no barrier against merging the two passes is needed.
    return nnx.remat(named, policy=_POLICIES[policy], prevent_cse=False)


def recomputed(run: Callable[..., Any], policy: str) -> Callable[..., Any]:
    """A computation outside of a scan, under a policy: "none" keeps all, "save_matmuls" products, the others nothing.

    Raises:
        UserError: For an unknown policy.
    """
    _require(policy)
    return run if policy == "none" else jax.checkpoint(run, policy=_POLICIES[policy])


def _require(policy: str) -> None:
    if policy not in _POLICIES:
        raise UserError(f"config.remat is {policy!r}: choose one of {', '.join(POLICIES)}")
