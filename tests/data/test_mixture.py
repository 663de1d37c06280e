"""Several datasets in one run: which clips come, how often, and which datasets may be trained on together."""

import collections
import dataclasses
import itertools
from pathlib import Path

import grain
import numpy as np
import pytest

from sr_jax.data import mixture
from sr_jax.data.contents import change, contents
from sr_jax.data.faces import FaceCount
from sr_jax.data.groups import Group, Part, require_a_batch
from sr_jax.data.mixture import Mixture
from sr_jax.data.pipeline import TrainBatches, train_batches
from sr_jax.data.positions import Position
from sr_jax.data.skipping import WithoutDamaged
from sr_jax.data.writing import write_dataset
from sr_jax.errors import UserError
from tests.data.synthetic import by_id, empty_prompt, provenance, random_records, record_spec, write_synthetic_dataset


class _InMemory(WithoutDamaged):
    """Clips of which each is the places of its dataset and shape, and its number."""

    def __init__(self, dataset, shape, count):
        self._clips = [{"clip": np.array([dataset, shape, number])} for number in range(count)]

    def __len__(self):
        return len(self._clips)

    def __getitem__(self, index):
        return self._clips[index]


def _groups(shapes, **amounts):
    """The groups of datasets in memory.

    Args:
        shapes: For each shape, how many clips each dataset has of it.
        **amounts: Repeats or shares of the datasets.
    """
    clips = np.sum(shapes, axis=0).tolist()
    folders = tuple(Path(f"d{dataset}") for dataset in range(len(clips)))
    factors = Mixture(folders, **amounts).factors(clips)
    return [
        Group(
            [
                Part(folders[dataset], _InMemory(dataset, shape, count), factors[dataset])
                for dataset, count in enumerate(row)
                if count
            ]
        )
        for shape, row in enumerate(shapes)
    ]


def _batches(shapes, *, batch_size, seed=0, **amounts):
    """Batches of the clips of `_groups`."""
    return TrainBatches(
        Mixture((Path("d0"),)),
        _groups(shapes, **amounts),
        dict,
        batch_size=batch_size,
        seed=seed,
        rows=range(batch_size),
        options=grain.ReadOptions(num_threads=2, prefetch_buffer_size=4),
        max_damaged=0.0,
    )


def _taken(batches, count):
    return [list(map(tuple, batch["clip"].tolist())) for batch in itertools.islice(batches, count)]


@pytest.mark.parametrize(
    ("batch_size", "amounts", "part"),
    [
        (5, {}, 3 / 14),
        (4, {"repeats": (1.0, 4.0)}, 12 / 23),
        (5, {"repeats": (0.5, 2.5)}, 7.5 / 13),
        (6, {"shares": (0.7, 0.3)}, 0.3),
        (4, {"shares": (1.0, 9.0)}, 0.9),
    ],
)
def test_each_dataset_has_its_part_of_the_batches_and_each_of_its_clips_comes_equally_often(batch_size, amounts, part):
    batches = _taken(_batches([[11, 3]], batch_size=batch_size, **amounts), 40)
    clips = list(itertools.chain(*batches))
    counts = collections.Counter(clips)
    of_second = sum(count for (dataset, _, _), count in counts.items() if dataset == 1)
    # Grain keeps proportions to a hundredth of the smallest.
    assert abs(of_second - part * len(clips)) <= 0.01 * len(clips) + 1
    for dataset, number in enumerate((11, 3)):
        each = [counts[dataset, 0, place] for place in range(number)]
        assert max(each) - min(each) <= 1
    # They share batches, as evenly as may be.
    in_batches = [sum(dataset == 1 for dataset, _, _ in batch) for batch in batches]
    assert max(in_batches) - min(in_batches) <= 1


