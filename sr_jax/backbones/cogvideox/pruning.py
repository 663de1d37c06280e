"""A transformer with fewer blocks that starts from a trained one."""

from typing import Any

from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel.lazy import AnyArray, first_rows, take_rows


def evenly_spaced(n_from: int, n_to: int) -> list[int]:
    """Indices of `n_to` of `n_from` blocks at even distances, the first and the last block included.

    Raises:
        UserError: If there are fewer blocks than wanted, or none are wanted.
    """
    if not 1 <= n_to <= n_from:
        raise UserError(f"cannot keep {n_to} of {n_from} transformer blocks: choose 1 to {n_from}")
    if n_to == 1:
        return [0]
    return [(2 * i * (n_from - 1) + n_to - 1) // (2 * (n_to - 1)) for i in range(n_to)]


def pruned_params(wanted: Params, params: Params, num_layers_from: int, num_layers_to: int) -> Params:
    """Parameters of a transformer without an image condition that starts from a trained one, mostly with one.

    Evenly spaced blocks and all shared layers are copied. Where the trained one takes more channels, the input
    projection keeps those of the first ones: the noisy latents come before the image latents.

    Args:
        wanted: Pure dict of the pruned transformer: the shapes wanted.
        params: Pure dict of the trained one.
        num_layers_from: Blocks of the trained one.
        num_layers_to: Blocks of the pruned one.

    Returns:
        A pure dict like `wanted`, with `LazyArray` for what is a part of `params`.

    Raises:
        UserError: If the two do not fit, naming the parameter.
    """
    return _copy(wanted, params, evenly_spaced(num_layers_from, num_layers_to), ())


def _copy(wanted: Params, given: Params, kept: list[int], path: tuple[str, ...]) -> Params:
    missing = wanted.keys() - given.keys()
    if missing:
        raise UserError(
            f"the trained transformer has no parameter {'.'.join((*path, min(missing)))}, the pruned one does"
        )
    return {
        name: _copy(value, given[name], kept, (*path, name))
        if isinstance(value, dict)
        else _copy_array(value, given[name], kept, (*path, name))
        for name, value in wanted.items()
    }


def _copy_array(wanted: Any, given: AnyArray, kept: list[int], path: tuple[str, ...]) -> AnyArray:
    if path[0] == "transformer_blocks":
        given = take_rows(given, kept)
    elif path == ("patch_embed", "proj", "kernel"):
        given = first_rows(given, wanted.shape[0])
    if given.shape != wanted.shape:
        raise UserError(f"parameter {'.'.join(path)} is {given.shape} in the trained one, {wanted.shape} wanted")
    return given
