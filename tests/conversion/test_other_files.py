"""What an import keeps beside the weights, and what it leaves out."""

import json
import shutil

import pytest

from sr_jax.backbones.cogvideox.parts import PARTS
from sr_jax.backbones.releases import find_components, import_pipeline, imported_parts
from sr_jax.conversion.exporting import export
from sr_jax.conversion.imported import SOURCE_FOLDER
from sr_jax.conversion.importing import Source
from sr_jax.conversion.other_files import copy_files, files_below, other_files, total_size
from sr_jax.errors import UserError
from tests.conversion.folders import contents, stored_tensors
from tests.conversion.test_convert import run


def there_and_back(source, tmp_path, **options):
    import_pipeline(Source(source, "theirs"), tmp_path / "ours", **options)
    export(imported_parts(tmp_path / "ours"), tmp_path / "back", other_files=tmp_path / "ours" / SOURCE_FOLDER)
    return contents(tmp_path / "back")


def test_linked_folders_are_whole(tmp_path, pipeline):
    source = tmp_path / "theirs"
    source.mkdir()
    for path in pipeline.iterdir():
        (source / path.name).symlink_to(path)
    back = there_and_back(source, tmp_path, components=["text_encoder"])
    wanted = {
        name: content for name, content in contents(pipeline).items() if not name.startswith(("transformer/", "vae/"))
    }
    assert {"text_encoder/config.json", "tokenizer/spiece.model", "scheduler/scheduler_config.json"} <= back.keys()
    assert back == wanted


def test_links_in_circles_end(tmp_path):
    for name in ("model/a/one", "model/b/two", "model/.git/index", "model/.gitattributes", "shared/three"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for link, target in (("a/to_b", "b"), ("b/to_a", "a"), ("up", ".."), ("here", "."), ("c", "../shared")):
        (tmp_path / "model" / link).symlink_to(tmp_path / "model" / target)
    names = [path.as_posix() for path in files_below(tmp_path / "model")]
    assert names == [".gitattributes", "a/one", "a/to_b/two", "b/to_a/one", "b/two", "c/three"]


@pytest.fixture
def transformer(tmp_path, pipeline):
    """A copy of the transformer's folder, to add files to."""
    return shutil.copytree(pipeline / "transformer", tmp_path / "theirs")


OTHERS = (
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_flax_model.msgpack",
    "model.ckpt",
    "model.onnx_data",
)


def test_weights_that_are_not_loaded_stay_out(original, tmp_path, transformer, capsys):
    before = contents(transformer) | {"notes.txt": b"mine", "figures/index.json": b"{}"}
    for name in (*OTHERS, "notes.txt", "figures/index.json"):
        (transformer / name).parent.mkdir(exist_ok=True)
        (transformer / name).write_bytes(before.get(name, b"gigabytes"))
    run("import", "--source", transformer, "--output", tmp_path / "ours")
    message = capsys.readouterr().out
    assert message.startswith("left out, as no part of the model loads them: ")
    assert all(name in message for name in OTHERS) and "notes" not in message
    run("export", "--checkpoint", tmp_path / "ours", "--output", tmp_path / "back")
    assert contents(tmp_path / "back") == before
    assert not {path.name for path in (tmp_path / "ours").rglob("*")} & set(OTHERS)
    assert original("folders").load_transformer(tmp_path / "back", [])[0] == sorted(stored_tensors(tmp_path / "back"))


def test_weights_of_other_parts_of_a_pipeline_are_kept(tmp_path, pipeline):
    source = shutil.copytree(pipeline, tmp_path / "theirs")
    index = json.loads((source / "model_index.json").read_text()) | {"image_encoder": ["transformers", "ViTModel"]}
    (source / "model_index.json").write_text(json.dumps(index))
    for name in ("image_encoder/model.safetensors", "sat/1/mp_rank_00_model_states.pt", "model.safetensors"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"weights")
    kept, unused = other_files(source, find_components(source, ["transformer", "text_encoder"]), PARTS)
    kept, unused = ({path.as_posix() for path in paths} for paths in (kept, unused))
    assert unused == {"sat/1/mp_rank_00_model_states.pt", "model.safetensors"}
    weights = {name for name in kept if name.endswith((".safetensors", ".index.json"))}
    assert weights == {
        "image_encoder/model.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
    }
    assert not any(name.startswith("vae/") for name in kept)


def test_a_link_that_leads_nowhere_is_told(tmp_path, transformer):
    (transformer / "model.fp16.safetensors").symlink_to(tmp_path / "nowhere")
    other_files(transformer, find_components(transformer), PARTS)
    (transformer / "LICENSE").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"theirs/LICENSE is a link that leads nowhere"):
        there_and_back(transformer, tmp_path)
    assert list(tmp_path.iterdir()) == [transformer]


def only_variant(folder):
    for path in folder.glob("*.safetensors"):
        path.rename(path.with_name(path.name.replace("model-", "model.fp16-")))
    (folder / "diffusion_pytorch_model.safetensors.index.json").unlink()


def only_variant_of_old(folder):
    for path in folder.glob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".bf16.safetensors")))
    (folder / "diffusion_pytorch_model.safetensors.index.json").unlink()


def only_torch(folder):
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"pickle")


def both(folder):
    shutil.copyfile(next(folder.glob("*00001-of*")), folder / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (only_variant, r"neither .*, only the variant fp16 .*load it with variant='fp16' in diffusers"),
        (only_variant_of_old, r"neither .*, only the variant bf16 .*load it with variant='bf16' in diffusers"),
        (only_torch, r"neither .*, only diffusion_pytorch_model\.bin: load that in diffusers"),
        (both, r"both diffusion_pytorch_model\.safetensors and .*index\.json: remove the one"),
    ],
)
def test_other_weights_alone_are_refused_with_what_to_do(transformer, change, words):
    change(transformer)
    with pytest.raises(UserError, match=words):
        find_components(transformer)


def test_copies_can_be_written(tmp_path):
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "one").chmod(0o444)
    copy_files(tmp_path, list(files_below(tmp_path)), tmp_path / "copy")
    assert (tmp_path / "copy" / "one").stat().st_mode & 0o200
    assert total_size(tmp_path, files_below(tmp_path)) == 10
