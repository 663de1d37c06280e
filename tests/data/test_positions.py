"""Where a run is in its data when its batches change their size."""

import itertools

import numpy as np
import pytest

from sr_jax.data.pipeline import train_batches
from sr_jax.data.positions import Position
from sr_jax.errors import UserError
from tests.data.synthetic import write_synthetic_dataset


def _numbers(batches, count):
    return [next(batches)["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist() for _ in range(count)]


def test_batches_of_another_size_go_on_with_the_next_clip(tmp_path):
    write_synthetic_dataset(tmp_path, clips=11)
    stream = list(itertools.chain(*_numbers(train_batches(tmp_path, batch_size=1, seed=3), 60)))
    small = train_batches(tmp_path, batch_size=2, seed=3)
    assert np.ravel(_numbers(small, 7)).tolist() == stream[:14]
    large = train_batches(tmp_path, batch_size=5, seed=3)
    since = large.seek(7, Position(0, 2, [0]))
    assert since == Position(7, 5, [14])
    assert np.ravel(_numbers(large, 4)).tolist() == stream[14:34]
    # Resumed at the same size, and at a third.
    again = train_batches(tmp_path, batch_size=5, seed=3)
    assert again.seek(9, since) == since
    assert np.ravel(_numbers(again, 2)).tolist() == stream[24:34]
    third = train_batches(tmp_path, batch_size=3, seed=3)
    assert third.seek(11, since) == Position(11, 3, [34])
    assert np.ravel(_numbers(third, 3)).tolist() == stream[34:43]


@pytest.fixture(scope="module")
def three_sizes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    for name, clips in (("16x16", 3), ("16x24", 9), ("16x32", 5)):
        height, width = map(int, name.split("x"))
        write_synthetic_dataset(folder / name, clips=clips, height=height, width=width)
    return folder


def _taken(batches, count):
    """For each width the numbers of its clips in the next batches, in order."""
    taken = {}
    for batch in itertools.islice(batches, count):
        numbers = batch["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist()
        taken.setdefault(batch["latent_mean"].shape[3], []).extend(numbers)
    return taken


def test_each_size_goes_on_with_its_next_clip(three_sizes):
    streams = _taken(train_batches(three_sizes, batch_size=1, seed=0), 150)
    for steps in (1, 2, 5, 17):
        first = _taken(train_batches(three_sizes, batch_size=2, seed=0), steps)
        second = train_batches(three_sizes, batch_size=3, seed=0)
        since = second.seek(steps, Position(0, 2, [0, 0, 0]))
        assert since.clips == [len(first.get(width, [])) for width in (4, 6, 8)]
        for width, numbers in _taken(second, 12).items():
            whole = first.get(width, []) + numbers
            assert whole == streams[width][: len(whole)]


def test_a_size_with_fewer_clips_than_a_batch_is_left_out_and_named(three_sizes, caplog):
    batches = train_batches(three_sizes, batch_size=4, seed=0)
    assert [folder.name for folder in batches.folders] == ["16x24", "16x32"]
    assert [record.message for record in caplog.records] == [
        f"split 'train' of {three_sizes / '16x16'} has 3 clips, fewer than one batch of 4: they are left out"
    ]
    taken = _taken(batches, 28)
    assert {width: len(numbers) for width, numbers in taken.items()} == {6: 18 * 4, 8: 10 * 4}
    # With smaller batches it comes in, at its first clip.
    smaller = train_batches(three_sizes, batch_size=2, seed=0)
    assert smaller.seek(28, Position(0, 4, [0, 0, 0])).clips == [0, 72, 40]
    with pytest.raises(UserError, match=r"16x16 has 3 clips, fewer than .*16x24 has 9 .*16x32 has 5 clips, fewer than"):
        train_batches(three_sizes, batch_size=10, seed=0)
