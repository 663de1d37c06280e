import dataclasses

import numpy as np
import pytest

from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.records import Provenance, RecordSpec
from tests.data.synthetic import provenance, record_spec


@pytest.mark.parametrize("frames,height,width,latents", [(13, 64, 48, (4, 16, 12)), (49, 480, 720, (13, 120, 180))])
def test_shapes_of_a_record(frames, height, width, latents):
    shapes = record_spec(frames=frames, height=height, width=width, noisy_images=4, embedding_dim=64).array_shapes()
    assert list(shapes) == list(CORE_FIELDS)
    assert shapes["latent_mean"] == shapes["latent_std"] == shapes["depth_latent"] == (*latents, 16)
    assert shapes["image_latents"] == (5, 1, *latents[1:], 16)
    assert shapes["face_embedding"] == (latents[0], 64)
    assert shapes["face_mask"] == (latents[0],)


def test_a_spec_of_arrays():
    spec = record_spec(noisy_images=4, embedding_dim=64, text_shape=(7, 5))
    assert RecordSpec.of(CORE_FIELDS, spec.array_shapes()) == spec
    assert (spec.latent_shape, spec.noisy_images) == ((2, 4, 4, 16), 4)
    assert (spec.embedding_dim, spec.text_shape) == (64, (7, 5))


def test_to_float16_checks_shape_and_range():
    spec = record_spec()
    arrays = {name: np.full(shape, 0.25) for name, shape in spec.array_shapes().items()}
    stored = spec.to_float16(arrays)
    assert all(array.dtype == np.float16 for array in stored.values())
    np.testing.assert_array_equal(stored["latent_mean"], arrays["latent_mean"])
    with pytest.raises(ValueError, match="face_mask has shape"):
        spec.to_float16(arrays | {"face_mask": np.zeros(7)})
    with pytest.raises(ValueError, match="depth_latent holds values"):
        spec.to_float16(arrays | {"depth_latent": arrays["depth_latent"] * 1e6})


def test_provenance_round_trip_and_differences():
    made = provenance()
    assert Provenance.from_json(made.to_json()) == made
    assert made.differences(provenance()) == []
    assert made.differences(provenance(weight_hash="c1", scaling_factor=0.7)) == [
        "codec.scaling_factor: dataset has 1.0, expected 0.7",
        "codec.weight_hash: dataset has 'c0', expected 'c1'",
    ]
    with pytest.raises(ValueError, match="not a provenance"):
        Provenance.from_json('{"codec": {}}')


def _of_size(**size):
    made = provenance()
    clip = {name: value for name, value in made.clip.items() if name not in ("height", "width")}
    return Provenance(made.codec, made.teachers, clip | size, made.software_version)


def test_some_of_the_expected_sizes_are_no_difference():
    several = _of_size(sizes=["16x24", "24x16"])
    assert several.sizes == [(16, 24), (24, 16)] and _of_size(height=16, width=24).sizes == [(16, 24)]
    assert several.differences(several) == []
    assert _of_size(height=24, width=16).differences(several) == []
    assert _of_size(sizes=["24x16"]).differences(several) == []
    assert "clip.height: dataset has 24, expected None" in _of_size(height=24, width=24).differences(several)
    assert "clip.height: dataset has None, expected 16" in several.differences(_of_size(height=16, width=24))


def test_fields_of_a_further_teacher_are_no_difference_to_what_does_without():
    made = provenance()
    more = dataclasses.replace(made, teachers=made.teachers | {"tokens": {"name": "some", "weight_hash": "t1"}})
    assert more.differences(made) == []
    assert made.differences(more) == [
        "teachers.tokens.name: dataset has None, expected 'some'",
        "teachers.tokens.weight_hash: dataset has None, expected 't1'",
    ]


def test_software_version_is_no_difference():
    made = provenance()
    other = Provenance(made.codec, made.teachers, made.clip, software_version="9.9")
    assert made.differences(other) == []


def test_what_an_older_version_did_not_write_down_is_no_difference():
    old, new = provenance(), provenance(image_condition_factor=2.0)
    assert old.differences(new) == new.differences(old) == []
    assert new.differences(provenance(image_condition_factor=1.0)) == [
        "codec.image_condition_factor: dataset has 2.0, expected 1.0"
    ]
