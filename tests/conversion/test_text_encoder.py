"""The text encoder as transformers saves and loads it: names of its token table, and the type of its weights."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from sr_jax.backbones.releases import import_pipeline, imported_parts, open_component
from sr_jax.conversion.exporting import export
from sr_jax.conversion.imported import SOURCE_FOLDER
from sr_jax.conversion.importing import Source
from sr_jax.errors import UserError
from tests.conversion.folders import contents, stored_tensors
from tests.teachers.tiny_t5 import write_encoder

TABLE, ALIAS = "shared.weight", "encoder.embed_tokens.weight"


@pytest.fixture
def source(original, tmp_path):
    """The folder of an encoder in one file."""
    return write_encoder(original, tmp_path / "theirs")


def there_and_back(source, *, import_dtype="", dtype="", name="back"):
    ours, back = source.with_name(f"{name}_ours"), source.with_name(name)
    import_pipeline(Source(source, "theirs"), ours, dtype=import_dtype)
    export(imported_parts(ours), back, other_files=ours / SOURCE_FOLDER, dtype=dtype)
    return back


def change_tensors(source, change):
    path = source / "model.safetensors"
    safetensors.numpy.save_file(change(safetensors.numpy.load_file(path)), path, metadata={"format": "pt"})


def alone(tensors):
    return {ALIAS if name == TABLE else name: tensor for name, tensor in tensors.items()}


def both(tensors):
    return tensors | {ALIAS: tensors[TABLE].copy()}


@pytest.mark.parametrize("change", [alone, both])
def test_every_name_of_the_token_table_comes_back(original, source, change):
    table = stored_tensors(source)[TABLE]
    change_tensors(source, change)
    back = there_and_back(source)
    assert contents(back) == contents(source)
    params = open_component(source.with_name("back_ours"), "text_encoder")[1]
    assert np.array_equal(np.asarray(params["token_embedding"]), table)
    # Of another type, too, and as transformers loads it.
    half = there_and_back(source, dtype="bfloat16", name="half")
    assert stored_tensors(half).keys() == stored_tensors(source).keys()
    loaded = original("folders").load_text_encoder(half)
    assert not loaded["wrong"]
    assert np.array_equal(loaded["table"], table.astype(ml_dtypes.bfloat16))


def test_the_token_table_in_two_files(source):
    tensors = both(safetensors.numpy.load_file(source / "model.safetensors"))
    shards = {
        "model-00001-of-00002.safetensors": [ALIAS],
        "model-00002-of-00002.safetensors": [*tensors.keys() - {ALIAS}],
    }
    (source / "model.safetensors").unlink()
    for file, names in shards.items():
        safetensors.numpy.save_file({name: tensors[name] for name in names}, source / file, metadata={"format": "pt"})
    weight_map = {name: file for file, names in shards.items() for name in names}
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert contents(there_and_back(source)) == contents(source)


@pytest.mark.parametrize(
    "other", [lambda table: table + np.eye(*table.shape, dtype=np.float32), lambda table: table.astype(np.float64)]
)
def test_two_token_tables_are_refused(source, other):
    change_tensors(source, lambda tensors: tensors | {ALIAS: other(tensors[TABLE])})
    with pytest.raises(UserError, match=r"theirs: encoder\.embed_tokens\.weight and shared\.weight differ"):
        there_and_back(source)


@pytest.mark.parametrize("field", ["dtype", "torch_dtype"])
@pytest.mark.parametrize(("import_dtype", "dtype"), [("", "bfloat16"), ("bfloat16", ""), ("float16", "bfloat16")])
def test_the_config_tells_the_type_of_converted_weights(original, source, field, import_dtype, dtype):
    path = source / "config.json"
    config_json = json.loads(path.read_text())
    assert config_json.pop("dtype") == "float32"
    path.write_text(json.dumps(config_json | {field: "float32"}))
    back = there_and_back(source, import_dtype=import_dtype, dtype=dtype)
    assert original("folders").load_text_encoder(back)["dtype"] == "bfloat16"
    assert json.loads((back / "config.json").read_text()) == config_json | {field: "bfloat16"}


def test_the_config_is_not_touched_where_nothing_is_converted(original, source):
    path = source / "config.json"
    # Not the type of the file, and not as any program writes it.
    path.write_text(path.read_text().replace('"dtype": "float32"', '"dtype":   "bfloat16"'))
    assert contents(there_and_back(source, dtype="float32")) == contents(source)
    # Nor where it is silent.
    path.write_text(path.read_text().replace('"dtype":   "bfloat16",', ""))
    back = there_and_back(source, dtype="bfloat16", name="half")
    assert (back / "config.json").read_bytes() == path.read_bytes()
    assert original("folders").load_text_encoder(back)["dtype"] == "bfloat16"
