"""Large copies are found in a program; those inside of a fusion and those in a loop are counted as they should be."""

from benchmarks.plan_copies import estimated_cycles, large_moves

_PROGRAM = """HloModule step

%fused (p: f32[64,1024]) -> f32[1024,64] {
  %p = f32[64,1024]{1,0} parameter(0)
  ROOT %transpose.1 = f32[1024,64]{0,1} transpose(%p), dimensions={1,0}
}

%body (c: (s32[], f32[64,1024])) -> (s32[], f32[64,1024]) {
  %c = (s32[], f32[64,1024]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %x = f32[64,1024]{1,0} get-tuple-element(%c), index=1
  %copy.7 = f32[64,1024]{0,1} copy(%x), metadata={op_name="jit(step)/block/attention"}
  %add.remat2 = f32[64,1024]{1,0} add(%x, %x), metadata={op_name="jit(step)/block/norm"}
  ROOT %t = (s32[], f32[64,1024]{1,0}) tuple(%i, %add.remat2)
}

%cond (c: (s32[], f32[64,1024])) -> pred[] {
  %c = (s32[], f32[64,1024]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %n = s32[] constant(3)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[64,1024]) -> f32[1024,64] {
  %a = f32[64,1024]{1,0} parameter(0)
  %z = s32[] constant(0)
  %small = f32[8]{0} copy(%a), metadata={op_name="jit(step)/small"}
  %t = (s32[], f32[64,1024]{1,0}) tuple(%z, %a)
  %w = (s32[], f32[64,1024]{1,0}) while(%t), condition=%cond, body=%body
  %y = f32[64,1024]{1,0} get-tuple-element(%w), index=1
  ROOT %transpose_fusion = f32[1024,64]{1,0} fusion(%y), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/end"}
}
"""


def test_copies_remats_and_named_fusions_are_found_as_often_as_they_run():
    found = large_moves(_PROGRAM, least=64 * 1024 * 4)
    assert [(line["kind"], line["runs"], line["of"], line["bytes"]) for line in found] == [
        ("moved", 3, "jit(step)/block/attention", 262_144),
        ("rematerialised", 3, "jit(step)/block/norm", 262_144),
        ("moved", 1, "jit(step)/end", 262_144),
    ]


def test_what_is_smaller_counts_for_nothing():
    assert large_moves(_PROGRAM, least=64 * 1024 * 4 + 1) == []


def test_estimated_cycles_are_of_what_runs_as_often_as_it_runs():
    costs = {"%transpose.1": 1_000, "%copy.7": 20, "%add.remat2": 7, "%small": 500, "%transpose_fusion": 4_000}
    lines = []
    for line in _PROGRAM.splitlines():
        cost = costs.get(line.strip().removeprefix("ROOT ").partition(" ")[0])
        lines.append(line if cost is None else f'{line}, backend_config={{"estimated_cycles":"{cost}"}}')
    # What is inside of the fusion is part of it.
    assert estimated_cycles("\n".join(lines)) == 3 * (20 + 7) + 500 + 4_000