def test_shapes_come_as_often_as_their_clips_of_all_datasets():
    batches = _batches([[6, 0], [2, 3]], batch_size=2, repeats=(1.0, 2.0))
    assert batches.described() == [
        "d0: 6 clips, 42.9% of the batches",
        "d0: 2 clips, 14.3% of the batches",
        "d1: 3 clips, 42.9% of the batches",
    ]
    taken = _taken(batches, 56)
    assert all(len({shape for _, shape, _ in batch}) == 1 for batch in taken)
    # Of 14 they count as 6, 2 and twice 3.
    counts = collections.Counter((shape, dataset) for batch in taken for dataset, shape, _ in batch)
    assert all(abs(counts[key] - expected) <= 2 for key, expected in {(0, 0): 48, (1, 0): 16, (1, 1): 48}.items())


def test_batches_are_the_same_for_whoever_goes_on():
    shapes, amounts = [[6, 0], [2, 3]], {"shares": (2.0, 1.0)}
    taken = _taken(_batches(shapes, batch_size=2, **amounts), 40)
    assert taken[:9] != _taken(_batches(shapes, batch_size=2, seed=1, **amounts), 9)
    again = _batches(shapes, batch_size=2, **amounts)
    since = again.seek(23)
    assert since == Position(0, 2, [0, 0]) and _taken(again, 17) == taken[23:]

    # With batches of another size each shape goes on with its next clip.
    def stream(batches, shape):
        return [clip for batch in batches for clip in batch if clip[1] == shape]

    larger = _batches(shapes, batch_size=3, **amounts)
    assert larger.seek(23, since).clips == [len(stream(taken[:23], shape)) for shape in (0, 1)]
    after = taken[:23] + _taken(larger, 9)
    for shape in (0, 1):
        clips, whole = stream(after, shape), stream(taken, shape)
        assert len(clips) > len(stream(taken[:23], shape)) and clips == whole[: len(clips)]


def test_few_clips_come_with_those_of_other_datasets_or_repeated(caplog):
    require_a_batch(_groups([[11, 3]]), "train", 5)
    require_a_batch(_groups([[3]], repeats=(2.0,)), "train", 5)
    # However little of a shape is trained on, there are as many clips of it as a batch has.
    require_a_batch(_groups([[5, 0], [0, 5]], shares=(1.0, 9.0)), "train", 5)
    assert not caplog.records
    with pytest.raises(UserError, match=r"split 'train' of d0 has 3 clips, fewer than one batch of 5$"):
        require_a_batch(_groups([[3]]), "train", 5)
    with pytest.raises(UserError, match=r"d0 and d1 has 3 clips that count as 4\.5, fewer than one batch of 5$"):
        require_a_batch(_groups([[1, 2]], repeats=(1.5, 1.5)), "train", 5)
    require_a_batch(_groups([[3, 0], [0, 9]]), "train", 5)
    [line] = [record.message for record in caplog.records]
    assert line == "split 'train' of d0 has 3 clips, fewer than one batch of 5: they are left out"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    write_synthetic_dataset(folder / "plain", clips=2)
    write_synthetic_dataset(folder / "more", clips=1, seed=1)
    write_synthetic_dataset(folder / "sizes" / "16x24", clips=3, width=24)
    write_synthetic_dataset(folder / "sizes" / "16x16", clips=1, seed=2)
    return folder


def test_datasets_on_disk(written):
    def batches(*names):
        together = Mixture(tuple(written / name for name in names))
        return train_batches(together, fields=("latent_mean", "face_mask"), batch_size=3, seed=0)

    found = batches("plain", "sizes", "more")
    assert [[part.folder for part in group.parts] for group in found.groups] == [
        [written / "plain", written / "sizes" / "16x16", written / "more"],
        [written / "sizes" / "16x24"],
    ]
    shapes = collections.Counter(batch["latent_mean"].shape for batch in itertools.islice(found, 7))
    assert shapes == {(3, 2, 4, 4, 16): 4, (3, 2, 4, 6, 16): 3}
    before = contents(found.mixture.folders, found.groups)
    assert before["clips"] == [4, 3] and change(before, before) == ""
    assert before["files"][2][0].startswith("../more/clip_records/1.0.0/")
    others = [batches(*names) for names in (("plain", "more"), ("more", "plain"))]
    first, second = (contents(other.mixture.folders, other.groups) for other in others)
    assert change(before, first) == "it had 4 and 3 clips, now it has 3"
    assert "holds other records than then" in change(first, second)


