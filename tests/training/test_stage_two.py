"""What stage two promises about its frozen modules and its control."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.data.pipeline import train_batches
from sr_jax.errors import UserError
from sr_jax.parallel.lazy import on_host
from sr_jax.training import builders
from sr_jax.training.faces import require_faces
from sr_jax.training.loop import train
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import PLAIN, assert_same_bits, batch_loss, load_params


def _digest(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def batch(dataset):
    return {name: jnp.asarray(value) for name, value in next(train_batches(dataset, batch_size=4, seed=0)).items()}


@pytest.fixture(scope="module")
def stage_and_params(stage_two):
    """Stage two with parameters away from the zero-initialised projections, and its frozen parameters."""
    config = stage_two()
    stage = builders.build_stage(config)
    params = builders.initial_params(stage, stage.start(), jax.random.key(0))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = jax.tree.unflatten(structure, [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])
    return stage, params, on_host(builders.load_frozen(builders.build_stage(config)))


def test_identity_needs_faces(stage_two, tmp_path):
    data = write_synthetic_dataset(tmp_path, clips=2, faceless=2, latent_channels=4)
    for without in (PLAIN, {"alignment.identity.weight": 0.0}):
        require_faces(data, "train", builders.build_stage(stage_two(**without)))
    with pytest.raises(UserError, match=r"none of the 2 clips in the split 'train' of .* has a face"):
        require_faces(data, "train", builders.build_stage(stage_two()))


def test_the_frozen_modules_stay_as_they_are(stage_two, stage_one_run, one_device, tmp_path):
    before = _digest(stage_one_run)
    frozen = load_params(stage_one_run)[0]
    train(stage_two(), tmp_path / "run", one_device)
    assert _digest(stage_one_run) == before
    assert_same_bits(load_params(stage_one_run)[0], frozen)
    # What stage two saves is the transformer alone.
    assert set(load_params(tmp_path / "run")[0]) == {"transformer"}


@pytest.mark.parametrize("name", ["structure", "identity"])
def test_gradients_flow_through_the_frozen_modules(stage_and_params, batch, name):
    stage, params, frozen = stage_and_params
    key = jax.random.key(3)

    def alignment_loss(params):
        return batch_loss(stage)(params, frozen, batch, key)[1][f"loss/{name}"].compute()

    gradient = jax.jit(jax.grad(alignment_loss))(params)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
    assert norm > 1e-4
    # The derivative along the gradient, by central differences.
    step = 0.005 / norm
    ahead, behind = (jax.tree.map(lambda p, g, s=s: p + s * g, params, gradient) for s in (step, -step))
    measured = (jax.jit(alignment_loss)(ahead) - jax.jit(alignment_loss)(behind)) / (2 * step)
    np.testing.assert_allclose(measured, norm**2, rtol=0.02)


def test_the_loss_is_the_weighted_sum_of_its_parts(stage_and_params, batch):
    stage, params, frozen = stage_and_params
    total, metrics = jax.jit(batch_loss(stage))(params, frozen, batch, jax.random.key(3))
    values = {name: metrics[f"loss/{name}"].compute() for name in ("denoising", "structure", "identity")}
    # The identity metric is over the clips with a face, the loss over all of them.
    faces = np.mean(np.any(np.asarray(batch["face_mask"]) > 0, axis=-1))
    expected = values["denoising"] + 0.01 * values["structure"] + 1.0 * faces * values["identity"]
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_timestep_bins_are_a_partition(stage_and_params, batch):
    stage, params, frozen = stage_and_params
    _, metrics = jax.jit(batch_loss(stage))(params, frozen, batch, jax.random.key(3))
    bins = [average for name, average in metrics.items() if name.startswith("loss/denoising/t")]
    assert len(bins) == 5
    np.testing.assert_allclose(sum(b.total for b in bins), metrics["loss/denoising"].total, rtol=1e-6)
    assert sum(int(b.count) for b in bins) == len(batch["face_mask"])


def test_clips_without_a_face_add_nothing(stage_and_params, batch):
    stage, params, frozen = stage_and_params
    faceless = batch | {"face_mask": jnp.zeros_like(batch["face_mask"])}

    def identity_part(params):
        total, metrics = batch_loss(stage)(params, frozen, faceless, jax.random.key(3))
        return total - metrics["loss/denoising"].compute() - 0.01 * metrics["loss/structure"].compute()

    value, metrics = jax.jit(batch_loss(stage))(params, frozen, faceless, jax.random.key(3))
    assert int(metrics["loss/identity"].count) == 0
    np.testing.assert_allclose(jax.jit(identity_part)(params), 0.0, atol=1e-6)
    assert np.isfinite(value)


def test_without_weights_it_is_plain_fine_tuning_bit_for_bit(stage_two, tiny, base_run, one_device, tmp_path):
    control = train(stage_two(**PLAIN), tmp_path / "control", one_device)
    plain = train(tiny("base", **{"init.transformer": str(base_run)}), tmp_path / "plain", one_device)
    assert_same_bits(control, plain)


def test_without_weights_the_frozen_modules_are_not_there(stage_two):
    config = stage_two(**PLAIN)
    config.alignment.structure.module = config.alignment.identity.module = ""
    assert builders.load_frozen(builders.build_stage(config)).keys() == {"empty_prompt"}
    assert not builders.build_stage(config).objectives.weighted


@pytest.fixture(scope="module")
def single_runs(tiny, base_run, one_device, tmp_path_factory):
    """Workdirs of stage ones that trained one module each, the identity module without depth."""
    folder, common = tmp_path_factory.mktemp("single"), {"num_train_steps": 0}
    train(tiny("stage_one", train_modules=("structure",), **common), folder / "structure", one_device)
    config = tiny("stage_one", train_modules=("identity",), **common, **{"identity.use_depth": False})
    train(config, folder / "identity", one_device)
    return {name: str(folder / name) for name in ("structure", "identity")}


@pytest.mark.parametrize(("alone", "other"), [("structure", "identity"), ("identity", "structure")])
def test_one_module_alone_is_enough_for_its_loss(tiny, single_runs, batch, alone, other):
    config = tiny("stage_two", **{f"alignment.{other}.weight": 0.0, f"alignment.{alone}.module": single_runs[alone]})
    stage = builders.build_stage(config)
    frozen = on_host(builders.load_frozen(stage))
    assert frozen.keys() == {alone, "empty_prompt"} and stage.frozen[alone].source
    params = builders.initial_params(stage, {}, jax.random.key(0))
    _, metrics = jax.jit(batch_loss(stage))(params, frozen, batch, jax.random.key(3))
    assert f"loss/{alone}" in metrics and f"loss/{other}" not in metrics


def test_workdirs_without_the_module_are_told(stage_two, base_run, single_runs, one_device, tmp_path):
    for overrides in (
        {"alignment.structure.module": str(base_run)},
        {"alignment.identity.module": single_runs["structure"]},
        {"alignment.structure.module": single_runs["identity"], "alignment.structure.weight": 0.0},
    ):
        config = stage_two()
        config.update_from_flattened_dict(overrides)
        with pytest.raises(UserError, match=r"alignment\.(\w+)\.module=.* holds no \1 module: name the workdir"):
            train(config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def test_one_weight_alone(stage_two, batch):
    config = stage_two(**{"alignment.structure.weight": 0.0})
    stage = builders.build_stage(config)
    params = builders.initial_params(stage, stage.start(), jax.random.key(0))
    _, metrics = jax.jit(batch_loss(stage))(
        params, on_host(builders.load_frozen(builders.build_stage(config))), batch, jax.random.key(3)
    )
    assert "loss/identity" in metrics and "loss/structure" not in metrics
