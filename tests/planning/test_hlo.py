"""Reading compiled programs: by hand, and a real one whose collectives are known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sr_jax.parallel.mesh import make_mesh
from sr_jax.planning import hlo
from sr_jax.planning.collectives import Traffic, collectives
from sr_jax.planning.traffic import main_memory_bytes

# As XLA writes for TPUs: no note of the loop's length, a reduce-scatter inside a fusion, arrays in fast memory (S(1)).
_TPU = """HloModule jit_step, is_scheduled=true

%add (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[]{:T(256)} parameter(0)
  %y = bf16[]{:T(256)} parameter(1)
  ROOT %sum = bf16[]{:T(256)} add(%x, %y)
}

%all-reduce-scatter.1 (input: bf16[64,32]) -> bf16[16,32] {
  %input = bf16[64,32]{1,0:T(8,128)} parameter(0)
  %all-reduce.4 = bf16[64,32]{1,0:T(8,128)} all-reduce(%input), replica_groups={{0,1,2,3}}, to_apply=%add
  %zero = s32[]{:T(128)} constant(0)
  ROOT %slice = bf16[16,32]{1,0:T(8,128)} dynamic-slice(%all-reduce.4, %zero, %zero), dynamic_slice_sizes={16,32}
}

%layer (stacked: f32[6,16,32], index: s32[]) -> bf16[16,32] {
  %stacked = f32[6,16,32]{2,1,0:T(8,128)} parameter(0)
  %index = s32[]{:T(128)} parameter(1)
  %zero.1 = s32[]{:T(128)} constant(0)
  %one = f32[1,16,32]{2,1,0:T(8,128)} dynamic-slice(%stacked, %index, %zero.1, %zero.1), dynamic_slice_sizes={1,16,32}
  ROOT %cast = bf16[16,32]{1,0:T(8,128)} convert(%one)
}

%body (carry: (s32[], f32[6,16,32])) -> (s32[], f32[6,16,32]) {
  %carry = (s32[]{:T(128)}, f32[6,16,32]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%carry), index=0
  %w = f32[6,16,32]{2,1,0:T(8,128)} get-tuple-element(%carry), index=1
  %kernel = bf16[16,32]{1,0:T(8,128)S(1)} fusion(%w, %i), kind=kLoop, calls=%layer
  %all-gather.7 = bf16[64,32]{1,0:T(8,128)S(1)} all-gather(%kernel), replica_groups=mesh['a'=2,'b'=4] {'b'}
  %grad = bf16[16,32]{1,0:T(8,128)} fusion(%all-gather.7), kind=kCustom, calls=%all-reduce-scatter.1
  %next = s32[]{:T(128)} add(%i, %i)
  ROOT %out = (s32[]{:T(128)}, f32[6,16,32]{2,1,0:T(8,128)}) tuple(%next, %w)
}

