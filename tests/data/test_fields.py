import pytest

from sr_jax.data.fields import CORE_FIELDS, axis_sizes, shapes

FIELDS = {"tokens": "t y x d", "boxes": "t 4", "images": "k 1 y x"}
SIZES = {"t": 3, "y": 5, "x": 7, "d": 11, "k": 2}
SHAPES = {"tokens": (3, 5, 7, 11), "boxes": (3, 4), "images": (2, 1, 5, 7)}


def test_axes_have_sizes_and_shapes_follow():
    assert shapes(FIELDS, SIZES | {"unused": 9}) == SHAPES
    assert axis_sizes(FIELDS, SHAPES | {"unused": (9,)}) == SIZES
    assert axis_sizes({"boxes": "t 4"}, SHAPES, {"y": 5}) == {"t": 3, "y": 5}


def test_shapes_of_core_fields_of_a_plan():
    sizes = {"t": 13, "h": 60, "w": 90, "c": 16, "k": 5, "e": 512, "l": 226, "d": 4096}
    assert shapes(CORE_FIELDS, sizes) == {
        "latent_mean": (13, 60, 90, 16),
        "latent_std": (13, 60, 90, 16),
        "image_latents": (5, 1, 60, 90, 16),
        "depth_latent": (13, 60, 90, 16),
        "face_embedding": (13, 512),
        "face_mask": (13,),
        "text_embedding": (226, 4096),
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": (3, 5)}, r"boxes has shape \(3, 5\), but axis 4 of 't 4' has size 4"),
        ({"boxes": (2, 4)}, r"boxes has shape \(2, 4\), but axis t of 't 4' has size 3"),
        ({"boxes": (3, 4, 1)}, r"boxes has shape \(3, 4, 1\), expected the axes 't 4'"),
    ],
)
def test_shapes_that_do_not_fit_their_axes_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        axis_sizes(FIELDS, SHAPES | changed)


def test_a_size_that_is_given_is_kept_to():
    with pytest.raises(ValueError, match=r"tokens has shape .*axis t of 't y x d' has size 4"):
        axis_sizes(FIELDS, SHAPES, {"t": 4})


def test_an_axis_without_a_size_is_named():
    with pytest.raises(ValueError, match="axis d of tokens has no size: known are t, x, y"):
        shapes({"tokens": "t y x d"}, {"t": 3, "y": 5, "x": 7})
