"""Identity is not trained on a dataset without a single face."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.data import builder
from sr_jax.data.faces import FaceCount
from sr_jax.data.pipeline import train_batches
from sr_jax.errors import UserError
from sr_jax.training.builders import build_stage
from sr_jax.training.faces import require_faces
from sr_jax.training.loop import train
from sr_jax.training.state import Progress
from tests.data.synthetic import write_synthetic_dataset


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    return write_synthetic_dataset(
        tmp_path_factory.mktemp("faceless"), clips=5, test_clips=2, faceless=5, latent_channels=4
    )


def test_the_start_says_how_many_clips_have_a_face(dataset, faceless, tiny, caplog):
    caplog.set_level(logging.INFO)
    require_faces(dataset, "train", build_stage(tiny("stage_one")))
    require_faces(faceless, "train", build_stage(tiny("base")))
    assert [line for line in caplog.messages if "faces:" in line] == [
        "faces: train: 4 of 6 clips and 8 of 12 latent frames have a face",
        "faces: train: 0 of 5 clips and 0 of 10 latent frames have a face; "
        "test: 2 of 2 clips and 4 of 4 latent frames have a face",
    ]


def test_stage_one_with_identity_refuses_a_dataset_without_faces(faceless, tiny, one_device, tmp_path):
    with pytest.raises(UserError, match=r"none of the 5 clips in the split 'train' of .* has a face, so identity"):
        train(tiny("stage_one", **{"data.dir": str(faceless)}), tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()
    identity_only = build_stage(tiny("stage_one", train_modules=("identity",)))
    with pytest.raises(UserError, match="none of the 5 clips"):
        require_faces(faceless, "train", identity_only)
    require_faces(faceless, "test", identity_only)


def test_stage_one_without_identity_reads_no_faces(faceless, tiny):
    stage = build_stage(tiny("stage_one", train_modules=("structure",)))
    require_faces(faceless, "train", stage)
    read = next(train_batches(faceless, fields=stage.fields, batch_size=2, seed=0))
    batch = {name: jnp.asarray(value) for name, value in read.items()}
    assert set(stage.draw({}, batch, jax.random.key(0), Progress(0, {}))) == {"latents", "depth_latent"}


def test_a_dataset_of_before_faces_were_counted_is_taken_as_it_is(faceless, tiny, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(builder, "FACES", "unknown")
    assert builder.read_faces(faceless) == {}
    require_faces(faceless, "train", build_stage(tiny("stage_one")))
    assert "faces: not counted when this dataset was prepared" in caplog.messages


def test_counts_add_up():
    count = FaceCount().with_clip(np.array([0.0, 1.0, 0.5])).with_clip(np.zeros(3))
    assert dataclasses.astuple(count) == (2, 1, 6, 2)
