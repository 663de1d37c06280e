"""Bad sources and interrupted runs."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from huggingface_hub.utils import filter_repo_objects

from sr_jax.backbones.cogvideox.parts import PARTS
from sr_jax.backbones.releases import find_components, import_pipeline
from sr_jax.checkpoints.reading import read_meta
from sr_jax.conversion import importing
from sr_jax.conversion.hub import locate
from sr_jax.conversion.imported import is_imported, read_record
from sr_jax.conversion.importing import Source
from sr_jax.conversion.other_files import other_files, total_size
from sr_jax.conversion.safetensors_file import build_header, parse_header, read_header
from sr_jax.errors import UserError
from tests.conversion.folders import contents


@pytest.fixture
def transformer(tmp_path, pipeline):
    """A copy of the transformer's folder, to damage."""
    return shutil.copytree(pipeline / "transformer", tmp_path / "theirs")


def run(source, output, **options):
    import_pipeline(Source(source, str(source)), output, **options)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_tensors_that_do_not_fit_are_all_named(tmp_path, transformer):
    edit_json(transformer / "config.json", num_layers=3, text_embed_dim=11, use_learned_positional_embeddings=False)
    with pytest.raises(UserError) as error:
        run(transformer, tmp_path / "ours")
    message = str(error.value)
    assert "missing: transformer_blocks.2.attn1.norm_k.bias, " in message
    assert "unexpected: patch_embed.pos_embedding;" in message
    assert "misshapen: patch_embed.text_proj.weight (32, 10) instead of (32, 11)" in message
    assert list(tmp_path.iterdir()) == [transformer]


def cut_off(folder):
    path = next(folder.glob("*00002-of*"))
    path.write_bytes(path.read_bytes()[:-8])


def no_header(folder):
    next(folder.glob("*00002-of*")).write_bytes(b"<!DOCTYPE html>")


def other_numbers(folder):
    header = build_header({"proj_out.bias": (np.dtype(np.float32), (16,))}, {}).replace(b"F32", b"I32")
    next(folder.glob("*00002-of*")).write_bytes(header + bytes(64))


def twice(folder):
    path = next(folder.glob("*00002-of*"))
    shutil.copyfile(path, path.with_name(path.name.replace("00002", "00003")))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_off, "bytes, its header tells of"),
        (no_header, "no safetensors file"),
        (other_numbers, "weights of F64, F32, F16, BF16 are supported"),
        (twice, "both .*00002-of-.* and .*00003-of-.* hold transformer_blocks.0"),
        (lambda folder: next(folder.glob("*00003-of*")).unlink(), "lacks .*00003-of-.* download the rest"),
        (lambda folder: next(folder.glob("*.index.json")).unlink(), "neither diffusion_pytorch_model.safetensors nor"),
        (lambda folder: next(folder.glob("*.index.json")).write_text("{}"), "index.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json holds no JSON object"),
        (lambda folder: (folder / "config.json").unlink(), "neither model_index.json nor config.json"),
        (lambda folder: edit_json(folder / "config.json", _class_name="WanTransformer3DModel"), "holds none of"),
    ],
)
def test_damaged_sources_are_refused(tmp_path, transformer, damage, words):
    damage(transformer)
    with pytest.raises(UserError, match=words):
        run(transformer, tmp_path / "ours")
    assert list(tmp_path.iterdir()) == [transformer]


def test_other_pipelines_and_parts_are_refused(tmp_path, pipeline):
    with pytest.raises(UserError, match="has no sound: it has transformer, vae, text_encoder"):
        run(pipeline, tmp_path / "ours", components=["sound"])
    (tmp_path / "link").symlink_to(pipeline)
    for output in (pipeline / "ours", tmp_path / "link" / "vae" / "ours"):
        with pytest.raises(UserError, match="lies in the source"):
            run(pipeline, output)
    (tmp_path / "ours").mkdir()
    with pytest.raises(UserError, match="exists"):
        run(pipeline, tmp_path / "ours")


