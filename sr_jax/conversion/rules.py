"""Where each tensor of a PyTorch state dict lives in our parameters, and the change of layout between the two."""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from sr_jax.errors import UserError

_PERMUTATIONS = {"linear": (1, 0), "conv2d": (2, 3, 1, 0), "conv3d": (2, 3, 4, 1, 0)}


@dataclasses.dataclass(frozen=True)
class TensorRule:
    """One tensor of a PyTorch state dict and where it lives in our parameters.

    Attributes:
        source: State-dict key, for example "transformer_blocks.7.attn1.to_q.weight".
        target: Path in the nested dict of parameters, for example ("transformer_blocks", "attn1", "to_q", "kernel").
        layout: How the axes change:
            "same";
            "linear": [out, in] -> [in, out];
            "conv2d": OIHW -> HWIO;
            "conv3d": OIDHW -> DHWIO;
            "patches": a convolution whose stride is its kernel, as a linear on flat patches,
                [out, channels, *kernel] -> [channels * kernel, out];
            "unbatched": [1, ...] -> [...].
        layer: Index into the leading, stacked axis of the target, for scanned blocks; None for a whole array.
        kernel: Kernel size, for "patches" only: our array alone does not tell it.
    """

    source: str
    target: tuple[str | int, ...]
    layout: str
    layer: int | None = None
    kernel: tuple[int, ...] = ()


def weight_and_bias(
    source: str, target: tuple[str | int, ...], layout: str, layer: int | None = None
) -> list[TensorRule]:
    """The rules of a module's two tensors: a norm (layout "same") has a scale, all else a kernel."""
    weight = "scale" if layout == "same" else "kernel"
    return [
        TensorRule(f"{source}.weight", (*target, weight), layout, layer),
        TensorRule(f"{source}.bias", (*target, "bias"), "same", layer),
    ]


def to_ours(tensor: np.ndarray, layout: str) -> np.ndarray:
    """A PyTorch tensor in our layout (see `TensorRule`): a view, no value changes."""
    if layout == "same":
        return tensor
    if layout == "unbatched":
        return tensor.reshape(tensor.shape[1:])
    if layout == "patches":
        return tensor.reshape(len(tensor), -1).T
    return tensor.transpose(_PERMUTATIONS[layout])


def to_theirs(array: np.ndarray, layout: str, kernel: tuple[int, ...] = ()) -> np.ndarray:
    """Our array in PyTorch's layout: the exact inverse of `to_ours`; `kernel` is needed for "patches"."""
    if layout == "same":
        return array
    if layout == "unbatched":
        return array[None]
    if layout == "patches":
        return array.T.reshape(array.shape[1], -1, *kernel)
    return array.transpose(np.argsort(_PERMUTATIONS[layout]))


def require_finite(array: np.ndarray, name: str) -> None:
    """Checks that a tensor holds numbers alone: with NaN in the weights videos are black, and losses NaN.

    Raises:
        UserError: If it holds NaN or infinity, naming the tensor.
    """
    # By the bits, which is quick for every type: all those of the exponent are set.
    exponent = np.asarray(np.inf, array.dtype).view(f"u{array.dtype.itemsize}")
    if (array.view(exponent.dtype) & exponent == exponent).any():
        raise UserError(f"{name} holds values that are no finite numbers: the weights are damaged, take others")


def cast(array: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """The array as another type of number, or itself where it is of that type.

    Raises:
        UserError: If a finite value becomes infinite, naming the tensor.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if np.isinf(result).sum() != np.isinf(array).sum():
        raise UserError(f"{name} has values too large for {dtype}: use bfloat16 or float32")
    return result


def their_shape(shape: tuple[int, ...], layout: str, kernel: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The shape of `to_theirs` for an array of this shape; allocates nothing."""
    if layout == "patches":
        return (shape[1], shape[0] // math.prod(kernel), *kernel)
    return to_theirs(np.broadcast_to(np.float32(0), shape), layout).shape


def convert_state_dict(
    rules: Sequence[TensorRule],
    tensors: Mapping[str, np.ndarray],
    expected: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Converts a whole state dict in memory.

    Args:
        rules: One for each tensor.
        tensors: The state dict, as NumPy arrays.
        expected: Our model's abstract parameters (`Functional.abstract_params()`), to check shapes against; None
            checks names only.

    Returns:
        Our nested dict of parameters; rows of stacked arrays are copied, all else are views.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    check_tensors(rules, shapes, expected_shapes(rules, expected) if expected is not None else {})
    flat: dict[tuple[str | int, ...], Any] = {}
    rows: dict[tuple[str | int, ...], dict[int, np.ndarray]] = defaultdict(dict)
    for rule in rules:
        array = to_ours(tensors[rule.source], rule.layout)
        if rule.layer is None:
            flat[rule.target] = array
        else:
            rows[rule.target][rule.layer] = array
    flat |= {target: np.stack([row for _, row in sorted(by_layer.items())]) for target, by_layer in rows.items()}
    return traverse_util.unflatten_dict(flat)


def expected_shapes(rules: Sequence[TensorRule], abstract: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor must have to fit our abstract parameters.

    Raises:
        KeyError: If a rule's target is no parameter; the rules and the model disagree.
    """
    flat = traverse_util.flatten_dict(abstract)
    shapes = {}
    for rule in rules:
        shape = tuple(flat[rule.target].shape)
        shapes[rule.source] = their_shape(shape if rule.layer is None else shape[1:], rule.layout, rule.kernel)
    return shapes


def check_tensors(
    rules: Sequence[TensorRule], shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Checks the names and shapes of a state dict.

    Args:
        rules: One for each tensor there should be.
        shapes: Shape of each tensor there is.
        expected: Shape that each should have, where it is known.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    wanted = {rule.source for rule in rules}
    misshapen = [
        f"{name} {tuple(shapes[name])} instead of {tuple(shape)}"
        for name, shape in sorted(expected.items())
        if name in shapes and tuple(shapes[name]) != tuple(shape)
    ]
    problems = {
        "missing": name_list(wanted - shapes.keys()),
        "unexpected": name_list(shapes.keys() - wanted),
        "misshapen": ", ".join(misshapen),
    }
    if any(problems.values()):
        found = "; ".join(f"{kind}: {names}" for kind, names in problems.items() if names)
        raise UserError(
            f"the tensors do not fit their config, {found}: check that the weights and their config belong together"
        )


def name_list(names: Iterable[str]) -> str:
    """All names on one line; those that differ only in their first number are folded: `blocks.{0-3,7}.bias`."""
    folded: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name in names:
        match = re.search(r"(?<=\.)\d+(?=\.)", name)
        if match is None:
            folded[(name, "")] = []
        else:
            folded[(name[: match.start()], name[match.end() :])].append(int(match.group()))
    return ", ".join(f"{head}{_ranges(sorted(numbers))}{tail}" for (head, tail), numbers in sorted(folded.items()))


def _ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{{{text}}}" if len(numbers) > 1 else text
