"""LoRA files of every layout: read, merged with weights, written, and refused by the names of their keys."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.parts import PARTS
from sr_jax.checkpoints.loras import described, merge_lora_files, read_lora_file
from sr_jax.checkpoints.origins import weights_hash
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.conversion.choices import LORA_LAYOUTS
from sr_jax.conversion.imported import read_record
from sr_jax.conversion.lora import lora_tensors
from sr_jax.conversion.rules import expected_shapes
from sr_jax.errors import UserError
from sr_jax.models.lora import LoraConfig
from sr_jax.parallel.lazy import on_host
from tests.comparison import relative_error
from tests.conversion.folders import VARIANTS, contents, stored_tensors, their_tensors
from tests.conversion.lora_cases import CASES, FF, Case, Q
from tests.conversion.test_convert import run
from tests.models.tiny_transformers import ROPE, Predictor, our_params, random_inputs, weights_of

KIND, BACKBONE = PARTS["transformer"], CogVideoX(ROPE)
OPTIONS, INPUTS = dataclasses.asdict(ROPE), random_inputs(ROPE, 2, ROPE.sample_size)


@pytest.fixture(scope="module")
def before():
    rules = KIND.conversion.rules(ROPE)
    return weights_of(expected_shapes(rules, KIND.functional(ROPE).abstract_params()), seed=0)


def check_changes(before, files, weights, changes):
    """Merged weights are those from before, and what is added to some of them."""
    merged = on_host(merge_lora_files(our_params(before, ROPE), BACKBONE, list(map(str, files)), weights))
    after = their_tensors(merged, ROPE)
    assert after.keys() == before.keys()
    for name, weight in before.items():
        change = changes.get(name.removesuffix(".weight"), 0.0) if name.endswith(".weight") else 0.0
        np.testing.assert_allclose(after[name], weight + change, atol=1e-6, err_msg=name)
        assert after[name].dtype == weight.dtype


@pytest.mark.parametrize("name", CASES)
def test_a_file_adds_what_its_layout_says(before, tmp_path, name):
    case = CASES[name]
    assert all(np.abs(change).max() > 0.1 for change in case.changes.values())
    check_changes(before, [case.write(tmp_path)], (), case.changes)


def test_several_files_add_their_weighted_sum(before, tmp_path):
    """Of other layers, ranks and layouts, and one of them twice."""
    names = {"diffusers": 0.5, "original, fused": -2.0, "comfyui": 1.0}
    files = [CASES[name].write(tmp_path / str(i)) for i, name in enumerate(names)]
    changes = {}
    for name, weight in [*names.items(), ("diffusers", 0.25)]:
        for layer, change in CASES[name].changes.items():
            changes[layer] = changes.get(layer, 0.0) + weight * change
    check_changes(before, [*files, files[0]], (*names.values(), 0.25), changes)
    with pytest.raises(UserError, match="there are 2 LoRA files and 1 weights"):
        merge_lora_files({}, BACKBONE, ["a", "b"], (1.0,))


def test_kernels_keep_their_type(before, tmp_path):
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), our_params(before, ROPE))
    file = str(CASES["kohya"].write(tmp_path))
    after = their_tensors(on_host(merge_lora_files(half, BACKBONE, [file], ())), ROPE)
    assert {tensor.dtype for tensor in after.values()} == {np.dtype(np.float16)}
    change = after[f"{Q}.weight"].astype(float) - before[f"{Q}.weight"]
    np.testing.assert_allclose(change, CASES["kohya"].changes[Q], atol=2e-3)


def test_files_are_merged_into_an_import(imported, pipeline, tmp_path):
    """What comes out is an import, too, which is known to be another one."""
    case, merged = CASES["kohya"], tmp_path / "merged"
    file = case.write(tmp_path)
    options = ("--lora", f"{file},{file}", "--weights", "0.5,0.25")
    run("merge", "--checkpoint", imported, "--output", merged, *options)
    after = their_tensors(on_host(load_transformer(merged)[0]), VARIANTS["5b_i2v"])
    for name, tensor in stored_tensors(pipeline / "transformer").items():
        change = 0.75 * case.changes.get(name.removesuffix(".weight"), 0.0) if name.endswith(".weight") else 0.0
        np.testing.assert_allclose(after[name], tensor + change, atol=1e-6, err_msg=name)
    changed = ("import.json", "checkpoints/0/ema_params", "checkpoints/0/meta")
    theirs, ours = (
        {name: content for name, content in contents(folder).items() if not name.startswith(changed)}
        for folder in (imported, merged)
    )
    assert theirs == ours and any(name.startswith("checkpoints/0/vae") for name in ours)
    assert weights_hash(merged) != weights_hash(imported)
    assert [entry["weight"] for entry in read_record(merged).merged] == [0.5, 0.25]
    with pytest.raises(UserError, match="--weights has 'half': give numbers"):
        run("merge", "--checkpoint", imported, "--output", tmp_path / "no", "--lora", str(file), "--weights", "half")


def test_files_are_known_by_their_contents(tmp_path):
    one, same, other = (
        str(CASES[name].write(tmp_path / str(i))) for i, name in enumerate(("kohya", "kohya", "comfyui"))
    )
    hashes = [entry["sha256"] for entry in described([one, same, other], ())]
    assert hashes[0] == hashes[1] != hashes[2]
    assert described([one], (0.5,))[0] == {"name": "lora.safetensors", "sha256": hashes[0], "weight": 0.5}


def check_predictions(before, files, weights, theirs):
    """What files change in a prediction is what they change in PyTorch."""
    without, with_files = theirs
    params = merge_lora_files(our_params(before, ROPE), BACKBONE, list(map(str, files)), weights)
    ours = np.asarray(jax.jit(Predictor(ROPE).apply)(on_host(params), *map(jnp.asarray, INPUTS)))
    assert relative_error(ours - without, with_files - without) < 1e-4
    assert relative_error(with_files, without) > 1e-2


def test_diffusers_makes_the_same_of_its_files(original, before, tmp_path):
    names = {"diffusers, alphas in metadata": 0.75, "diffusers": -0.5}
    files = [CASES[name].write(tmp_path / str(i)) for i, name in enumerate(names)]
    weights = tuple(names.values())
    check_predictions(before, files, weights, original("lora").of_files(OPTIONS, files, weights, *INPUTS))


@pytest.mark.parametrize("name", ["peft", "peft, rank-stabilised"])
def test_peft_makes_the_same_of_its_folders(original, before, tmp_path, name):
    folder = CASES[name].write(tmp_path)
    check_predictions(before, [folder], (), original("lora").of_peft(OPTIONS, folder, *INPUTS))


@pytest.mark.parametrize("name", ["kohya", "comfyui"])
def test_diffusers_makes_the_same_of_renamed_factors_and_alphas(original, before, tmp_path, name):
    """It reads neither layout for this model, but takes alphas beside the factors."""
    case, factors, alphas = CASES[name], {}, {}
    names = {"lora_unet_transformer_blocks_1_attn1_to_q": Q, "lora_unet_transformer_blocks_0_ff_net_0_proj": FF}
    names |= {"diffusion_model.blocks.1.q": Q, "diffusion_model.blocks.0.ff_proj": FF}
    for theirs, layer in names.items():
        for ending, ours in ((".lora_down", ".lora_A"), (".lora_up", ".lora_B"), (".lora_A",) * 2, (".lora_B",) * 2):
            if f"{theirs}{ending}.weight" in case.tensors:
                factors[f"transformer.{layer}{ours}.weight"] = case.tensors[f"{theirs}{ending}.weight"]
        if f"{theirs}.alpha" in case.tensors:
            alphas[f"transformer.{layer}.alpha"] = case.tensors[f"{theirs}.alpha"].item()
    assert len(factors) == 4 and len(set(alphas.values())) == 2
    theirs = original("lora").with_alphas(OPTIONS, factors, alphas, *INPUTS)
    check_predictions(before, [case.write(tmp_path)], (), theirs)


def changed(case, **tensors):
    """A case with other tensors; None takes one away."""
    return case._replace(tensors={k: v for k, v in (case.tensors | tensors).items() if v is not None})


_A, _B = f"transformer.{Q}.lora_A.weight", f"transformer.{Q}.lora_B.weight"
_DIFFUSERS, _KOHYA = CASES["diffusers"], CASES["kohya"]
_KOHYA_A = "lora_unet_transformer_blocks_1_attn1_to_q.lora_down.weight"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (changed(_DIFFUSERS, **{"text_encoder.x.lora_A.weight": np.ones((1, 2))}), r"no LoRA .* text_encoder\.x\.lora"),
        (changed(_DIFFUSERS, **{f"transformer.{Q}.lora_magnitude_vector": np.ones(2)}), "lora_magnitude_vector: of"),
        (changed(_DIFFUSERS, **{_A.replace("blocks.1", "blocks.7"): np.ones((3, 32))}), r"blocks\.7\.attn1\.to_q"),
        (changed(_KOHYA, **{"lora_unet_transformer_blocks_1_attn1_to_q.dora_scale": np.ones(2)}), "dora_scale: of"),
        (
            changed(_KOHYA, **{"lora_te_layer.lora_down.weight": np.ones((1, 2))}),
            r"lora_te_layer\.lora_down\.weight: of",
        ),
        (Case({"lokr_w1": np.ones(2)}, {}), "lokr_w1: of the layouts"),
        (changed(_DIFFUSERS, **{_B: None}), rf"only a part of the factors of {Q}"),
        (changed(_KOHYA, **{_KOHYA_A: None}), "only a part of the factors of transformer_blocks_1_attn1_to_q"),
        (changed(_DIFFUSERS, **{_A: np.ones((3, 30), np.float32)}), r"to_q \(32, 30\) instead of \(32, 32\)"),
        (changed(_DIFFUSERS, **{_A: np.ones((2, 32), np.float32)}), r"to_q, \(2, 32\) and \(32, 3\), cannot be multip"),
        (changed(_DIFFUSERS, **{_A: np.full((3, 32), np.nan, np.float32)}), "no finite numbers"),
        (_DIFFUSERS._replace(metadata={"lora_adapter_metadata": "{"}), "metadata that cannot be read"),
        (CASES["peft"]._replace(adapter_config={"lora_alpha": 2, "use_dora": True}), "asks for use_dora"),
        (CASES["peft"]._replace(adapter_config={"lora_alpha": "two"}), "an alpha that is no number"),
    ],
)
def test_what_is_not_understood_whole_is_refused(tmp_path, case, words):
    with pytest.raises(UserError, match=words):
        read_lora_file(case.write(tmp_path), BACKBONE)


def test_a_place_without_a_lora(tmp_path):
    (tmp_path / "x.pt").touch()
    for path in (tmp_path, tmp_path / "x.pt", tmp_path / "none.safetensors"):
        with pytest.raises(UserError, match=r"no LoRA at .*: name a \.safetensors file, or a folder with"):
            read_lora_file(path, BACKBONE)


LAYERS = {"attn1": ("to_q", "to_k", "to_v", "to_out"), "norm1": ("linear",), "norm2": ("linear",)}


@pytest.fixture(scope="module")
def trained():
    """Factors as training leaves them, and what they were trained with."""
    rng = np.random.default_rng(6)
    widths = {"attn1": (32, 32), "norm1": (12, 192), "norm2": (12, 192)}

    def draw(inputs, outputs):
        shapes = {"lora_a": (2, inputs, 3), "lora_b": (2, 3, outputs)}
        return {name: rng.uniform(-0.5, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}

    blocks = {parent: {name: draw(*widths[parent]) for name in names} for parent, names in LAYERS.items()}
    return {"transformer_blocks": blocks}, LoraConfig(3, 2.0, ("attn1", "norm1", "norm2"))


@pytest.mark.parametrize("layout", LORA_LAYOUTS)
def test_what_is_written_is_read_again(trained, tmp_path, layout):
    lora, config = trained
    tensors = lora_tensors(lora, config, KIND.conversion.rules(ROPE), layout, KIND.other_names)
    safetensors.numpy.save_file(tensors, tmp_path / "lora.safetensors")
    again = read_lora_file(tmp_path / "lora.safetensors", BACKBONE)["transformer_blocks"]
    for parent, names in LAYERS.items():
        for name in names:
            ours, theirs = lora["transformer_blocks"][parent][name], again[parent][name]
            np.testing.assert_allclose(
                theirs["lora_a"] @ theirs["lora_b"], 2 / 3 * ours["lora_a"] @ ours["lora_b"], atol=1e-6
            )


def _delta(tensors, name):
    down, up = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
    return tensors[f"{name}.alpha"] / len(down) * up @ down


def test_names_and_alphas_are_those_of_each_loader(trained):
    lora, config = trained
    attention = {"transformer_blocks": {"attn1": lora["transformer_blocks"]["attn1"]}}
    rules = KIND.conversion.rules(ROPE)
    written = {name: lora_tensors(attention, config, rules, name, KIND.other_names) for name in LORA_LAYOUTS}
    assert not any(key.endswith("alpha") for key in written["diffusers"])
    names = {".".join(key.split(".")[:4]) for key in written["comfyui"]}
    assert names == {f"diffusion_model.blocks.{i}.{name}" for i in (0, 1) for name in ("q", "k", "v", "attn_out")}
    assert written["comfyui"]["diffusion_model.blocks.0.q.alpha"] == 2.0
    key = "lora_unet_transformer_blocks_1_attn1_to_out_0"
    assert {name for name in written["kohya"] if name.startswith(key)} == {
        f"{key}.alpha", f"{key}.lora_down.weight", f"{key}.lora_up.weight"
    }  # fmt: skip
    assert written["kohya"][f"{key}.alpha"] == 2.0

    def product(name, block):
        pair = attention["transformer_blocks"]["attn1"][name]
        return 2 / 3 * (pair["lora_a"][block] @ pair["lora_b"][block]).T

    for block in (0, 1):
        fused = _delta(written["original"], f"diffusion_model.transformer.layers.{block}.attention.query_key_value")
        expected = np.concatenate([product(name, block) for name in ("to_q", "to_k", "to_v")])
        np.testing.assert_allclose(fused, expected, atol=1e-6)


def test_modulations_go_to_their_places_in_the_original_model(trained):
    lora, config = trained
    only = {"transformer_blocks": {name: lora["transformer_blocks"][name] for name in ("norm1", "norm2")}}
    tensors = lora_tensors(only, config, KIND.conversion.rules(ROPE), "original", KIND.other_names)
    fused = _delta(tensors, "diffusion_model.mixins.adaln_layer.adaLN_modulations.1.1")
    halves = []
    for name in ("norm1", "norm2"):
        pair = only["transformer_blocks"][name]["linear"]
        halves.append(np.split(2 / 3 * (pair["lora_a"][1] @ pair["lora_b"][1]).T, 2))
    (video_1, text_1), (video_2, text_2) = halves
    np.testing.assert_allclose(fused, np.concatenate([video_1, video_2, text_1, text_2]), atol=1e-6)


def test_every_layer_has_a_place_of_its_own_in_every_layout():
    for names in KIND.other_names.values():
        taken = [(place.name, part) for place in names.values() for part in place.parts]
        assert len(taken) == len(set(taken))
        for name in {place.name for place in names.values()}:
            parts = [place for place in names.values() if place.name == name]
            assert sorted(part for place in parts for part in place.parts) == list(range(parts[0].of))
