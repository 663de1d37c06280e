import dataclasses
import json
import pickle

import numpy as np
import pytest

from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.writing import write_dataset
from sr_jax.errors import UserError
from tests.data.synthetic import by_id, empty_prompt, provenance, random_records, record_spec


@pytest.fixture(scope="module")
def spec():
    return record_spec()


def _write(path, spec, records, **splits):
    splits = {split: by_id(records) for split, records in {"train": records, **splits}.items()}
    write_dataset(path, spec=spec, provenance=provenance(), empty_prompt=empty_prompt(spec), splits=splits)


def test_records_come_back_as_written(tmp_path, spec):
    records = random_records(spec, clips=5)
    _write(tmp_path, spec, records, test=random_records(spec, clips=2, prefix="other"))
    source = pickle.loads(pickle.dumps(builder.open_dataset(tmp_path, "train")))
    stored = {record["clip_id"].decode(): record for record in source}
    assert len(source) == 5
    assert len(builder.open_dataset(tmp_path, "test")) == 2
    for record in records:
        for name in CORE_FIELDS:
            assert stored[record["clip_id"]][name].dtype == np.float16
            np.testing.assert_array_equal(stored[record["clip_id"]][name], record[name])
        assert stored[record["clip_id"]]["prompt"].decode() == record["prompt"]
        assert stored[record["clip_id"]]["fps"] == 8.0
    assert builder.read_provenance(tmp_path) == provenance()
    np.testing.assert_array_equal(builder.read_empty_prompt(tmp_path), empty_prompt(spec).astype(np.float16))


def test_bad_requests_have_clear_errors(tmp_path, spec):
    with pytest.raises(UserError, match="no dataset in"):
        builder.open_dataset(tmp_path, "train")
    with pytest.raises(UserError, match="no dataset in"):
        builder.read_provenance(tmp_path)
    _write(tmp_path, spec, random_records(spec, clips=1))
    with pytest.raises(UserError, match="no split 'test'"):
        builder.open_dataset(tmp_path, "test")
    with pytest.raises(UserError, match="already holds a dataset"):
        _write(tmp_path, spec, random_records(spec, clips=1))


def test_a_dataset_without_the_empty_prompt_says_what_to_do(tmp_path, spec):
    _write(tmp_path, spec, random_records(spec, clips=1))
    metadata = next(tmp_path.rglob("metadata.json"))
    metadata.write_text(json.dumps({"provenance": json.loads(metadata.read_text())["provenance"]}))
    with pytest.raises(UserError, match="lacks the embedding of the empty prompt: prepare it again"):
        builder.read_empty_prompt(tmp_path)


def test_a_dataset_of_before_fields_had_axes_is_read(tmp_path, spec):
    records = random_records(spec, clips=2)
    _write(tmp_path, spec, records)
    assert builder.read_spec(tmp_path) == spec
    metadata = next(tmp_path.rglob("metadata.json"))
    values = json.loads(metadata.read_text())
    assert values.pop("axes") == CORE_FIELDS
    metadata.write_text(json.dumps(values))
    assert builder.read_spec(tmp_path) == spec
    stored = {record["clip_id"].decode(): record for record in builder.open_dataset(tmp_path, "train")}
    for record in records:
        for name in CORE_FIELDS:
            np.testing.assert_array_equal(stored[record["clip_id"]][name], record[name])


def test_what_reads_a_dataset_is_found_where_it_says(tmp_path, spec):
    _write(tmp_path, spec, random_records(spec, clips=1))
    assert json.loads(next(tmp_path.rglob("dataset_info.json")).read_text())["moduleName"] == "sr_jax.data.builder"


def test_provenance_of_several_sizes(tmp_path, spec):
    def write(name, **changes):
        made = provenance()
        size = {"height": int(name.split("x")[0]), "width": int(name.split("x")[1])}
        made = dataclasses.replace(made, clip={**made.clip, **size, **changes})
        splits = {"train": by_id(random_records(spec, clips=1))}
        write_dataset(tmp_path / name, spec=spec, provenance=made, empty_prompt=empty_prompt(spec), splits=splits)

    write("16x24")
    write("24x16")
    read = builder.read_provenance(tmp_path)
    assert read.clip.pop("sizes") == ["16x24", "24x16"]
    assert read.clip == {name: value for name, value in provenance().clip.items() if name not in ("height", "width")}
    assert builder.dataset_folders(tmp_path) == [tmp_path / "16x24", tmp_path / "24x16"]
    np.testing.assert_allclose(builder.read_empty_prompt(tmp_path), empty_prompt(spec), atol=1e-2)
    # What a merge that is running or was killed leaves, and one that was killed when everything was there.
    (tmp_path / "work").mkdir()
    with pytest.raises(UserError, match=r"the preparation of .* is not finished: run .* again"):
        builder.dataset_folders(tmp_path)
    (tmp_path / "manifest.json").touch()
    assert len(builder.dataset_folders(tmp_path)) == 2
    write("9x9", fps=99.0)
    with pytest.raises(UserError, match=r"9x9 and .*16x24 were not made together: clip\.fps"):
        builder.read_provenance(tmp_path)
