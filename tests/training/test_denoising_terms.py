"""The denoising loss as it is trained on: weights of noise and of faces, in a stage and against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.alignment.structure import Structure
from sr_jax.alignment.weights import WeightSchedule
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.configs import base, stage_one
from sr_jax.data.pipeline import train_batches
from sr_jax.diffusion.box_weights import BoxWeights
from sr_jax.diffusion.time_density import TimeDensity
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.training.builders import build_stage
from sr_jax.training.denoising import Denoising
from sr_jax.training.denoising_terms import DenoisingTerms
from sr_jax.training.faces import require_faces
from sr_jax.training.objectives import Objectives, Weighted
from sr_jax.training.state import Progress
from tests.data.synthetic import write_synthetic_dataset
from tests.models.tiny_transformers import ROPE
from tests.toys.backbone import Toy, ToyConfig
from tests.training.helpers import batch_loss

SHAPE = (3, 3, 4, 6, 2)
PROCESS = VPrediction()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.5, (3, 3, 2))
    boxes = np.concatenate([corners, corners + 0.4], axis=-1)
    # No face in clip 1; in clip 2 only in the second frame. What stands in place of a box must not matter.
    mask = np.array([[1, 1, 1], [0, 0, 0], [0, 1, 0]], np.float32)
    records = {"face_boxes": jnp.asarray(boxes, jnp.float32), "face_mask": jnp.asarray(mask)}
    return rng.normal(size=(2, *SHAPE)).astype(np.float32), records, jnp.asarray([10, 500, 900])


def _expected(error, boxes, mask, inside, outside, *, added=0, given=0):
    """Loops over places; frames in front have the weights of the first one."""
    height, width = error.shape[2:4]
    values = []
    for sample in range(len(error)):
        total = weighted = 0.0
        for frame in range(given, error.shape[1]):
            of = max(frame - added, 0)
            x0, y0, x1, y1 = np.asarray(boxes[sample, of], np.float64) if mask[sample, of] else np.zeros(4)
            for row, column in np.ndindex(height, width):
                across = max(min(x1 * width, column + 1) - max(x0 * width, column), 0)
                down = max(min(y1 * height, row + 1) - max(y0 * height, row), 0)
                weight = outside + (inside - outside) * across * down
                total += weight
                weighted += weight * np.mean(error[sample, frame, row, column] ** 2)
        values.append(weighted / total if total else 0.0)
    return values


@pytest.mark.parametrize(("inside", "outside"), [(10.0, 1.0), (1.0, 0.0), (0.0, 1.0), (3.0, 0.5)])
@pytest.mark.parametrize(("added", "given"), [(0, 0), (1, 0), (0, 1)])
def test_weights_of_faces(arrays, inside, outside, added, given):
    (prediction, target), records, times = arrays
    prediction, target = (np.concatenate([x[:, :1]] * added + [x], axis=1) for x in (prediction, target))
    backbone = Toy(ToyConfig())
    # With one in front the 3 frames are two patches.
    backbone.patch, backbone.given_frames = (1 + added, 1, 1), given
    terms = DenoisingTerms(face_weights=BoxWeights(inside, outside))(
        jnp.asarray(prediction), jnp.asarray(target), times, records, process=PROCESS, backbone=backbone
    )
    error = prediction.astype(np.float64) - target
    weight, plain = terms["denoising"]
    assert not weight.any() and bool(plain.counted.all())
    np.testing.assert_allclose(plain.value, (error[:, given:] ** 2).mean(axis=(1, 2, 3, 4)), rtol=1e-5)
    weight, weighted = terms["denoising_faces"]
    mask = np.asarray(records["face_mask"])
    expected = _expected(error, records["face_boxes"], mask, inside, outside, added=added, given=given)
    np.testing.assert_array_equal(weight, 1.0)
    np.testing.assert_allclose(weighted.value, expected, rtol=2e-5)
    np.testing.assert_array_equal(weighted.counted, [True, outside > 0, True])
    # A clip without a face has the plain loss.
    np.testing.assert_allclose(weighted.value[1], plain.value[1] if outside else 0.0, rtol=1e-5)


def _none(rngs):
    """In the place of a network's parameters, which a stand-in does not read."""
    return nnx.Linear(1, 1, rngs=rngs)


class Scaled(Functional):
    """A transformer that predicts a multiple of its noisy latents."""

    def apply(self, params, inputs, text, times, taps=()):
        return params["scale"] * inputs, {}


class Reader(Functional):
    """A structure module that reads latents as they are."""

    def apply(self, params, latents, times=None):
        assert times is not None
        return latents


def _stage(channels=2, **options):
    backbone = CogVideoX(dataclasses.replace(ROPE, in_channels=channels, out_channels=channels))
    objectives = {
        "structure": Weighted(WeightSchedule(0.5), Structure(Reader(_none), backbone, False, "noisy", PROCESS))
    }
    return Denoising(backbone, Scaled(_none), PROCESS, Objectives(objectives), {}, 0.0, 0.0, dict, **options)