@pytest.mark.parametrize(
    ("names", "amounts", "message"),
    [
        ("ab", {"repeats": (1.0,)}, r"config\.data\.repeats has 1 numbers for 2 datasets: give one for config\.data"),
        ("a", {"shares": (1.0, 2.0)}, r"config\.data\.shares has 2 numbers for 1 datasets"),
        ("ab", {"shares": (1.0, 2.0), "repeats": (1.0, 2.0)}, r"config\.data has repeats and shares: give one of them"),
        ("aba", {}, r"config\.data names a twice"),
    ],
)
def test_mixtures_that_cannot_be(names, amounts, message):
    with pytest.raises(UserError, match=f"^{message}"):
        Mixture(tuple(map(Path, names)), **amounts)


def test_what_made_the_datasets_of_a_mixture(written):
    several = mixture.read_provenance(Mixture((written / "plain", written / "sizes")))
    assert several.clip["sizes"] == ["16x16", "16x24"] and several.teachers == provenance().teachers
    alone = Mixture((written / "plain",))
    assert mixture.read_provenance(alone) == provenance()
    # Of the same shape, it is that of each.
    assert mixture.read_provenance(Mixture((written / "plain", written / "more"))) == provenance()
    assert mixture.read_provenance(alone).differences(several) == []


def test_faces_of_all_datasets_are_counted(tmp_path):
    first = write_synthetic_dataset(tmp_path / "first", clips=4, faceless=1, test_clips=1)
    second = write_synthetic_dataset(tmp_path / "second", clips=2, faceless=2)
    counts = mixture.read_faces(Mixture((first, second)))
    assert counts == {"train": FaceCount(6, 3, 12, 6), "test": FaceCount(1, 1, 2, 2)}


def _further(made):
    return made.teachers | {"tokens": {"name": "encoder", "weight_hash": "e0"}}


@pytest.mark.parametrize(
    ("changes", "spec", "difference"),
    [
        (
            lambda made: {"codec": made.codec | {"weight_hash": "c9"}},
            {},
            r"codec\.weight_hash: dataset has 'c9', .*'c0'",
        ),
        (
            lambda made: {"teachers": made.teachers | {"depth": {"name": "other", "weight_hash": "t0"}}},
            {},
            r"teachers\.depth\.name: dataset has 'other', expected 'fake_depth'",
        ),
        (lambda made: {"clip": made.clip | {"fps": 12.0}}, {}, r"clip\.fps: dataset has 12\.0, expected 8\.0"),
        (lambda made: {}, {"text_shape": (9, 12)}, r"text\.num_tokens: dataset has 9, expected 4"),
        (lambda made: {"clip": made.clip | {"seed": 7, "num_frames": 9}, "teachers": _further(made)}, {}, ""),
    ],
)
def test_datasets_that_were_made_otherwise_are_refused(written, tmp_path, changes, spec, difference):
    made, spec = provenance(), record_spec(**spec)
    write_dataset(
        tmp_path / "other",
        spec=spec,
        provenance=dataclasses.replace(made, **changes(made)),
        empty_prompt=empty_prompt(spec),
        splits={"train": by_id(random_records(spec, clips=1))},
    )
    together = Mixture((written / "plain", tmp_path / "other"))
    if difference:
        with pytest.raises(
            UserError, match=rf"other cannot be trained on together with {written / 'plain'}: {difference}; prep"
        ):
            mixture.read_provenance(together)
    else:
        read = mixture.read_provenance(together)
        assert (read.clip["sizes"], read.clip["seed"], read.teachers) == (["5x16x16", "16x16"], 0, made.teachers)
        backwards = mixture.read_provenance(Mixture(together.folders[::-1]))
        assert (backwards.clip["sizes"], backwards.clip["seed"]) == (["16x16", "5x16x16"], 7)
