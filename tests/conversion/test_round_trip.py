"""Import and export: what comes back is what went in."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import safetensors.numpy

from sr_jax.backbones.releases import import_pipeline, imported_parts, open_component
from sr_jax.conversion.exporting import Part, export
from sr_jax.conversion.imported import SOURCE_FOLDER, read_record
from sr_jax.conversion.importing import Source
from sr_jax.errors import UserError
from sr_jax.parallel.lazy import on_host
from tests.conversion.folders import VARIANTS, contents, save_pipeline, save_transformer, stored_tensors
from tests.models.tiny_transformers import random_inputs


def export_all(imported, output, **options):
    export(imported_parts(imported), output, other_files=imported / SOURCE_FOLDER, **options)
    return output


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [*((variant, "") for variant in VARIANTS), ("5b_i2v", "bfloat16"), ("2b", "float16")],
)
def test_every_file_of_a_transformer_comes_back_bit_by_bit(original, tmp_path, variant, dtype):
    source = save_transformer(original, tmp_path / "theirs", variant, dtype)
    assert len(list(source.glob("*.safetensors"))) > 1
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    assert contents(export_all(tmp_path / "ours", tmp_path / "back")) == contents(source)


def test_every_file_of_a_pipeline_comes_back_bit_by_bit(tmp_path, pipeline, imported):
    assert contents(export_all(imported, tmp_path / "back")) == contents(pipeline)
    assert not list(imported.rglob("*.safetensors"))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "5b_i2v"])
def test_every_file_of_the_other_pipelines_comes_back_bit_by_bit(original, tmp_path, variant):
    source = save_pipeline(original, tmp_path / "theirs", variant)
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    assert contents(export_all(tmp_path / "ours", tmp_path / "back")) == contents(source)


def test_an_export_that_cannot_be_written_leaves_nothing(tmp_path, imported, monkeypatch):
    for output in (imported / "back", imported / "source" / "vae" / "back"):
        with pytest.raises(UserError, match="lies in the source"):
            export_all(imported, output)
    # Room for the weights, and for nothing else.
    size = sum(
        leaf.dtype.itemsize * math.prod(leaf.shape)
        for part in imported_parts(imported)
        for leaf in part.stored.values()
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - size, size))
    with pytest.raises(UserError, match="GB left, the export needs"):
        export_all(imported, tmp_path / "back")
    assert not list(tmp_path.iterdir()) and not list(imported.rglob("*back*"))


def test_numbers_do_not_depend_on_the_kept_headers(original, tmp_path, pipeline, imported):
    parts = [
        Part(part.name, part.kind, part.folder, part.config, part.stored, {}, unchanged=True)
        for part in imported_parts(imported)
    ]
    export(parts, tmp_path / "back", max_shard_bytes=10_000)
    for part in parts:
        theirs, ours = stored_tensors(pipeline / part.name), stored_tensors(tmp_path / "back" / part.name)
        assert theirs.keys() == ours.keys()
        assert all(np.array_equal(theirs[name], ours[name]) for name in theirs)
        for path in (tmp_path / "back" / part.name).glob("*.safetensors"):
            # The order of the tensors is that of the safetensors library.
            safetensors.numpy.save_file(safetensors.numpy.load_file(path), tmp_path / "again", {"format": "pt"})
            assert path.read_bytes() == (tmp_path / "again").read_bytes()
        sizes = [path.stat().st_size for path in (tmp_path / "back" / part.name).glob("*.safetensors")]
        assert len(sizes) > 1 and max(sizes) < 30_000
    _, [loaded] = original("folders").load_transformer(tmp_path / "back" / "transformer", ["proj_out.weight"])
    assert np.array_equal(loaded, stored_tensors(pipeline / "transformer")["proj_out.weight"])


@pytest.mark.parametrize("variant", ["2b", "1_5_5b_i2v"])
def test_an_export_computes_the_same_in_diffusers(original, tmp_path, variant):
    config, source = VARIANTS[variant], save_transformer(original, tmp_path / "theirs", variant)
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    export(imported_parts(tmp_path / "ours"), tmp_path / "back", other_files=None)
    size = (2, *config.sample_size[1:]) if config.patch_size_t else config.sample_size
    inputs = random_inputs(config, 1, size)
    np.testing.assert_array_equal(
        *(original("folders").predict(folder, *inputs) for folder in (source, tmp_path / "back"))
    )


def test_other_types_of_numbers(tmp_path, pipeline, imported):
    folder = export_all(imported, tmp_path / "back", dtype="bfloat16") / "transformer"
    theirs, ours = stored_tensors(pipeline / "transformer"), stored_tensors(folder)
    assert all(np.array_equal(ours[name], theirs[name].astype(ours[name].dtype)) for name in theirs)
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in ours.values())
    assert {tensor.dtype for tensor in ours.values()} == {np.dtype("bfloat16")}
    # The same division into files as before.
    before = json.loads((pipeline / "transformer" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert index["weight_map"] == before["weight_map"]


def test_import_converts_on_request(tmp_path, pipeline):
    import_pipeline(Source(pipeline, "theirs"), tmp_path / "ours", components=["transformer"], dtype="bfloat16")
    params = on_host(open_component(tmp_path / "ours", "transformer")[1])
    theirs = stored_tensors(pipeline / "transformer")["proj_out.weight"]
    assert params["proj_out"]["kernel"].dtype == "bfloat16"
    assert np.array_equal(params["proj_out"]["kernel"].T, theirs.astype("bfloat16"))
    back = stored_tensors(export_all(tmp_path / "ours", tmp_path / "back") / "transformer")
    assert back["proj_out.weight"].dtype == "bfloat16"
    assert not (tmp_path / "back" / "vae").exists()
    assert (tmp_path / "back" / "scheduler").is_dir()


def test_too_large_for_float16_is_refused_by_name(original, tmp_path):
    source = save_transformer(original, tmp_path / "theirs", "2b", shard="10GB")
    path = source / "diffusion_pytorch_model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    tensors["norm_final.bias"][3] = 1e6
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"norm_final\.bias"):
        import_pipeline(Source(source, "theirs"), tmp_path / "half", dtype="float16")
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    with pytest.raises(UserError, match=r"norm_final\.bias"):
        export_all(tmp_path / "ours", tmp_path / "back", dtype="float16")
    assert {path.name for path in tmp_path.iterdir()} == {"theirs", "ours"}


def test_the_record_says_what_was_imported(imported):
    record = read_record(imported)
    assert record.folders == {name: name for name in ("transformer", "vae", "text_encoder")}
    assert all(len(digest) == 64 for digest in record.sha256.values()) and len(record.sha256) > 4
    with pytest.raises(UserError, match="has no sound"):
        open_component(imported, "sound")


def test_parameters_of_another_configuration_are_refused(tmp_path, imported):
    [part] = [part for part in imported_parts(imported) if part.name == "transformer"]
    part = dataclasses.replace(part, config=dataclasses.replace(part.config, use_learned_positional_embeddings=False))
    with pytest.raises(UserError, match=r"patch_embed\.pos_embedding differ"):
        export([part], tmp_path / "back")
