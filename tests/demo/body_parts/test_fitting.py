import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.configs.body_parts import get_config
from sr_jax.configs.sections import SMALL_BODY_PARTS
from sr_jax.demo.body_parts.fitting import PartExamples, fit_body_parts, mirrored, part_metrics, part_weights
from sr_jax.demo.body_parts.judge import SmallBodyPartJudge
from sr_jax.demo.body_parts.network import BodyPartConfig, BodyPartNetwork, cross_entropy
from sr_jax.demo.people.parts import PARTS
from sr_jax.errors import UserError
from sr_jax.media.video import write_video
from sr_jax.registry import find

HEIGHT, WIDTH, FRAMES = 24, 16, 3


def _clip(seed):
    """A round head over a square torso and a hand on its right, each of its own brightness, somewhere on a wall."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    maps = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    for frame in maps:
        y, x = rng.uniform(5, 8), rng.uniform(5, 9)
        frame[(abs(rows - y - 8) < 5) & (abs(columns - x) < 3)] = 1 + PARTS.index("torso")
        frame[(abs(rows - y - 8) < 2) & (abs(columns - x + 4) < 2)] = 1 + PARTS.index("right hand")
        frame[(rows - y) ** 2 + (columns - x) ** 2 < 12] = 1 + PARTS.index("head")
    shades = np.array([60, 220, 120, *[0] * 6, 250, 0])
    return np.repeat(shades[maps][..., None] + rng.normal(0, 3, (*maps.shape, 3)), 1, axis=-1).astype(np.uint8), maps


def _write(folder, count, first):
    folder.mkdir(parents=True)
    for number in range(count):
        frames, maps = _clip(first + number)
        write_video(folder / f"{number}.mp4", frames, 8.0, lossless=True)
        np.savez(folder / f"{number}.parts.npz", parts=maps)
        labels = {"identity": number, "face_boxes": [[0, 0, 1, 1]] * FRAMES, "face_visible": [True] * FRAMES}
        (folder / f"{number}.json").write_text(json.dumps(labels))


def _config(**changes):
    config = get_config()
    config.network.update(width=16, blocks=1)
    config.schedule.update(steps=50, batch_size=8, learning_rate=1e-2)
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    _write(folder / "train", 12, 0)
    _write(folder / "test", 3, 100)
    return folder


def test_a_fitted_judge_finds_the_parts_of_new_clips(videos, tmp_path):
    metrics = fit_body_parts(_config(), videos, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["iou head"] > 0.7 and metrics["iou torso"] > 0.7 and metrics["accuracy"] > 0.9
    judge = find("judge", SMALL_BODY_PARTS, package="", attribute="")(
        {"name": "", "path": tmp_path / "body_parts.safetensors"}
    )
    assert judge.parts == PARTS and judge.weight_hash == metrics["weight_hash"]
    frames, maps = _clip(200)
    # Frames whose sides are no multiples of 4 are filled up, and more than one call of the network joined.
    many = np.tile(frames[:, : HEIGHT - 1, : WIDTH - 3], (22, 1, 1, 1))
    read = judge(many)
    assert read.shape == many.shape[:3] and (read[:FRAMES] == maps[:, : HEIGHT - 1, : WIDTH - 3]).mean() > 0.85
    np.testing.assert_array_equal(read[-FRAMES:], read[:FRAMES])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda path: path.unlink(), r"no .*1\.parts\.npz: render the clips anew"),
        (lambda path: path.write_bytes(b"PK"), r"cannot read .*1\.parts\.npz"),
        (lambda path: np.savez(path, parts=np.full((FRAMES, HEIGHT, WIDTH), 11, np.uint8)), "one of 10 parts"),
        (lambda path: np.savez(path, parts=np.zeros((FRAMES, HEIGHT, 4), np.uint8)), "one of 10 parts"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path, broken, message):
    for split in ("train", "test"):
        _write(tmp_path / split, 2, 0)
    broken(tmp_path / "train" / "1.parts.npz")
    with pytest.raises(UserError, match=message):
        fit_body_parts(_config(), tmp_path, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_a_mirrored_left_hand_is_a_right_hand():
    maps = np.zeros((64, 4, 4), np.uint8)
    maps[:, 0, 0], maps[:, 1, 1] = 1 + PARTS.index("left hand"), 1 + PARTS.index("head")
    images = np.tile(np.linspace(-1, 1, 4)[None, None, :, None], (64, 4, 1, 3))
    flipped, theirs = map(np.asarray, mirrored(jnp.asarray(images), jnp.asarray(maps), jax.random.key(0)))
    was = flipped[:, 0, 0, 0] > 0
    assert 16 < was.sum() < 48
    assert (theirs[was, 0, 3] == 1 + PARTS.index("right hand")).all() and (theirs[was, 1, 2] == 1).all()
    np.testing.assert_array_equal(theirs[~was], maps[~was])


def test_the_loss_is_the_weighted_mean_of_log_likelihoods():
    rng = np.random.default_rng(0)
    logits, maps = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 5, (2, 3, 4)).astype(np.uint8)
    weights = rng.random(5).astype(np.float32)
    likelihood = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    chosen = np.array([likelihood[place][maps[place]] for place in np.ndindex(maps.shape)])
    expected = -np.average(chosen, weights=weights[maps.reshape(-1)])
    ours = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(maps), jnp.asarray(weights))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    counts = part_weights(np.array([[[0] * 16 + [1] * 4]], np.uint8), 2)
    np.testing.assert_allclose([counts[1] / counts[0], counts[2], 0.8 * counts[0] + 0.2 * counts[1]], [2, 0, 1])


def test_metrics_are_of_the_parts_that_there_are():
    maps = np.zeros((2, 4, 4), np.uint8)
    maps[:, :2], maps[:, 3] = 1, 3

    class Judge:
        name, weight_hash, parts = "all but one row", "0", ("a", "b", "c")

        def __call__(self, frames):
            found = maps.copy()
            found[:, 0] = 0
            return found

    metrics = part_metrics(Judge(), PartExamples(np.zeros((2, 4, 4, 3), np.uint8), maps))
    assert metrics == {"accuracy": 0.75, "iou": 0.75, "iou a": 0.5, "iou c": 1.0}


def test_a_pixel_sees_its_surroundings_and_every_parameter_names_its_axes():
    network = BodyPartNetwork(BodyPartConfig(8, 2, ("a", "b")), rngs=nnx.Rngs(0))
    for path, variable in nnx.to_flat_state(nnx.state(network, nnx.Param)):
        assert len(variable.get_metadata("logical_axes")) == variable[...].ndim, path
    for block in network.blocks:
        block.second.kernel[...] = jax.random.normal(jax.random.key(1), block.second.kernel.shape)
    image = jnp.zeros((1, 32, 40, 3))
    both = jnp.concatenate([image.at[0, 13, 22].set(1.0), image])
    changed = jnp.diff(nnx.jit(lambda network, images: network(images))(network, both), axis=0)
    assert changed.shape == (1, 32, 40, 3)
    rows, columns = np.nonzero(np.abs(np.asarray(changed[0])).max(axis=-1))
    assert rows.min() < 6 and rows.max() > 20 and columns.min() < 14 and columns.max() > 30


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="no network at"):
        SmallBodyPartJudge.load(tmp_path / "none.safetensors")
