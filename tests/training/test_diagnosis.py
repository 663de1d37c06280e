"""What `sr_jax.diagnose` measures, on the tiny runs of these tests."""

import dataclasses
import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.ablation.gradients import lengths_and_angles, measure_gradients
from sr_jax.ablation.readings import explained, load_stage, people_apart, read_identity, read_modules
from sr_jax.data.pipeline import eval_examples, train_batches
from sr_jax.diffusion.time_density import TimeDensity
from sr_jax.errors import UserError
from sr_jax.training.state import Progress

PEOPLE = ("a", "a", "b", "b", "c", "c")


@pytest.fixture(scope="module")
def labelled(dataset, tmp_path_factory):
    """The dataset, with the kept clips' index, which says who is seen."""
    folder = tmp_path_factory.mktemp("labelled") / "data"
    shutil.copytree(dataset, folder)
    index = folder / "clips" / "train"
    index.mkdir(parents=True)
    ids = [example["clip_id"] for example in eval_examples(folder, "train")]
    lines = [
        {"clip_id": name, "source": name, "labels": {"identity": who}} for name, who in zip(ids, PEOPLE, strict=True)
    ]
    (index / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def config(stage_two, labelled):
    return stage_two(**{"data.dir": str(labelled), "batch_size": 4, "image_dropout": 0.0, "text_dropout": 0.0})


def test_modules_read_clean_latents_as_they_are_and_predictions_of_noise(config, labelled):
    clean, noisy, again = read_modules(config, "train", clips=6, shares=(0.0, 0.9, 0.9))
    stage, _, frozen = load_stage(config)
    examples = list(eval_examples(labelled, "train", tuple(stage.fields)))
    latents, true = (np.stack([example[name] for example in examples]) for name in ("latent_mean", "depth_latent"))
    latents = jnp.asarray(latents)
    depth = stage.objectives.weighted["structure"].objective.module.apply(frozen["structure"], latents)
    faces = stage.objectives.weighted["identity"].objective.module.apply(frozen["identity"], latents, depth)
    target, mask = (np.stack([example[name] for example in examples]) for name in ("face_embedding", "face_mask"))
    assert clean["structure_loss"] == pytest.approx(np.square(np.asarray(depth) - true).mean(), rel=1e-4)
    cosine = (np.asarray(faces) * target).sum(axis=-1)[mask > 0].mean()
    assert clean["identity_cosine"] == pytest.approx(cosine, abs=1e-4)
    assert noisy == again and noisy["structure_loss"] != clean["structure_loss"]


def test_the_variance_that_is_explained_is_about_the_mean_of_each_channel():
    true = np.random.default_rng(0).normal(3.0, 2.0, (4, 2, 3, 3, 5))
    mean = np.broadcast_to(true.mean(axis=(0, 1, 2, 3)), true.shape)
    assert explained(true, true) == 1 and explained(mean, true) == pytest.approx(0, abs=1e-9)
    assert explained(0.5 * true + 0.5 * mean, true) == pytest.approx(0.75)


def test_people_are_apart_by_pairs_of_frames_of_two_clips():
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(5, 3, 4)) + 2 * rng.normal(size=(3, 4))[[0, 0, 1, 1, 2], None]
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    shown, people = rng.random((5, 3)) < 0.8, np.array([0, 0, 1, 1, 2])
    frames = [(clip, embeddings[clip, frame]) for clip in range(5) for frame in range(3) if shown[clip, frame]]
    pairs = [(i, j) for n, i in enumerate(frames) for j in frames[n + 1 :] if i[0] != j[0]]
    within = [1 - a @ b for (i, a), (j, b) in pairs if people[i] == people[j]]
    between = [1 - a @ b for (i, a), (j, b) in pairs if people[i] != people[j]]
    auc = np.mean([(w < b) + 0.5 * (w == b) for w in within for b in between])
    found = people_apart(embeddings, shown, people)
    expected = {
        "between": np.mean(between),
        "within": np.mean(within),
        "apart": np.mean(between) - np.mean(within),
        "auc": auc,
    }
    assert found == pytest.approx(expected)
    assert people_apart(embeddings, shown, np.arange(5))["auc"] is None


def test_the_identity_module_of_a_stage_one_is_read_with_true_depth(stage_one_run, labelled, base_run):
    found = read_identity(str(stage_one_run), str(labelled), "train", clips=6)
    assert found["clips"] == 6 and found["identity_loss"] > 0 and 0 <= found["auc"] <= 1
    with pytest.raises(UserError, match="holds no identity module"):
        read_identity(str(base_run), str(labelled), "train", clips=6)


def test_gradients_are_those_of_each_loss_alone_in_each_range_of_noise(config):
    [low, high] = measure_gradients(config, "train", batches=1, ranges=((0.0, 0.3), (0.7, 1.0)))
    assert (low["low"], high["high"]) == (0.0, 1.0) and low["norms"] != high["norms"]
    assert high["weights"] == {"denoising": 1.0, "structure": 0.01, "identity": 1.0}
    stage, params, frozen = load_stage(config)
    options = {"fields": tuple(stage.fields), "batch_size": config.batch_size, "seed": config.seed}
    batch = {name: jnp.float32(x) for name, x in next(train_batches(config.data.dir, **options)).items()}
    within = dataclasses.replace(stage, density=TimeDensity(least=0.7, largest=1.0))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    drawn = within.draw(frozen, batch, key, Progress(jnp.int32(0), stage.running))
    assert (drawn["times"] >= 699).all()

    def loss(transformer, name):
        metric = stage.loss(params | {"transformer": transformer}, frozen, drawn)[1][f"loss/{name}"]
        return metric.total / config.batch_size

    names = list(high["weights"])
    each = jax.jit(lambda transformer: [jax.grad(loss)(transformer, name) for name in names])(params["transformer"])
    gradients = np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in each])
    lengths = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose([high["norms"][name] for name in names], lengths, rtol=1e-3)
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        cosine = gradients[i] @ gradients[j] / lengths[i] / lengths[j]
        assert high["cosines"][f"{one}, {other}"] == pytest.approx(cosine, abs=1e-3)


def test_lengths_and_cosines_are_means_over_batches():
    vectors = np.random.default_rng(2).normal(size=(3, 2, 5))
    found = lengths_and_angles(vectors @ vectors.swapaxes(1, 2), ("a", "b"))
    lengths = np.linalg.norm(vectors, axis=-1)
    np.testing.assert_allclose([found["norms"]["a"], found["norms"]["b"]], lengths.mean(axis=0))
    cosines = [one @ other / length.prod() for (one, other), length in zip(vectors, lengths, strict=True)]
    assert found["cosines"] == pytest.approx({"a, b": np.mean(cosines)})
    assert lengths_and_angles(np.diag([1.0, 0.0])[None], ("a", "b"))["cosines"] == {"a, b": None}


def test_what_is_no_stage_two_is_refused(tiny, base_run):
    with pytest.raises(UserError, match="name a config of stage two"):
        load_stage(tiny("base", **{"init.transformer": str(base_run)}))