def test_a_full_disk_is_noticed_before(tmp_path, pipeline, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(UserError, match="GB left, the import needs"):
        run(pipeline, tmp_path / "ours")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../diffusion_pytorch_model.safetensors", "/etc/passwd", "..", "a\\b.safetensors", 3])
def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path, transformer, name):
    index = next(transformer.glob("*.index.json"))
    weight_map = json.loads(index.read_text())["weight_map"]
    edit_json(index, weight_map=weight_map | {"proj_out.bias": name})
    # What it names is there, and would be taken.
    shutil.copyfile(next(transformer.glob("*00001-of*")), tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=r"index\.json names .* which is no file of that folder"):
        run(transformer, tmp_path / "ours")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, transformer, value):
    path = next(transformer.glob("*00002-of*"))
    name, place = max(parse_header(read_header(path), path).items(), key=lambda item: item[1].nbytes)
    with path.open("r+b") as file:
        file.seek(place.offset)
        file.write(np.full(1, value, place.dtype).tobytes())
    with pytest.raises(UserError, match=f"{re.escape(name)} holds values that are no finite numbers"):
        run(transformer, tmp_path / "ours")
    assert not (tmp_path / "ours").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("changes", [{"num_layers": "2"}, {"num_layers": None}, {"in_channels": 33}])
def test_a_config_that_cannot_be_is_refused_in_one_line(tmp_path, transformer, changes):
    edit_json(transformer / "config.json", **changes)
    with pytest.raises(UserError, match=f"the transformer's config has {next(iter(changes))}") as error:
        run(transformer, tmp_path / "ours")
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == [transformer]


def test_keys_that_diffusers_passes_over_are_passed_over(tmp_path, transformer):
    edit_json(transformer / "config.json", torch_dtype="bfloat16", quantization_config=None)
    run(transformer, tmp_path / "ours")
    assert is_imported(tmp_path / "ours")


def test_an_import_that_leads_out_of_its_folder_is_refused(tmp_path, transformer):
    run(transformer, tmp_path / "ours")
    for folder in ("../../elsewhere", "/tmp"):
        edit_json(tmp_path / "ours" / "import.json", folders={"transformer": folder})
        with pytest.raises(UserError, match="outside of the model: import again"):
            read_record(tmp_path / "ours")


def from_hub(transformer, folder):
    """A snapshot as the hub's cache keeps it: links to files that are named by their hashes."""
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshots" / "0123abc" / "transformer").mkdir(parents=True)
    for path in transformer.iterdir():
        content = path.read_bytes()
        large = path.suffix == ".safetensors"
        blob = hashlib.sha256(content) if large else hashlib.sha1(b"blob %d\0" % len(content) + content)
        (folder / "blobs" / blob.hexdigest()).write_bytes(content)
        link = folder / "snapshots" / "0123abc" / "transformer" / path.name
        link.symlink_to(f"../../../blobs/{blob.hexdigest()}")
    (folder / "snapshots" / "0123abc" / "model_index.json").write_text("{}")
    return folder / "snapshots" / "0123abc"


def test_what_the_hub_has_otherwise_is_refused(tmp_path, transformer, monkeypatch):
    snapshot = from_hub(transformer, tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: str(snapshot))
    source = locate("a/model", PARTS)
    assert source.revision == "0123abc" and len(source.published) == len(list(transformer.glob("*.safetensors")))
    import_pipeline(source, tmp_path / "ours")
    assert read_record(tmp_path / "ours").sha256 == source.published
    # One bit of the weights, and one word of a config.
    weights = (snapshot / "transformer").glob("*00002-of*.safetensors")
    path = next(weights).resolve()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=r"00002-of.* has the SHA-256 .*, published is .* download it again"):
        import_pipeline(locate("a/model", PARTS), tmp_path / "again")
    config = (snapshot / "transformer" / "config.json").resolve()
    config.write_text(config.read_text().replace("gelu", "relu"))
    with pytest.raises(UserError, match=r"config\.json has the hash .* the hub has .* download it again"):
        locate("a/model", PARTS)


def set_free_space(monkeypatch, n):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - n, n))


def test_the_disk_must_have_room_for_all_files(tmp_path, transformer, monkeypatch):
    (transformer / "notes.txt").write_bytes(bytes(5000))
    set_free_space(monkeypatch, find_components(transformer)[0].nbytes() + 5000)
    with pytest.raises(UserError, match="GB left, the import needs"):
        run(transformer, tmp_path / "ours")
    set_free_space(monkeypatch, find_components(transformer)[0].nbytes() + 5000 + 50_000)
    run(transformer, tmp_path / "ours")


def test_what_is_done_needs_no_more_room(interrupted, pipeline, monkeypatch):
    found = find_components(pipeline)
    kept, _ = other_files(pipeline, found, PARTS)
    set_free_space(monkeypatch, sum(component.nbytes() for component in found) + total_size(pipeline, kept) - 1)
    with pytest.raises(UserError, match="GB left"):
        run(pipeline, interrupted / "anew")
    run(pipeline, interrupted / "ours")


