"""What a run needs of a device that it cannot be compiled for, such as a GPU that is not there: added up, an estimate.

Parameters, their average, the optimizer's state, what is frozen and the batch are exact: they are the shapes and
shardings of the program that would run. Gradients, activations and weights on their way are counted
(`planning.activations`), and the compiler may do better or worse. For TPUs, which can be compiled for, the same counts
are compared with the compiled figures by `benchmarks/estimate_memory.py` (docs/scaling.md).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from sr_jax.checkpoints.networks import backbone_of, structure_backbone_of
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.sharding import bytes_per_device
from sr_jax.planning.activations import Blocks, Place, activation_bytes, blocks_of
from sr_jax.planning.memory import argument_bytes
from sr_jax.planning.planner import NOISY_IMAGES, described_stage_one
from sr_jax.planning.topologies import Topology
from sr_jax.training import builders
from sr_jax.training.program import Program, abstract_batch, build_program, record_spec
from sr_jax.training.stages import Stage, Work


@dataclasses.dataclass(frozen=True)
class EstimatedMemory:
    """Bytes of one device at the step's peak.

    Attributes:
        params: What is trained.
        optimizer: The optimizer's state, and the few numbers that the stage carries.
        average: The moving average of the parameters.
        frozen: What the loss reads and never changes.
        batch: The records of one step.
        gradients: Of what is trained, in float32; their sum besides where a batch is taken in parts.
        kept: Activations that wait for the backward pass.
        block: What one block's backward pass holds.
        weights: Kernels in the compute type, or gathered from other devices.
    """

    params: int
    optimizer: int
    average: int
    frozen: int
    batch: int
    gradients: int
    kept: int
    block: int
    weights: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What was added up; see `planner.Plan` for what both have.

    Attributes:
        topology: Name of the topology.
        num_devices: Its devices.
        mesh: Devices along each axis of the mesh.
        clips: Clips of one step.
        frozen: Names of the networks that the loss reads and never changes.
        num_heads: Attention heads that every network has a multiple of.
        work: Of one clip.
        memory: Of one device.
        capacity: Bytes of a device's memory that a program may use; None where it is unknown.
        networks: The blocks of the networks, in the order in which they run.
        place: A device and its share of the batch.
    """

    topology: str
    num_devices: int
    mesh: dict[str, int]
    clips: int
    frozen: tuple[str, ...]
    num_heads: int
    work: Work
    memory: EstimatedMemory
    capacity: int | None
    networks: tuple[Blocks, ...]
    place: Place

    @property
    def fits(self) -> bool | None:
        """Whether it fits, if the estimate is right; None where the capacity is unknown."""
        return None if self.capacity is None else self.memory.total <= self.capacity


def estimate(config: ml_collections.ConfigDict, topology: Topology) -> Estimate:
    """Adds up what the train step that `config` describes needs of one device; traces and compiles nothing.

    Args:
        config: See `configs/`; frozen modules that it names no workdir for are those that it describes.
        topology: The devices, or as many others in their place.

    Raises:
        UserError: For a config that no run could be started with on these devices.
    """
    mesh = meshes.make_mesh(config.mesh.to_dict(), topology.devices)
    meshes.check_batch_size(config.batch_size, mesh, config.accumulate_steps)
    stage = builders.build_stage(config, described_stage_one(config))
    program = build_program(config, mesh, stage)
    records = record_spec(config, stage, noisy_images=NOISY_IMAGES)
    batch = abstract_batch(records, stage, config.batch_size, mesh)
    work = stage.work(records.latent_shape[:3], records.text_shape[0])
    networks = _networks(config, stage)
    place = Place(
        tpu=topology.devices[0].platform == "tpu",
        clips=config.batch_size // (mesh.shape["data"] * mesh.shape["fsdp"] * config.accumulate_steps),
        tokens=work.tokens,
        ways=mesh.shape["context"] * mesh.shape["tensor"],
        itemsize=jnp.dtype(config.dtype).itemsize,
    )
    kept, block = activation_bytes(networks, place, config.remat)
    return Estimate(
        topology=topology.name,
        num_devices=mesh.size,
        mesh=dict(mesh.shape),
        clips=config.batch_size,
        frozen=tuple(name for name, frozen in stage.frozen.items() if frozen.is_network),
        num_heads=math.gcd(*(blocks.num_heads for blocks in networks)),
        work=work,
        memory=EstimatedMemory(
            **argument_bytes(program.state, program.frozen, batch),
            gradients=_gradients(program, config.accumulate_steps),
            kept=kept,
            block=block,
            weights=max((_weights(blocks, dict(mesh.shape), place.itemsize) for blocks in networks), default=0),
        ),
        capacity=topology.capacity,
        networks=networks,
        place=place,
    )


def at_size(found: Estimate, tokens: int, remat: str) -> Estimate:
    """The estimate of the same run with clips of so many tokens (text included) and another policy.

    The batch, which is of another size then, is left as it was: it is small.
    """
    place = dataclasses.replace(found.place, tokens=tokens)
    kept, block = activation_bytes(found.networks, place, remat)
    return dataclasses.replace(found, memory=dataclasses.replace(found.memory, kept=kept, block=block), place=place)


def _networks(config: ml_collections.ConfigDict, stage: Stage) -> tuple[Blocks, ...]:
    """Those with blocks: the transformer, and the structure module that reads what it puts out."""
    fields = config.to_dict()
    heads = {"transformer": backbone_of(fields).num_heads, "structure": structure_backbone_of(fields).num_heads}
    trained = {name: (module.abstract, "trained") for name, module in stage.modules.items()}
    # A frozen transformer is one that has factors.
    frozen = {
        name: (part.abstract, "adapted" if name == "transformer" else "frozen")
        for name, part in stage.frozen.items()
        if part.is_network
    }
    states: dict[str, tuple[Any, str]] = trained | frozen
    found = (blocks_of(states[name][0], heads[name], states[name][1]) for name in heads if name in states)
    return tuple(blocks for blocks in found if blocks is not None)


def _gradients(program: Program, accumulate_steps: int) -> int:
    whole = sum(
        bytes_per_device(leaf.update(dtype=jnp.float32), leaf.sharding)
        for leaf in jax.tree.leaves(program.state.params)
    )
    return whole if accumulate_steps == 1 else 2 * whole


def _weights(blocks: Blocks, mesh: dict[str, int], itemsize: int) -> int:
    """Of two blocks when devices share them, one that runs and one on its way, with a gradient; else of two kernels."""
    if mesh["fsdp"] * mesh["context"] == 1:
        return 2 * blocks.largest_kernel * itemsize // mesh["tensor"]
    gradient = 4 * blocks.kernels if blocks.weights == "trained" else 0
    return (2 * blocks.kernels * itemsize + gradient) // mesh["tensor"]
