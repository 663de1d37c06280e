"""Plans one run: compiles its real train step for a topology, and measures the compiled program."""

import dataclasses
import math
import time
from typing import Any

import jax
import ml_collections

from sr_jax.checkpoints.networks import backbone_of, structure_backbone_of
from sr_jax.parallel import mesh as meshes
from sr_jax.planning import hlo
from sr_jax.planning.attention_traffic import AttentionTraffic, attention_traffic
from sr_jax.planning.collectives import Traffic, collectives
from sr_jax.planning.memory import Memory, compiled_memory, refused_memory
from sr_jax.planning.operations import count_flops
from sr_jax.planning.roofline import Roofline, roofline
from sr_jax.planning.topologies import Topology
from sr_jax.planning.traffic import main_memory_bytes
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec
from sr_jax.training.stages import Work

NOISY_IMAGES = 4
"""Draws of the noisy first frame that a record is taken to hold (the default of `configs/prepare.py`)."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What planning found.

    Attributes:
        topology: Name of the topology.
        num_devices: Its devices.
        mesh: Devices along each axis of the mesh.
        clips: Clips of one step.
        frozen: Names of the networks that the loss reads and never changes.
        num_heads: Attention heads that every network has a multiple of: what the `tensor` axis can split.
        work: Of one clip.
        hardware_flops: Of one step, the recomputed ones included.
        memory: Of one device; all that is known of a program that was refused for want of it.
        capacity: Bytes of a device's memory that a program may use; None where it is unknown.
        compiled: Whether the compiler took the program.
        compile_seconds: Of tracing, lowering and compiling, by the clock.
        compile_cpu_seconds: The same, of all of the machine's cores together.
        attention: What attention sends, either way; None where no devices share a sequence.
        traffic: Collectives by kind; None when nothing was compiled.
        hbm_bytes: What one device moves to and from its main memory in a step, estimated; None as above.
        roofline: None when nothing was compiled or the peaks are unknown.
    """

    topology: str
    num_devices: int
    mesh: dict[str, int]
    clips: int
    frozen: tuple[str, ...]
    num_heads: int
    work: Work
    hardware_flops: int
    memory: Memory
    capacity: int | None
    compiled: bool
    compile_seconds: float
    compile_cpu_seconds: float
    attention: AttentionTraffic | None
    traffic: dict[str, Traffic] | None
    hbm_bytes: int | None
    roofline: Roofline | None

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None where the capacity is unknown."""
        return None if self.capacity is None else self.compiled and self.memory.total <= self.capacity

    @property
    def model_flops(self) -> int:
        """Of one step."""
        return self.clips * self.work.flops


def plan(config: ml_collections.ConfigDict, topology: Topology) -> Plan:
    """Compiles the train step that `config` describes for `topology`; allocates no array of it.

    Args:
        config: See `configs/`; frozen modules that it names no workdir for are those that it describes.
        topology: The devices.

    Raises:
        UserError: For a config that no run could be started with on these devices.
    """
    fields = config.to_dict()
    mesh = meshes.make_mesh(config.mesh.to_dict(), topology.devices)
    meshes.check_batch_size(config.batch_size, mesh, config.accumulate_steps)
    stage = builders.build_stage(config, described_stage_one(config))
    program = build_program(config, mesh, stage)
    records = record_spec(config, stage, noisy_images=NOISY_IMAGES)
    batch = abstract_batch(records, stage, config.batch_size, mesh)
    start, cpu_start = time.perf_counter(), time.process_time()
    traced = program.train_step.trace(program.state, program.frozen, batch)
    try:
        compiled = traced.lower().compile()
        memory = compiled_memory(program, batch, compiled.memory_analysis())
    except jax.errors.JaxRuntimeError as error:
        compiled, memory = None, refused_memory(program, batch, str(error))
        if memory is None:
            raise
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    found = {
        "topology": topology.name,
        "num_devices": mesh.size,
        "mesh": dict(mesh.shape),
        "clips": config.batch_size,
        "frozen": tuple(name for name, frozen in stage.frozen.items() if frozen.is_network),
        "num_heads": math.gcd(backbone_of(fields).num_heads, structure_backbone_of(fields).num_heads),
        "work": stage.work(records.latent_shape[:3], records.text_shape[0]),
        "hardware_flops": count_flops(traced.jaxpr),
        "attention": attention_traffic(traced.jaxpr, mesh.shape["context"]),
        "memory": memory,
        "capacity": topology.capacity,
        "compile_seconds": seconds,
        "compile_cpu_seconds": cpu_seconds,
    }
    if compiled is None:
        return Plan(**found, compiled=False, traffic=None, hbm_bytes=None, roofline=None)
    return Plan(**found, compiled=True, **_measured(compiled, found, topology))


def described_stage_one(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The stage one of objectives that name no workdir: their modules are those that `config` itself describes.

    Such a structure module reads the empty prompt, as those of the released sizes do: 226 tokens more than without.
    """
    return config.to_dict() | {"structure_input": "clean", "structure_text": "empty_prompt"}


def _measured(compiled: jax.stages.Compiled, found: dict[str, Any], topology: Topology) -> dict[str, Any]:
    text = hlo.parse(compiled.as_text())
    traffic = collectives(text, found["num_devices"])
    hbm_bytes = main_memory_bytes(text)
    bound = topology.chip and roofline(
        topology.chip,
        num_devices=found["num_devices"],
        model_flops=found["clips"] * found["work"].flops,
        hardware_flops=found["hardware_flops"],
        hbm_bytes=hbm_bytes,
        sent_bytes=sum(kind.bytes for kind in traffic.values()),
    )
    return {"traffic": traffic, "hbm_bytes": hbm_bytes, "roofline": bound}