def _batch(records):
    rng = np.random.default_rng(1)
    mean = rng.normal(size=SHAPE).astype(np.float32)
    arrays = {
        "latent_mean": mean,
        "latent_std": np.zeros_like(mean),
        "depth_latent": rng.normal(size=SHAPE).astype(np.float32),
        "text_embedding": np.zeros((3, 5, 10), np.float32),
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()} | records


def test_a_stage_trains_on_what_is_weighted_and_logs_what_is_not(arrays):
    _, records, _ = arrays
    density = TimeDensity("logit_normal", mean=1.0, least=0.3, largest=0.9)
    stage = _stage(density=density, denoising=DenoisingTerms(5.0, BoxWeights(10.0, 1.0)))
    assert {"face_boxes", "face_mask", "depth_latent"} <= stage.fields.keys()
    key, params = jax.random.key(0), {"transformer": {"scale": jnp.float32(0.7)}}
    drawn = stage.draw({}, _batch(records), key, Progress(jnp.int32(0), {}))
    times = np.asarray(drawn["times"])
    assert times.min() >= 300 and times.max() < 900 and len(set(times)) == 3
    total, metrics = stage.loss(params, {"structure": {}}, drawn)

    alphas = PROCESS.alphas_cumprod[times][:, None, None, None, None]
    signal, noise = np.sqrt(alphas), np.sqrt(1 - alphas)
    z0, eps = (np.asarray(drawn[name], np.float64) for name in ("latents", "noise"))
    noisy = signal * z0 + noise * eps
    error = 0.7 * noisy - (signal * eps - noise * z0)
    faces = _expected(error, records["face_boxes"], np.asarray(records["face_mask"]), 10.0, 1.0)
    snr = (alphas / (1 - alphas)).ravel()
    again = signal * (signal * noisy - noise * 0.7 * noisy) + noise * eps
    depth = np.asarray(drawn["records"]["depth_latent"], np.float64)
    structure = np.mean((again - depth) ** 2)
    np.testing.assert_allclose(total, np.mean(np.minimum(snr, 5) / (snr + 1) * faces) + 0.5 * structure, rtol=1e-5)
    # The log knows no weight of the noise, and the plain loss is there as ever.
    np.testing.assert_allclose(metrics["loss/denoising_faces"].compute(), np.mean(faces), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/denoising"].compute(), np.mean(error**2), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/structure"].compute(), structure, rtol=1e-5)


def test_the_noisy_variant_trains_the_transformer(arrays):
    stage, params = _stage(), {"transformer": {"scale": jnp.float32(0.7)}}
    assert "face_boxes" not in stage.fields

    def structure(params):
        return batch_loss(stage)(params, {"structure": {}}, _batch({}), jax.random.key(0))[1][
            "loss/structure"
        ].compute()

    gradient = jax.grad(structure)(params)["transformer"]["scale"]
    ahead, behind = (structure({"transformer": {"scale": jnp.float32(0.7 + step)}}) for step in (0.02, -0.02))
    np.testing.assert_allclose(gradient, (ahead - behind) / 0.04, rtol=1e-2)
    assert abs(gradient) > 1e-2


def test_a_dataset_has_to_have_boxes_and_faces(tiny, dataset, tmp_path):
    stage = build_stage(tiny("base", **{"denoising.face_weight": 10.0}))
    with pytest.raises(
        UserError, match=r"no field 'face_boxes': prepare the videos again with config\.face_boxes=True"
    ):
        train_batches(dataset, fields=stage.fields, batch_size=2, seed=0)
    data = write_synthetic_dataset(tmp_path, clips=2, faceless=2, latent_channels=4, more_fields={"face_boxes": "t 4"})
    with pytest.raises(UserError, match="a weight of faces, would be trained on nothing"):
        require_faces(data, "train", stage)
    batch = next(train_batches(data, fields=stage.fields, batch_size=2, seed=0))
    assert batch["face_boxes"].shape == (2, 2, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"denoising.face_weight": 0.0, "denoising.outside_weight": 0.0}, "face_weight=0.0 and outside_weight=0.0"),
        ({"times.least": 0.6, "times.largest": 0.5}, "least=0.6 and largest=0.5"),
    ],
)
def test_sections_that_contradict_themselves_are_refused(tiny, values, message):
    with pytest.raises(UserError, match=message):
        build_stage(tiny("base", **values))


def test_sections_reach_the_stage(tiny):
    values = {"times.density": "logit_normal", "times.shift": 3.0, "times.stratified": False}
    density = TimeDensity("logit_normal", shift=3.0, stratified=False)
    assert build_stage(tiny("base", **values)).density == density
    assert build_stage(tiny("stage_one", **values)).density == density
    assert build_stage(tiny("base")).denoising == DenoisingTerms()
    values = {"denoising.min_snr_gamma": 5.0, "denoising.outside_weight": 0.0}
    assert build_stage(tiny("base", **values)).denoising == DenoisingTerms(5.0, BoxWeights(1.0, 0.0))
    assert TimeDensity(**stage_one.get_config("tiny").times) == TimeDensity()
    assert DenoisingTerms.of(base.get_config("tiny").denoising.to_dict()) == DenoisingTerms()
