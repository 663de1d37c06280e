"""Every named size of every stage, up to the loss of a batch of its shapes; nothing is allocated or computed."""

import jax
import jax.numpy as jnp
import pytest

from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.configs import base, stage_one, stage_two
from sr_jax.configs.sizes import size_names
from sr_jax.parallel.mesh import make_mesh
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec
from tests.training.helpers import batch_loss

PUBLISHED = {"2b": 1_693_783_872, "5b_i2v": 5_570_479_680, "1_5_5b_i2v": 5_571_594_880}
"""Parameters of the released transformers; the position table of 5B-I2V is none of them."""


def make_config(stage: str, size: str):
    return {"base": base, "stage_one": stage_one, "stage_two": stage_two}[stage].get_config(size)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("size", size_names())
@pytest.mark.parametrize("stage", ["base", "stage_one", "stage_two"])
def test_every_size_of_every_stage_has_a_loss(stage, size):
    config = make_config(stage, size)
    mesh = make_mesh({"data": 1, "fsdp": 8})
    program = build_program(config, mesh, builders.build_stage(config, stage_one.get_config(size).to_dict()))
    batch = abstract_batch(record_spec(config, program.stage, noisy_images=2), program.stage, config.batch_size, mesh)
    params = program.state.params
    loss, metrics = jax.eval_shape(batch_loss(program.stage), params, program.frozen, batch, jax.random.key(0))
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    losses = {"base": {"denoising"}, "stage_one": {"structure", "identity"}}
    losses["stage_two"] = losses["base"] | losses["stage_one"]
    assert {name.split("/")[1] for name in metrics if "/" in name} == losses[stage]
    if size in PUBLISHED and stage != "stage_one":
        table = params["transformer"]["patch_embed"].pop("pos_embedding", None)
        assert count(params) == PUBLISHED[size]
        assert count(table) == (17_776 * 3072 if size == "5b_i2v" else 0)


@pytest.mark.parametrize("size", PUBLISHED)
def test_released_sizes_are_those_of_the_released_models(size):
    config, one = base.get_config(size), stage_one.get_config(size)
    assert CogVideoXConfig(**config.model.to_dict()) == RELEASED[size]
    structure = CogVideoXConfig(**one.structure.to_dict())
    assert (structure.in_channels, structure.out_channels, structure.num_layers) == (16, 16, 12)
    assert structure.width == RELEASED[size].width
    assert one.identity.embedding_dim == 512
    assert config.schedule.snr_shift_scale == {"2b": 3.0}.get(size, 1.0)
    assert (config.dtype, config.remat, config.optimizer.name) == ("bfloat16", "block", "adamw")


@pytest.mark.parametrize("size", size_names())
def test_every_field_can_be_overridden(size):
    config = stage_two.get_config(size)
    config.update_from_flattened_dict({"data.dir": "DATA", "model.sample_frames": 17, "optimizer.learning_rate": 3e-5})
    assert (config.data.dir, config.model.sample_frames) == ("DATA", 17)
    # Another size's config is made anew.
    assert stage_two.get_config(size).model.sample_frames != 17


def test_an_unknown_size_is_refused_with_the_known_ones():
    known = "1_5_5b_i2v, 2b, 5b_i2v, real, small, smoke, tiny"
    with pytest.raises(ValueError, match=f"unknown size '7b': choose one of {known}"):
        base.get_config("7b")
