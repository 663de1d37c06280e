import jax
import numpy as np
import pytest

from sr_jax.conversion.rules import TensorRule, convert_state_dict, name_list, their_shape, to_ours, to_theirs
from sr_jax.errors import UserError

LAYOUTS = [
    ("same", (5,), (), (5,)),
    ("linear", (2, 3), (), (3, 2)),
    ("conv2d", (2, 3, 4, 5), (), (4, 5, 3, 2)),
    ("conv3d", (2, 3, 4, 5, 6), (), (4, 5, 6, 3, 2)),
    ("patches", (2, 3, 4, 5), (4, 5), (60, 2)),
    ("unbatched", (1, 4, 3), (), (4, 3)),
]
RULES = [
    TensorRule("proj.weight", ("proj", "kernel"), "linear"),
    *(TensorRule(f"blocks.{i}.bias", ("blocks", "bias"), "same", layer=i) for i in range(12)),
]
TENSORS = {"proj.weight": np.arange(6.0).reshape(2, 3)} | {f"blocks.{i}.bias": np.full(2, i) for i in range(12)}
EXPECTED = {
    "proj": {"kernel": jax.ShapeDtypeStruct((3, 2), np.float32)},
    "blocks": {"bias": jax.ShapeDtypeStruct((12, 2), np.float32)},
}


@pytest.mark.parametrize(("layout", "theirs", "kernel", "ours"), LAYOUTS)
def test_layouts_are_exact_inverses(layout, theirs, kernel, ours):
    tensor = np.random.default_rng(0).standard_normal(theirs)
    array = to_ours(tensor, layout)
    assert array.shape == ours
    assert their_shape(ours, layout, kernel) == theirs
    np.testing.assert_array_equal(to_theirs(array, layout, kernel), tensor)


def test_convolution_axes_go_where_flax_wants_them():
    tensor = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6))
    assert to_ours(tensor, "conv3d")[1, 2, 3, 0, 1] == tensor[1, 0, 1, 2, 3]
    assert to_ours(tensor[..., 0], "conv2d")[1, 2, 0, 1] == tensor[1, 0, 1, 2, 0]


def test_patches_keep_the_channel_slowest():
    tensor = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert to_ours(tensor, "patches")[2 * 20 + 1 * 5 + 4, 1] == tensor[1, 2, 1, 4]


def test_blocks_are_stacked_in_order():
    params = convert_state_dict(RULES[::-1], TENSORS, EXPECTED)
    np.testing.assert_array_equal(params["blocks"]["bias"], np.repeat(np.arange(12), 2).reshape(12, 2))
    np.testing.assert_array_equal(params["proj"]["kernel"], TENSORS["proj.weight"].T)


def test_every_problem_is_named_at_once():
    tensors = {name: tensor for name, tensor in TENSORS.items() if name not in ("blocks.3.bias", "blocks.4.bias")}
    tensors |= {"lora.scale": np.zeros(1), "proj.weight": np.zeros((3, 2))}
    with pytest.raises(UserError) as error:
        convert_state_dict(RULES, tensors, EXPECTED)
    assert "missing: blocks.{3-4}.bias; unexpected: lora.scale; misshapen: proj.weight (3, 2) instead of (2, 3)" in str(
        error.value
    )


def test_names_are_folded():
    assert name_list(["a.0.w", "a.1.w", "a.3.w", "b.7.c.2", "d"]) == "a.{0-1,3}.w, b.7.c.2, d"
