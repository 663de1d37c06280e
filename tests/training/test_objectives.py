"""Objectives whose weights change: what they add to a loss, what is carried between steps, and what is off."""

import dataclasses
import shutil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sr_jax.alignment.base import Context, Term, View
from sr_jax.alignment.weights import RunningSimilarity, WeightSchedule
from sr_jax.checkpoints.logs import read_metrics
from sr_jax.checkpoints.networks import transformer_network
from sr_jax.errors import UserError
from sr_jax.parallel.mesh import make_mesh
from sr_jax.training import builders
from sr_jax.training.checkpoints import Checkpoints
from sr_jax.training.denoising import Denoising
from sr_jax.training.loop import train
from sr_jax.training.objectives import Objectives, Weighted
from sr_jax.training.program import build_program
from sr_jax.training.restoring import restore
from sr_jax.training.stages import total_and_metrics
from sr_jax.training.state import SKIPPED, Progress, TrainState, make_train_step
from tests.toys.backbone import Toy, ToyConfig
from tests.training import similar
from tests.training.helpers import PLAIN, assert_close, assert_same_bits, load_params

BACKBONE = Toy(ToyConfig(), takes_image=False)
PROCESS = BACKBONE.process({})
TIMES = np.array([0.1, 0.4, 0.6, 0.9], np.float32)


@dataclasses.dataclass(frozen=True)
class Square:
    """The mean square of the predicted clean latent, or of what another objective gives, which is twice the latent."""

    after: tuple[str, ...] = ()

    fields: ClassVar[dict] = {}
    trained: ClassVar[dict] = {}
    frozen: ClassVar[dict] = {}
    taps = ()

    def __call__(self, params, frozen, view, outputs):
        seen = outputs[self.after[0]] if self.after else view.clean
        value = jnp.mean(seen**2, axis=(1, 2, 3, 4))
        return Term(value, jnp.ones(value.shape, bool), 2 * view.clean)

    def flops(self, size):
        return 0


class Broken(Square):
    """Neither its value nor its gradient is finite behind a time of 0.5."""

    def __call__(self, params, frozen, view, outputs):
        value = jnp.log(jnp.where(view.times > 0.5, 0.0, 1.0) * jnp.mean(view.clean**2, axis=(1, 2, 3, 4)))
        return Term(value, jnp.ones(value.shape, bool))


def _similar():
    return similar.build(
        {"width": ToyConfig.width}, Context(BACKBONE, "float32", "none", {}, BACKBONE.process({}), "similar")
    )


def _objectives(**weighted):
    return Objectives({name: Weighted(*item) for name, item in weighted.items()})


def _aligned(objectives, *, step=0, scale=1.0):
    """What objectives add to the loss of four samples at `TIMES`; its gradients with respect to what they look at."""
    rng = np.random.default_rng(0)
    clean = jnp.asarray(rng.standard_normal((4, 2, 3, 3, 2)), jnp.float32)
    hidden = {1: jnp.asarray(scale * rng.standard_normal((4, 2, 3, 3, ToyConfig.width)), jnp.float32)}
    params = {name: module.init(jax.random.key(0)) for name, module in objectives.modules.items()}
    drawn = objectives.draw(4, Progress(jnp.int32(step), objectives.running))

    def total(params, clean, hidden):
        view = View(clean, clean, jnp.asarray(TIMES), clean, hidden, {})
        return total_and_metrics(objectives.terms(params, {}, view, drawn, PROCESS), PROCESS, view.times)[0]

    return clean, *jax.value_and_grad(total, argnums=(0, 1, 2))(params, clean, hidden)


def test_the_weight_of_each_sample_goes_by_step_and_noise():
    ranged = WeightSchedule(0.5, warmup_steps=4, least_noise=0.4, largest_noise=0.8, noise_weighting="linear")
    clean, total, (_, gradient, _) = _aligned(_objectives(mine=(ranged, Square())), step=1)
    weights = 0.125 * np.array([0, 1 - TIMES[1], 1 - TIMES[2], 0]).reshape(4, 1, 1, 1, 1)
    np.testing.assert_allclose(total, np.sum(weights * clean**2) / clean.size, rtol=1e-5)
    np.testing.assert_allclose(gradient, weights * 2 * clean / clean.size, rtol=1e-5)


OFF = WeightSchedule(0.5, off_after=3)


@pytest.mark.parametrize(("weight", "step"), [(OFF, 3), (WeightSchedule(0.5, warmup_steps=3), 0)])
def test_what_is_off_may_be_anything(weight, step):
    _, total, gradients = _aligned(_objectives(mine=(weight, Broken())), step=step)
    assert total == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))
    # While it counts it is not hidden.
    assert not np.isfinite(_aligned(_objectives(mine=(weight, Broken())), step=2)[1])


