"""The objectives on hidden states as the trainer calls them, with a projector and without a transformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.alignment.base import Context, View, build_objective
from sr_jax.backbones.base import get_backbone
from sr_jax.errors import UserError
from sr_jax.models.flops import Flops
from tests.alignment import references

_WIDTH, _CHANNELS, _FRAMES = 6, 4, 3
_HIDDEN, _TEACHER = (3, 4, 2), (3, 2, 3)
_SECTION = {"weight": 0.5, "block": 2, "channels": _CHANNELS, "grid": _TEACHER[1:], "tokens": "toy_tokens"}
_SMALL = {"projector_width": 5}


def _context(patch_frames=1, remat="none", name="mine"):
    sizes = {"num_attention_heads": 1, "attention_head_dim": _WIDTH, "num_layers": 4}
    backbone = get_backbone("cogvideox", sizes | {"patch_size_t": None if patch_frames == 1 else patch_frames})
    process = backbone.process({})
    return Context(backbone=backbone, dtype="float32", remat=remat, module={}, process=process, name=name)


def _random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _view(hidden=_HIDDEN, teacher=(*_TEACHER, _CHANNELS), frames=_FRAMES, blocks=(2,)):
    latent = _random(2, frames, 8, 4, 1)
    tokens = {block: _random(2, *hidden, _WIDTH, seed=block) for block in blocks}
    return View(latent, latent, jnp.zeros(2), latent, tokens, {"toy_tokens": _random(2, *teacher, seed=9)})


def _params(objective):
    """Random parameters, norms and biases too."""
    shapes = {name: network.abstract_params() for name, network in objective.trained.items()}
    return jax.tree.map(lambda leaf: _random(*leaf.shape, seed=leaf.size), shapes)


def _linear(x, layer):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def _silu(x):
    return x / (1 + np.exp(-x))


def _mlp(x, params):
    return _linear(_silu(_linear(_silu(_linear(x, params["proj_in"])), params["proj_hidden"])), params["proj_out"])


def _norm_linear(x, params):
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    norm = {name: np.asarray(value, np.float64) for name, value in params["norm"].items()}
    return _linear(normed * norm["scale"] + norm["bias"], params["proj_out"])


def _conv(x, params):
    kernel, bias = (np.asarray(params["conv"][name], np.float64) for name in ("kernel", "bias"))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = {
        (i, j): padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j] for i in range(3) for j in range(3)
    }
    return sum(shifted.values()) + bias


def _repa(student, teacher):
    return -references.mean_cosine(references.resized(student, teacher.shape[:3]), teacher)


def _irepa(student, teacher):
    return _repa(student, references.spatial_norm(teacher, 0.6))


def _trd(relations, first):
    def loss(student, teacher):
        student, teacher = student[first[0] :], teacher[first[1] :]
        return references.trd(references.resized(student, teacher.shape[:3]), teacher, 0.05, relations)

    return loss


def _crepa(student, teacher):
    # The teacher has the fewer patches.
    student = references.resized(student, (len(student), *teacher.shape[1:3]))
    return -references.crepa(student, teacher, 1, 2.0, False, False)[1]


# Objective, options, projector, loss, and latent frames of a patch.
_CASES = {
    "repa": ("repa", _SMALL, _mlp, _repa, 1),
    "irepa": ("repa", {"projector": "conv", "spatial_norm": True, "spatial_mean": 0.6}, _conv, _irepa, 2),
    "trd": ("trd", _SMALL | {"margin": 0.05}, _mlp, _trd("both", (1, 1)), 2),
    "trd_spatial": ("trd", _SMALL | {"margin": 0.05, "relations": "spatial", "first_frame": "compared"}, _mlp,
                    _trd("spatial", (0, 0)), 1),
    "trd_temporal": ("trd", _SMALL | {"margin": 0.05, "relations": "temporal", "first_frame": "absent"}, _mlp,
                     _trd("temporal", (1, 0)), 1),
    "crepa": ("crepa", {"tau": 2.0}, _norm_linear, _crepa, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", _CASES)
def test_value_and_gradients(case):
    name, options, project, loss, patch_frames = _CASES[case]
    remat = "none" if patch_frames == 1 else "block"
    objective = build_objective(case, _SECTION | {"objective": name} | options, _context(patch_frames, remat))
    # With patches of two frames, a third latent frame brings a fourth with it, in front.
    hidden = (_HIDDEN[0] if patch_frames == 1 else 2, *_HIDDEN[1:])
    params, view = _params(objective), _view(hidden)

    def total(params, view):
        term = objective(params, {}, view, {})
        return term.value.sum(), term

    (_, term), (to_params, to_view) = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True, allow_int=True))(
        params, view
    )
    expected = []
    for tokens, teacher in zip(
        np.asarray(view.hidden[2], np.float64), np.asarray(view.batch["toy_tokens"], np.float64)
    ):
        student = project(tokens, params["projector"]).repeat(patch_frames, axis=0)[-_FRAMES:]
        expected.append(loss(student, teacher))
    np.testing.assert_allclose(term.value, expected, rtol=1e-5, atol=2e-6)
    assert term.counted.all()
    assert (term.similarity is None) == (name == "trd")
    # To the transformer and to every part of the projector, and exactly nothing to the teacher, nor to the latents.
    assert np.any(to_view.hidden[2]) and all(np.any(leaf) for leaf in jax.tree.leaves(to_params))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((to_view.batch, to_view.clean, to_view.noisy)))


@pytest.mark.parametrize("name", ["repa", "crepa"])
def test_the_similarity_is_the_mean_cosine_of_frames_with_themselves(name):
    # One frame has no neighbours.
    objective = build_objective(name, _SECTION | _SMALL, _context())
    view = _view((1, *_HIDDEN[1:]), (1, *_TEACHER[1:], _CHANNELS), frames=1)
    term = jax.jit(lambda params: objective(params, {}, view, {}))(_params(objective))
    np.testing.assert_array_equal(term.similarity, -term.value)
    assert np.all(term.similarity != 0)


@pytest.mark.parametrize(
    ("options", "counts"),
    [({}, False), ({"first_frame": "compared"}, True), ({"first_frame": "compared", "relations": "temporal"}, False)],
)
def test_a_still_image_counts_where_something_is_paired(options, counts):
    objective = build_objective("trd", _SECTION | options, _context())
    student, teacher = _random(2, 1, 3, 2, _CHANNELS), _random(2, 1, 2, 3, _CHANNELS)
    term = jax.jit(objective.compare)(student, teacher)
    assert np.all(term.counted == counts) and np.all((term.value > 0) == counts)


def test_what_does_not_fit_is_told():
    objective = build_objective("crepa", _SECTION, _context())
    with pytest.raises(
        UserError, match=r"toy_tokens has the shape \(3, 2, 3, 7\), but .*mine reads .* 4 channels: set"
    ):
        objective(_params(objective), {}, _view(teacher=(*_TEACHER, 7)), {})
    for name, options, words in (
        ("repa", {"block": 5}, r"mine\.block is 5, but the transformer has the blocks 1 to 4"),
        ("trd", {"block": 0}, r"mine\.block is 0: it must be a whole number, at least 1"),
        ("layersync", {"block": 2, "deeper_block": 5}, r"mine\.deeper_block is 5, but"),
        ("layersync", {"block": 2, "deeper_block": 2}, r"mine\.deeper_block is 2: it must be behind .*mine\.block=2"),
        ("repa", {"projector": "linear"}, r"mine\.projector is 'linear': it must be mlp or conv"),
    ):
        with pytest.raises(UserError, match=r"^config\.alignment\." + words):
            build_objective(name, _SECTION | options, _context())


def test_options_may_come_from_json():
    objective = build_objective("repa", _SECTION | {"grid": [5, 7], "frames": 2}, _context())
    assert objective.fields == {"toy_tokens": f"2 5 7 {_CHANNELS}"}
    assert build_objective("repa", _SECTION, _context()).fields == {"toy_tokens": f"t 2 3 {_CHANNELS}"}


def test_flops():
    size, tokens = (3, 8, 4), 3 * 4 * 2
    mlp = 2 * tokens * (_WIDTH * 5 + 5 * 5 + 5 * _CHANNELS)

    def flops(name, size=size, **options):
        return build_objective(name, _SECTION | _SMALL | options, _context(options.pop("patch_frames", 1))).flops(size)

    assert flops("repa") == 3 * mlp
    assert flops("repa", projector="conv") == 3 * 2 * tokens * 9 * _WIDTH * _CHANNELS
    assert flops("crepa") == 3 * 2 * tokens * _WIDTH * _CHANNELS
    assert flops("layersync", deeper_block=3) == 0
    # Of two frames of 2x3 tokens: the student's matrix forwards and twice backwards, the teacher's forwards.
    assert flops("trd") == 3 * mlp + 4 * Flops(0, 2 * 12**2 * _CHANNELS).forward
    assert flops("trd", relations="spatial", first_frame="compared") == 3 * mlp + 4 * 2 * 3 * 6**2 * _CHANNELS
    # Five latent frames are padded to six, of which a token takes two.
    assert flops("crepa", (5, 8, 4), patch_frames=2) == flops("crepa")