%condition (carry.1: (s32[], f32[6,16,32])) -> pred[] {
  %carry.1 = (s32[]{:T(128)}, f32[6,16,32]{2,1,0:T(8,128)}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  %six = s32[]{:T(128)} constant(6)
  ROOT %less = pred[]{:T(512)} compare(%j, %six), direction=LT
}

ENTRY %main (w.1: f32[6,16,32]) -> (s32[], f32[6,16,32]) {
  %w.1 = f32[6,16,32]{2,1,0:T(8,128)} parameter(0)
  %start = s32[]{:T(128)} constant(0)
  %tuple.1 = (s32[]{:T(128)}, f32[6,16,32]{2,1,0:T(8,128)}) tuple(%start, %w.1)
  ROOT %while.1 = (s32[]{:T(128)}, f32[6,16,32]{2,1,0:T(8,128)}) while(%tuple.1), condition=%condition, body=%body
}
"""


def test_a_loop_and_a_fused_reduce_scatter():
    program = hlo.parse(_TPU)
    runs = program.executions()
    assert (runs["main"], runs["body"], runs["all-reduce-scatter.1"]) == (1, 6, 6)
    assert collectives(program, 8) == {
        # 16x32 bfloat16 to each of 3 others; three quarters of 64x32 bfloat16.
        "all-gather": Traffic(6, 6 * 1024 * 3),
        "reduce-scatter": Traffic(6, 6 * 4096 * 3 // 4),
    }


def test_main_memory():
    # In each turn: one layer of float32 is read, not the stack; a gradient is written; the counter is read as an index,
    # added to itself and compared.
    layer, gradient, counter = 16 * 32 * 4, 16 * 32 * 2, 4 + 3 * 4 + (2 * 4 + 1)
    assert main_memory_bytes(hlo.parse(_TPU)) == 6 * (layer + gradient + counter)


@pytest.mark.parametrize(
    ("instruction", "kind", "sent"),
    [
        ("f32[8,64] all-gather(%x), replica_groups=[4,2]<=[8], dimensions={0}", "all-gather", 1024),
        ("f32[8,64] all-gather(%x), replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}", "all-gather", 3072),
        ("f32[4,64] all-reduce(%x), replica_groups={{0,1},{2,3}}, to_apply=%add", "all-reduce", 1024),
        ("f32[4,64] all-reduce(%x), replica_groups={}, to_apply=%add", "all-reduce", 2 * 1024 * 7 // 8),
        ("f32[1,64] reduce-scatter(%x), replica_groups=mesh['a'=4,'b'=2] {'a'}", "reduce-scatter", 768),
        ("f32[1,64] reduce-scatter(%x), replica_groups=mesh['a'=4,'b'=2] {'a','b'}", "reduce-scatter", 896),
        ("f32[4,64] all-to-all(%x), replica_groups=mesh['a'=8] {'a':(2)4}", "all-to-all", 768),
        (
            "(f32[4,64], f32[4,64]) collective-permute-start(%x), source_target_pairs={{0,1}}",
            "collective-permute",
            1024,
        ),
        ("(f32[4,64], f32[8,64]) all-gather-start(%x), replica_groups={{0,1}}, dimensions={0}", "all-gather", 1024),
    ],
)
def test_kinds_and_groups(instruction, kind, sent):
    text = f"ENTRY %main (x: f32[4,64]) -> f32[8,64] {{\n  %x = f32[4,64] parameter(0)\n  %y = {instruction}\n}}"
    assert collectives(hlo.parse(text), 8) == {kind: Traffic(1, sent)}


def test_the_second_half_of_an_asynchronous_collective_is_not_another_one():
    text = "ENTRY %main (x: f32[4]) -> f32[4] {\n  %x = f32[4] parameter(0)\n  %y = f32[4] all-reduce-done(%x)\n}"
    assert collectives(hlo.parse(text), 8) == {}


def test_no_program():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse("nothing of the kind")


def test_a_compiled_scan_over_split_layers():
    """FSDP by hand: each of 5 layers is gathered once forwards and once backwards, its gradient reduced once."""
    mesh = make_mesh({"fsdp": 8})
    layers, width, batch = 5, 64, 32

    def loss(w, x):
        y, _ = jax.lax.scan(jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None)), x, w)
        return jnp.mean(y**2)

    w = jax.ShapeDtypeStruct((layers, width, width), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp")))
    x = jax.ShapeDtypeStruct((batch, width), jnp.float32, sharding=NamedSharding(mesh, P("fsdp")))
    text = jax.jit(jax.grad(loss), out_shardings=w.sharding).lower(w, x).compile().as_text()
    traffic = collectives(hlo.parse(text), mesh.size)
    kernel = 4 * width * width
    # Once for the forward product, and in the backward pass for the recomputed one and for its gradient.
    gathers = traffic["all-gather"]
    assert gathers.count in (2 * layers, 3 * layers)
    assert gathers.bytes == gathers.count * kernel * 7 // 8
    # XLA's CPU compiler has no reduce-scatter.
    assert traffic["all-reduce"].bytes >= layers * 2 * kernel * 7 // 8