def test_samples_out_of_the_range_may_be_anything():
    weight = WeightSchedule(0.5, largest_noise=0.5)
    clean, total, (_, gradient, _) = _aligned(_objectives(mine=(weight, Broken())))
    squares = np.mean(clean[:2] ** 2, axis=(1, 2, 3, 4), keepdims=True)
    np.testing.assert_allclose(total, 0.5 * np.sum(np.log(squares)) / 4, rtol=1e-5)
    np.testing.assert_allclose(gradient[:2], 0.5 / 4 * 2 * clean[:2] / squares / clean[0].size, rtol=1e-5)
    assert not np.any(gradient[2:])


@pytest.mark.parametrize(("step", "scale", "trains"), [(2, 1.0, True), (3, 1.0, False), (3, np.nan, False)])
def test_a_projector_learns_nothing_while_its_objective_is_off(step, scale, trains):
    _, _, (params, _, hidden) = _aligned(_objectives(mine=(OFF, _similar())), step=step, scale=scale)
    assert all(np.any(leaf) == trains for leaf in (params["mine_projector"]["kernel"], hidden[1]))


@pytest.mark.parametrize("read", [WeightSchedule(0.0, off_when_similar=0.5), OFF, WeightSchedule(0.3, least_noise=1.0)])
def test_what_another_one_reads_passes_gradients_on_while_its_own_weight_is_0(read):
    objectives = _objectives(read=(read, Square()), reader=(WeightSchedule(0.5), Square(after=("read",))))
    assert objectives.running == {}
    clean, total, (_, gradient, _) = _aligned(objectives, step=5)
    np.testing.assert_allclose(total, 0.5 * np.mean((2 * clean) ** 2), rtol=1e-5)
    np.testing.assert_allclose(gradient, 0.5 * 8 * clean / clean.size, rtol=1e-5)


def test_one_that_measures_no_similarity_cannot_go_by_it():
    with pytest.raises(
        UserError, match=r"^config\.alignment\.mine measures no similarity: set its off_when_similar to"
    ):
        _aligned(_objectives(mine=(WeightSchedule(0.5, off_when_similar=0.5), Square())))


def _batch(seed):
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((4, *ToyConfig.latent_size, ToyConfig.latent_channels), np.float32)
    text = rng.standard_normal((4, *ToyConfig.text_shape), np.float32)
    return {"latent_mean": mean, "latent_std": np.zeros_like(mean), "text_embedding": text}


@dataclasses.dataclass
class _Run:
    """Steps of a stage on the toy backbone, one after the other."""

    stage: Denoising
    accumulate_steps: int = 1

    def __post_init__(self):
        optimizer = optax.adam(1e-2)
        step = make_train_step(self.stage, optimizer, ema_decay=0.9, seed=0, accumulate_steps=self.accumulate_steps)
        self.step = jax.jit(step)
        params = builders.initial_params(self.stage, {}, jax.random.key(0))
        self.start = TrainState.create(params, optimizer, self.stage.running)

    def __call__(self, state, batches):
        lines = []
        for batch in batches:
            state, metrics = self.step(state, {}, batch)
            lines.append({name: float(value.compute()) for name, value in metrics.items() if value.count})
        return state, lines


BATCHES = [_batch(seed) for seed in range(8)]


@pytest.fixture(scope="module")
def stage():
    weight = WeightSchedule(
        0.5, warmup_steps=3, decay="cosine", decay_steps=4, final_share=0.1, off_when_similar=0.9, largest_noise=0.7
    )
    objectives = _objectives(mine=(weight, _similar()), other=(WeightSchedule(0.1), Square()))
    network = transformer_network(BACKBONE, dtype="float32", remat="none")
    return Denoising(BACKBONE, network, PROCESS, objectives, {}, 0.0, 0.0, dict)


@pytest.fixture(scope="module")
def run(stage):
    return _Run(stage)


@pytest.fixture(scope="module")
def done(run):
    """The state and the log after all batches."""
    return run(run.start, BATCHES)


def test_the_log_has_the_weight_of_each_step_and_the_similarities(done):
    state, lines = done
    cosine = [0.5 * (0.1 + 0.9 * (1 + np.cos(np.pi * falls / 4)) / 2) for falls in (0, 1, 2, 3, 4)]
    expected = [0.0, 0.5 / 3, 1 / 3, *cosine]
    np.testing.assert_allclose([line["weight/mine"] for line in lines], expected, rtol=1e-5)
    assert "weight/other" not in lines[0] and "similarity/other" not in lines[0]
    # In the first step, with a weight of 0, none is measured; nor where no sample is in the range.
    measured = [line["similarity/mine"] for line in lines if "similarity/mine" in line]
    assert "similarity/mine" not in lines[0] and len(measured) == int(state.running["mine"].measured) > 4
    np.testing.assert_allclose(state.running["mine"].similarity, np.mean(measured), rtol=1e-5)
    before = 0.0
    for number, line in enumerate(lines):
        np.testing.assert_allclose(line["running_similarity/mine"], before, rtol=1e-5)
        seen = [other["similarity/mine"] for other in lines[: number + 1] if "similarity/mine" in other]
        before = np.mean(seen) if seen else 0.0


