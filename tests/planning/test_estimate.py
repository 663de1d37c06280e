"""Memory that is added up: every kind by hand, against the compiler's figures, and its words."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import estimate_memory
from benchmarks.pages import published
from sr_jax.configs import stage_two
from sr_jax.configs.pods import PODS
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.layers import linear
from sr_jax.models.remat import POLICIES
from sr_jax.planning import report
from sr_jax.planning.activations import Blocks, Place, activation_bytes, blocks_of
from sr_jax.planning.estimate import at_size, estimate
from sr_jax.planning.search import search
from sr_jax.planning.topologies import get_topology

_ROOT = Path(estimate_memory.__file__).parents[1]
_GIB = 2**30
_5B = Blocks(42, 3072, 3072, 12288, 48, 9 * 3072, 12 * 3072**2 + 12 * 512 * 3072, 4 * 3072**2, "trained")
_F_S = dataclasses.replace(_5B, layers=12, weights="frozen")
_INT8 = {"lora.rank": 2, "lora.base_type": "int8", "frozen_dtype": "bfloat16", "dtype": "bfloat16", "batch_size": 2}


@pytest.fixture(scope="module")
def published_results():
    return json.loads((_ROOT / "benchmarks/results/estimate_memory.json").read_text())


@pytest.fixture(scope="module")
def gpu():
    return dataclasses.replace(get_topology("rtx4090"), devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def found(tiny, gpu):
    return estimate(tiny("stage_two", **_INT8, remat="block"), gpu)


def test_what_is_stored_by_hand(found):
    """The tiny transformer: 2 blocks of width 32 with 2 heads, 8 channels in and 4 out, patches of 2 x 2."""
    time, text, layers, width = 8, 12, 2, 32
    kernels = layers * (4 * width**2 + 2 * 4 * width**2 + 2 * time * 6 * width)
    channels = layers * (4 * width + 4 * width + width + 2 * 6 * width)
    norms = layers * (2 * 2 * width + 2 * 2 * 16)
    ends = (4 * 8 + 1) * width + (text + 1) * width + (width + 1) * time + (time + 1) * time
    ends += 2 * width + (time + 1) * 2 * width + 2 * width + (width + 1) * 4 * 4
    transformer = kernels + 4 * channels + 2 * (channels + norms + ends)
    structure = 2 * (kernels // 2 + channels // 2 + norms // 2 + ends - 4 * 4 * width)
    factors = 4 * layers * 2 * (width + width)
    memory = found.memory
    assert memory.params == memory.average == memory.gradients == 4 * factors
    assert memory.optimizer == pytest.approx(8 * factors, abs=64)
    # The rest of what is frozen is the identity module, whose sizes are checked where it is.
    assert 0 < memory.frozen - transformer - structure < 100_000
    assert set(found.frozen) == {"structure", "identity", "transformer"}


def test_activations_by_hand(found):
    # Two clips of 4 tokens of text and 2 latent frames of 2 x 2 patches.
    tokens, width = 2 * (4 + 2 * 2 * 2), 32
    assert found.work.tokens == 12 and found.place == Place(False, 2, 12, 1, 2)
    assert [(blocks.layers, blocks.weights) for blocks in found.networks] == [(2, "adapted"), (1, "frozen")]
    assert found.networks[0].kernels == 12 * width**2 + 2 * 8 * 6 * width
    assert found.networks[0].outputs == 9 * width
    # The structure module's one block has run backwards when the transformer's do, which hold more.
    assert found.memory.kept == 2 * tokens * width * 2
    heads, stream = 8 * 4 + 8 * 2, 3 * 4 + 6 * 2
    assert found.memory.block == tokens * (heads * width + 2 * 2 * 4 * width + stream * width)
    assert found.memory.weights == 2 * 4 * width**2 * 2
    assert found.memory.total == sum(dataclasses.asdict(found.memory).values())


def test_what_a_policy_keeps_by_hand():
    place, one = Place(False, 1, 100, 1, 2), dataclasses.replace(_5B, layers=1)
    kept = {remat: activation_bytes([one], place, remat)[0] for remat in POLICIES}
    stream, sums = 100 * 3072 * 2, 100 * 48 * 4
    assert kept["offload"] == 0 and kept["block"] == stream
    assert kept["save_attention"] == stream + stream + sums
    assert kept["save_matmuls"] == stream + 9 * stream + stream + sums
    assert list(kept.values()) == sorted(kept.values(), reverse=True)
    # A TPU's heads of 64 channels have rows of 128 lanes, and it has attention's results without these, too.
    on_tpu = activation_bytes([one], dataclasses.replace(place, tpu=True), "save_attention")[0]
    assert on_tpu == stream + 2 * stream + stream + sums
    # Devices that share a clip share all of it.
    shared = activation_bytes([one], dataclasses.replace(place, ways=4), "save_matmuls")
    assert shared == tuple(part // 4 for part in activation_bytes([one], place, "save_matmuls"))


def test_the_largest_moment_counts():
    """A network behind another waits for nothing; backwards it comes first, with all that the first one has kept."""
    place = Place(False, 1, 100, 1, 2)
    first, last = (activation_bytes([network], place, "block") for network in (_5B, _F_S))
    assert activation_bytes([_5B, _F_S], place, "block") == max(first, (first[0] + last[0], last[1]), key=sum)
    assert activation_bytes([_F_S, _5B], place, "block") == (first[0] + last[0], first[1])
    assert activation_bytes([], place, "block") == (0, 0)


def test_parts_of_a_batch_and_shared_weights(tiny, gpu):
    config = tiny("stage_two", **_INT8 | {"accumulate_steps": 2, "lora.base_type": "frozen_dtype"})
    one = estimate(config, gpu)
    assert one.place.clips == 1 and one.memory.gradients == 2 * one.memory.params
    config.update_from_flattened_dict({"accumulate_steps": 1, "mesh.fsdp": 2, "mesh.tensor": 2, "mesh.data": 1})
    four = estimate(config, dataclasses.replace(gpu, devices=jax.devices()[:4]))
    assert four.place == Place(False, 1, 12, 2, 2)
    assert four.memory.weights == 2 * (12 * 32**2 + 2 * 8 * 6 * 32) * 2 // 2
    assert four.memory.frozen < 0.6 * one.memory.frozen


def test_another_size(found):
    other = at_size(found, 24, "offload")
    assert other.memory.kept == 0 and other.memory.block == 2 * found.memory.block
    assert other.memory.frozen == found.memory.frozen


def test_compiled_figures_of_tpus_are_met(published_results):
    """Every plan that is published; of the pods added up here again, from the figures that are exact in both."""
    compared = published_results["compared"]
    plans = json.loads((_ROOT / "benchmarks/results/plan_pods.json").read_text())["plans"]
    assert compared.keys() >= {f"{size}, {pod}" for size, pod in PODS}
    for name, sizes in compared.items():
        assert sizes["estimated"] == pytest.approx(sizes["compiled"], rel=0.15), name
    for size, pod in PODS:
        name = f"{size}, {pod}"
        memory, mesh = plans[name]["memory"], plans[name]["mesh"]
        config = stage_two.get_config(f"{size}@{pod}")
        tokens = {"5b_i2v": 17_776, "1_5_5b_i2v": 45_106}[size]
        kept, block = activation_bytes([_5B, _F_S], Place(True, 1, tokens, mesh["context"], 2), config.remat)
        exact = sum(memory[part] for part in ("params", "optimizer", "average", "frozen", "batch"))
        weights = (2 * 2 + 4) * _5B.kernels
        estimated = exact + memory["params"] + kept + block + weights
        assert compared[name]["estimated"] == pytest.approx(estimated, rel=1e-3), name
        assert plans[name]["memory_total"] == compared[name]["compiled"]


def test_the_page_has_the_tables(published_results):
    page = (_ROOT / "docs/scaling.md").read_text()
    assert published(page, "estimate_memory") == estimate_memory.compared_table(published_results["compared"])
    assert published(page, "gpu_memory") == estimate_memory.gpu_table(published_results["gpus"])


@pytest.mark.parametrize(("need", "card"), [(15.3, "16 GB"), (15.4, "24 GB"), (23.0, "24 GB"), (23.1, "")])
def test_the_smallest_card(need, card):
    assert estimate_memory.card_for(int(need * _GIB)) == card


@pytest.mark.parametrize(("clip", "tokens"), [((49, 480, 720), 17_776), ((17, 480, 720), 6976), ((1, 16, 16), 227)])
def test_tokens_of_a_clip(clip, tokens):
    assert estimate_memory.tokens(clip) == tokens


def test_in_words(found):
    text = report.to_text(found)
    assert "ESTIMATED: added up, not compiled" in text
    assert "kept activations, estimated" in text
    assert report.verdict(found).startswith("YES by this estimate, it fits: ")
    more = dataclasses.replace(found, capacity=1000)
    assert report.verdict(more).startswith("NO by this estimate, it does not fit: it needs ")
    assert report.to_json(found)["estimated"] is True and report.to_json(found)["fits"] is True


def test_a_search_goes_by_estimates(tiny, gpu):
    config = tiny("stage_two", **_INT8 | {"remat": "none", "lora.base_type": "frozen_dtype"})
    first = estimate(config, gpu)
    small = dataclasses.replace(gpu, capacity=first.memory.total - 1)
    change, found = search(
        config, dataclasses.replace(first, capacity=small.capacity), lambda config: estimate(config, small), print
    )
    assert change == {"remat": "save_matmuls"} and found.fits


def test_gpus_by_name():
    topology = get_topology("h100:8")
    assert len(topology.devices) == 8 and topology.estimated and topology.capacity == int(0.96 * (80 * _GIB))
    assert len(get_topology("a10g").devices) == 1 and not get_topology("cpu:2").estimated
    with pytest.raises(UserError, match=r"topology rtx4090:9 asks for 9 virtual devices, this process has 8"):
        get_topology("rtx4090:9")
    for name in ("rtx4090:0", "rtx4090:2x2", "rtx5090"):
        with pytest.raises(UserError, match=r"unknown topology .*GPUs: rtx4090, a10g, h100, h200"):
            get_topology(name)


def test_networks_without_stacked_blocks_have_none():
    module = Functional(lambda rngs: linear(4, 4, ("embed", "mlp"), rngs=rngs, dtype=jnp.float32))
    assert blocks_of(module.abstract, 1, "trained") is None