def test_another_scheduler_is_refused_before_weights_are_read(tmp_path, pipeline):
    source = shutil.copytree(pipeline, tmp_path / "theirs")
    edit_json(source / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    with pytest.raises(UserError, match="prediction_type 'epsilon'"):
        run(source, tmp_path / "ours", progress=lambda name, total: 1 / 0)
    assert list(tmp_path.iterdir()) == [source]


@pytest.fixture
def interrupted(tmp_path, pipeline, monkeypatch):
    """An import that stopped in the middle of its second part; and what it read."""
    read = []

    def progress(name, total):
        read.append(name)

        def on_bytes(n):
            if len(read) == 2:
                raise KeyboardInterrupt

        return on_bytes

    with pytest.raises(KeyboardInterrupt):
        run(pipeline, tmp_path / "ours", progress=progress)
    # What a killed save leaves.
    leftover = next(tmp_path.glob(".ours.partial/checkpoints/0")) / "vae.orbax-checkpoint-tmp-17"
    leftover.mkdir()
    assert read == ["transformer", "vae"] and not (tmp_path / "ours").exists()
    return tmp_path


def test_an_interrupted_import_is_no_import_and_is_completed(interrupted, pipeline):
    assert not any(is_imported(folder) for folder in interrupted.iterdir())
    read = []
    run(pipeline, interrupted / "ours", progress=lambda name, total: read.append(name) or (lambda n: None))
    assert read == ["vae", "text_encoder"]
    assert [path.name for path in interrupted.iterdir()] == ["ours"]
    items = {path.name for path in (interrupted / "ours" / "checkpoints" / "0").iterdir()}
    assert items == {"ema_params", "vae", "text_encoder", "meta"}
    assert not (interrupted / "ours" / "plan.json").exists()


def test_what_another_import_left_is_not_used(interrupted, pipeline):
    read = []
    run(
        pipeline,
        interrupted / "ours",
        components=["vae", "transformer"],
        dtype="bfloat16",
        progress=lambda name, total: read.append(name) or (lambda n: None),
    )
    assert read == ["vae", "transformer"]


def test_stopped_at_the_very_end(tmp_path, pipeline, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(importing.ImportRecord, "write", lambda record, folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(pipeline, tmp_path / "ours")
    read = []
    run(pipeline, tmp_path / "ours", progress=lambda name, total: read.append(name) or (lambda n: None))
    assert not read
    assert read_meta(tmp_path / "ours")["imported"]["folders"].keys() == {"transformer", "vae", "text_encoder"}
    theirs = {f"{name}.header" if name.endswith(".safetensors") else name for name in contents(pipeline)}
    assert contents(tmp_path / "ours" / "source").keys() == theirs


# What an import of the autoencoder needs, one of all parts, and nobody.
REPOSITORY = [
    "model_index.json",
    "tokenizer/spiece.model",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model-00002-of-00002.safetensors",
    "transformer/diffusion_pytorch_model.safetensors",
    "text_encoder/model.fp16-00001-of-00002.safetensors",
    "transformer/diffusion_pytorch_model-00001-of-00003.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.bin",
    "sat/model.safetensors",
]


def test_hub_names(tmp_path, monkeypatch):
    calls = []

    (tmp_path / "0123abc").mkdir()

    def download(name, *, revision, allow_patterns):
        calls.append((name, revision, allow_patterns))
        if name == "nobody/nothing":
            raise ConnectionError("no\nroute to host")
        return str(tmp_path / "0123abc")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = locate("THUDM/CogVideoX-5b-I2V", PARTS, ["vae"], "main")
    assert source == Source(tmp_path / "0123abc", "THUDM/CogVideoX-5b-I2V", "0123abc")
    assert calls[0][:2] == ("THUDM/CogVideoX-5b-I2V", "main")
    assert list(filter_repo_objects(REPOSITORY, allow_patterns=calls[0][2])) == REPOSITORY[:3]
    locate("THUDM/CogVideoX-5b-I2V", PARTS)
    assert list(filter_repo_objects(REPOSITORY, allow_patterns=calls[1][2])) == REPOSITORY[:6]
    with pytest.raises(UserError, match="no model has the part sound: choose among transformer, vae, text_encoder"):
        locate("THUDM/CogVideoX-5b-I2V", PARTS, ["sound"])
    with pytest.raises(UserError, match=r"nobody/nothing .*ConnectionError: no route to host.*check its name") as error:
        locate("nobody/nothing", PARTS)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        locate("./nowhere/at/all", PARTS)
    assert locate(str(tmp_path), PARTS) == Source(tmp_path, str(tmp_path))