def test_in_parts_it_carries_what_the_whole_batch_gives(stage, done):
    in_parts = _Run(stage, accumulate_steps=2)
    state, lines = in_parts(in_parts.start, BATCHES)
    assert_close(state.running, done[0].running, rtol=1e-5, atol=1e-6)
    assert_close(state.params, done[0].params, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([line["loss"] for line in lines], [line["loss"] for line in done[1]], rtol=1e-5)


def test_a_skipped_step_carries_on_what_there_was(run):
    before, _ = run(run.start, BATCHES[:4])
    bad = jax.tree.map(np.copy, BATCHES[4])
    bad["latent_mean"][1] = np.nan
    after, [line] = run(before, [bad])
    assert line[SKIPPED] == 1 and int(before.running["mine"].measured) > 1
    assert_same_bits(after.replace(step=before.step), before)


def test_saved_and_restored_it_goes_on_with_the_same_bits(run, done, tmp_path):
    half, _ = run(run.start, BATCHES[:5])
    saved = Checkpoints(tmp_path, every_steps=1, every_minutes=0.0, keep=1, keep_every=0)
    assert saved.save_last(5, half, {})
    saved.close()
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), half)
    restored = restore(tmp_path, abstract)
    assert_same_bits(restored, half)
    assert_same_bits(run(restored, BATCHES[5:])[0], done[0])
    # A stage that carries nothing reads it too; one that does needs it.
    assert restore(tmp_path, abstract.replace(running={})).running == {}
    shutil.rmtree(tmp_path / "checkpoints" / "5" / "running")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read \(step 5: .*running.*\)"):
        restore(tmp_path, abstract)


def test_once_similar_it_is_off_for_good(run):
    # Above the threshold by so much that the next step sees it.
    above = RunningSimilarity(jnp.float32(10.0), jnp.int32(9), jnp.asarray(False))
    state, lines = run(run.start.replace(step=jnp.int32(3), running={"mine": above}), BATCHES[:3])
    assert [line["weight/mine"] > 0 for line in lines] == [True, False, False]
    assert bool(state.running["mine"].off) and int(state.running["mine"].measured) == 10
    assert "similarity/mine" not in lines[-1]


@pytest.fixture(scope="module")
def scheduled(tiny):
    """A stage two of the toy backbone, whose only objective is one of the tests, with a weight that changes."""

    def make(**values):
        config = tiny("stage_two", **PLAIN, **values)
        config.backbone = "tests.toys.backbone:Toy"
        section = {"objective": "tests.training.similar:build", "width": ToyConfig.width, "weight": 0.5}
        with config.unlocked():
            for name in ("model", "structure"):
                del config[name]
                config[name] = dataclasses.asdict(ToyConfig())
            config.alignment.mine = section | {"warmup_steps": 2, "off_when_similar": 0.9}
        return config

    return make


def test_a_run_that_was_killed_ends_like_one_that_was_not(scheduled, one_device, tmp_path):
    whole = train(scheduled(log_every=1), tmp_path / "whole", one_device)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "4")
    assert_same_bits(train(scheduled(log_every=1), tmp_path / "killed", one_device), whole)
    assert int(whole.running["mine"].measured) == 3
    lines = [read_metrics(tmp_path / name) for name in ("whole", "killed")]
    for name in ("loss", "weight/mine", "similarity/mine", "running_similarity/mine"):
        logged = [[line.get(name) for line in run] for run in lines]
        assert logged[0] == logged[1] and logged[0][-1] is not None
    assert [line["weight/mine"] for line in lines[0]] == [0.0, 0.25, 0.5, 0.5]
    # What samples knows nothing of it.
    assert set(load_params(tmp_path / "whole")[0]) == {"transformer", "mine_projector"}


def test_what_is_carried_lives_on_every_device(scheduled):
    config = scheduled()
    program = build_program(config, make_mesh({"data": 4, "fsdp": 2}), builders.build_stage(config))
    carried = jax.tree.leaves(program.state.running)
    assert [leaf.shape for leaf in carried] == [()] * 3
    assert all(leaf.sharding.is_fully_replicated and leaf.sharding.mesh == program.mesh for leaf in carried)


def test_a_sample_that_is_not_counted_is_a_0_whatever_its_value():
    term = Term(jnp.asarray([5.0, jnp.inf, 1.0]), jnp.asarray([False, False, True]))
    total, metrics = total_and_metrics({"x": (jnp.full(3, 2.0), term)}, PROCESS, None)
    assert total == pytest.approx(2.0 / 3)
    assert metrics["loss/x"].compute() == 1.0
