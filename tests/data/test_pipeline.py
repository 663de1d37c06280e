import numpy as np
import pytest
import tensorflow_datasets as tfds

from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.pipeline import eval_examples, train_batches
from sr_jax.data.positions import Position
from sr_jax.errors import UserError
from tests.data.synthetic import random_records, record_spec, write_synthetic_dataset


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), clips=11, test_clips=3)


def _numbers(iterator, batches):
    """The records' numbers in the next `batches` batches."""
    return [next(iterator)["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist() for _ in range(batches)]


def test_batches_hold_the_records(data_dir):
    batch = next(train_batches(data_dir, batch_size=4, seed=0))
    spec = record_spec()
    records = random_records(spec, clips=11)
    assert set(batch) == set(CORE_FIELDS)
    for name, shape in spec.array_shapes().items():
        assert batch[name].shape == (4, *shape)
        assert batch[name].dtype == np.float32
        for row, number in zip(batch[name], batch["latent_mean"][:, 0, 0, 0, 0].astype(int), strict=True):
            np.testing.assert_array_equal(row, records[number][name].astype(np.float32))


def test_the_fields_asked_for_are_read_and_no_others(tmp_path, monkeypatch):
    # Of shapes that no other test reads: threads of other tests may still read ahead.
    options = {"frames": 9, "height": 20, "noisy_images": 6, "text_shape": (5, 9)}
    options["more_fields"] = {"grid": "t h w", "face_boxes": "t 4"}
    write_synthetic_dataset(tmp_path, clips=4, **options)
    spec = record_spec(**options)
    assert builder.read_spec(tmp_path) == spec
    records = {record["grid"].tobytes(): record for record in random_records(spec, clips=4)}
    decoded = set()
    decode = tfds.features.Tensor.decode_example_np
    monkeypatch.setattr(
        tfds.features.Tensor, "decode_example_np", lambda self, data: decoded.add(self.shape) or decode(self, data)
    )
    batch = next(train_batches(tmp_path, fields=("grid", "face_mask"), batch_size=4, seed=0))
    assert list(batch) == ["grid", "face_mask"]
    assert decoded & set(spec.array_shapes().values()) == {(3, 5, 4), (3,)}
    assert {array.dtype for array in batch.values()} == {np.dtype(np.float16)}
    for grid, mask in zip(*batch.values(), strict=True):
        np.testing.assert_array_equal(mask, records.pop(grid.tobytes())["face_mask"])


def test_unless_fields_are_asked_for_the_core_ones_are_read(tmp_path):
    write_synthetic_dataset(tmp_path, clips=2, more_fields={"grid": "t h w"})
    assert set(next(train_batches(tmp_path, batch_size=2, seed=0))) == set(CORE_FIELDS)


def test_examples_hold_the_fields_asked_for(data_dir):
    example = next(eval_examples(data_dir, "test", ("text_embedding",)))
    assert set(example) == {"text_embedding", "clip_id", "prompt", "source", "fps", "source_first_frame"}
    assert example["text_embedding"].dtype == np.float32


def test_a_field_that_no_teacher_wrote_is_named(data_dir):
    message = (
        rf"^the records in {data_dir} have no field 'tokens': prepare the videos again with the teacher that writes it "
        r"\(config\.features of configs/prepare\.py\)$"
    )
    with pytest.raises(UserError, match=message):
        train_batches(data_dir, fields=("latent_mean", "tokens"), batch_size=2, seed=0)
    with pytest.raises(UserError, match=message):
        eval_examples(data_dir, "test", ("tokens",))


def test_every_epoch_is_a_new_shuffle_of_all_clips(data_dir):
    batches = _numbers(train_batches(data_dir, batch_size=4, seed=0), 11)
    seen = [number for batch in batches for number in batch]
    epochs = [seen[start : start + 11] for start in range(0, 44, 11)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert _numbers(train_batches(data_dir, batch_size=4, seed=1), 3) != batches[:3]
    assert _numbers(train_batches(data_dir, batch_size=4, seed=0), 3) == batches[:3]


def test_resume_is_exact(data_dir):
    iterator = train_batches(data_dir, batch_size=3, seed=5)
    _numbers(iterator, 4)
    expected = _numbers(iterator, 6)
    other = train_batches(data_dir, batch_size=3, seed=5)
    for since in (None, Position(0, 3, [0])):
        assert other.seek(4, since) == Position(0, 3, [0])
        assert _numbers(other, 6) == expected


@pytest.mark.parametrize("parts", [[[0, 1], [2, 3]], [[0], [1, 3], [2]], [[0, 1, 2, 3], [2]]])
def test_rows_are_those_of_the_global_batches(data_dir, parts):
    alone = _numbers(train_batches(data_dir, batch_size=4, seed=2), 8)
    for rows in parts:
        read = _numbers(train_batches(data_dir, batch_size=4, seed=2, rows=rows), 8)
        assert read == [[batch[row] for row in rows] for batch in alone]
        later = train_batches(data_dir, batch_size=4, seed=2, rows=rows)
        later.seek(5)
        assert _numbers(later, 3) == read[5:]


def test_eval_examples_have_text_and_every_clip_once(data_dir):
    examples = list(eval_examples(data_dir, "test"))
    assert sorted(example["clip_id"] for example in examples) == ["held_out000", "held_out001", "held_out002"]
    for example in examples:
        number = int(example["clip_id"][-3:])
        assert example["prompt"] == f"a person, number {number}"
        assert example["latent_mean"][0, 0, 0, 0] == number
        assert example["image_latents"].dtype == np.float32
        assert example["fps"] == 8.0


def test_bad_requests_have_clear_errors(data_dir, tmp_path):
    with pytest.raises(UserError, match="no dataset in"):
        train_batches(tmp_path, batch_size=2, seed=0)
    with pytest.raises(UserError, match="no dataset in"):
        eval_examples(tmp_path, "test")
    with pytest.raises(UserError, match="11 clips, fewer than one batch of 12"):
        train_batches(data_dir, batch_size=12, seed=0)
    with pytest.raises(UserError, match="batch size 0 is not positive"):
        train_batches(data_dir, batch_size=0, seed=0)


def test_every_batch_has_one_size(tmp_path):
    write_synthetic_dataset(tmp_path / "16x24", clips=12, height=16, width=24)
    write_synthetic_dataset(tmp_path / "24x16", clips=4, height=24, width=16, seed=1)
    batches = train_batches(tmp_path, batch_size=2, seed=0)
    taken = [next(batches)["latent_mean"] for _ in range(16)]
    shapes = [batch.shape[2:4] for batch in taken]
    wide, tall = max(set(shapes), key=shapes.count), min(set(shapes), key=shapes.count)
    assert (shapes.count(wide), shapes.count(tall)) == (12, 4)
    assert wide[0] < wide[1] and tall[0] > tall[1]
    for shape, epochs in ((wide, 2), (tall, 2)):
        seen = [int(row[0, 0, 0, 0]) for batch in taken if batch.shape[2:4] == shape for row in batch]
        assert sorted(seen) == sorted([*range(len(seen) // epochs)] * epochs)
    again = train_batches(tmp_path, batch_size=2, seed=0)
    again.seek(7)
    np.testing.assert_array_equal(next(again)["latent_mean"], taken[7])
    halves = [next(train_batches(tmp_path, batch_size=2, seed=0, rows=[row])) for row in (0, 1)]
    rows = np.concatenate([half["latent_mean"] for half in halves])
    np.testing.assert_array_equal(rows, taken[0])
    with pytest.raises(UserError, match="holds clips of several sizes: name one of"):
        next(eval_examples(tmp_path, "train"))


def test_a_size_that_only_another_split_has_is_passed_over(tmp_path):
    write_synthetic_dataset(tmp_path / "16x24", clips=4, height=16, width=24)
    write_synthetic_dataset(tmp_path / "24x16", clips=0, test_clips=3, height=24, width=16)
    batches = train_batches(tmp_path, batch_size=2, seed=0)
    assert {next(batches)["latent_mean"].shape[2:4] for _ in range(6)} == {(4, 6)}
    assert builder.count_clips(tmp_path, "train") == [4]
    assert builder.count_clips(tmp_path, "test") == [3]
    with pytest.raises(UserError, match=r"has no split 'valid': it has \['test', 'train'\]"):
        train_batches(tmp_path, split="valid", batch_size=2, seed=0)
