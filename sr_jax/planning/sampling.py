"""Plans sampling with a model of a released family: compiles its programs for a topology, allocating nothing.

A clip goes through three large networks, one after the other, and each program is measured with what stays on its
devices meanwhile. Encoding the first frame takes less than decoding the first nine, and is not compiled.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sr_jax import registry
from sr_jax.backbones.base import ClipSize
from sr_jax.checkpoints.networks import backbone_of, transformer_network
from sr_jax.checkpoints.pairs import sampling_schedule
from sr_jax.checkpoints.reading import read_meta
from sr_jax.errors import UserError
from sr_jax.generation.assembly import clip_sampler, fit_transformer, sampling_mesh, transformer_program
from sr_jax.models.functional import Functional
from sr_jax.models.t5 import T5Config, T5Encoder
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.sharding import bytes_per_device
from sr_jax.planning.memory import refused_temporaries
from sr_jax.planning.topologies import Topology

TEXT, TRANSFORMER, DECODER = "text encoder", "transformer", "decoder"
PARTS = (TEXT, TRANSFORMER, DECODER)
"""What is planned, in the order in which it runs."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The memory of one device while a part of sampling runs, in bytes.

    Attributes:
        name: One of `PARTS`.
        num_devices: That run it.
        weights: Its own.
        resident: Weights of another part that stay meanwhile.
        inputs: What else the program is given, and what the device's layouts add.
        temporaries: Activations and the compiler's buffers.
        output: What it returns.
        code: The program itself.
        compiled: Whether the compiler took it.
        compile_seconds: Of lowering and compiling, by the clock.
        compile_cpu_seconds: The same, of all of the machine's cores together.
    """

    name: str
    num_devices: int
    weights: int
    resident: int
    inputs: int
    temporaries: int
    output: int
    code: int
    compiled: bool
    compile_seconds: float
    compile_cpu_seconds: float

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.resident + self.inputs + self.temporaries + self.output + self.code


@dataclasses.dataclass(frozen=True)
class SamplingPlan:
    """What planning found.

    Attributes:
        model: What is sampled.
        topology: Name of the topology.
        mesh: Devices along each axis of the mesh.
        clip: Size of the clips.
        clips: That are sampled at a time.
        capacity: Bytes of a device's memory that a program may use; None where it is unknown.
        parts: By what runs.
    """

    model: str
    topology: str
    mesh: dict[str, int]
    clip: ClipSize
    clips: int
    capacity: int | None
    parts: tuple[Part, ...]

    @property
    def fits(self) -> bool | None:
        """Whether every part fits; None where the capacity is unknown."""
        if self.capacity is None:
            return None
        return all(part.compiled and part.total <= self.capacity for part in self.parts)


def plan_sampling(
    config: ml_collections.ConfigDict, model: str, topology: Topology, parts: tuple[str, ...] = PARTS
) -> SamplingPlan:
    """Compiles what `python -m sr_jax.sample` runs with `config`.

    Args:
        config: Of `configs/sample.py`, for released models.
        model: A released transformer of the codec's family by its name, or a checkpoint, of which no weights are read.
        topology: The devices.
        parts: Which of `PARTS`.

    Raises:
        UserError: For a config that no clip could be sampled with on these devices, or for another codec or text
            teacher than the released ones.
    """
    family = config.codec.name
    if ":" in family or config.text.name != "t5":
        raise UserError(
            f"config.codec is {family!r} and config.text {config.text.name!r}: sampling is planned with the codec of a "
            "released family and t5"
        )
    mesh = sampling_mesh(config, topology.devices)
    trained = _trained(family, model, config.timestep_spacing)
    codec = _of_family(family, "codec_without_weights")(config.codec)
    backbone = backbone_of(trained)
    asked = {name: value for name, value in config.clip.items() if value}
    clip = backbone.clip_size(codec.spatial_compression_ratio)._replace(**asked)
    abstract = transformer_network(backbone).abstract_params()
    _, backbone = fit_transformer(abstract, backbone, codec, clip, config.position_table)
    program = transformer_program(config, trained, backbone, mesh)
    weights = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(program.dtype), sharding=where),
        program.denoiser.network.abstract_params(),
        program.shardings,
    )
    stays = _bytes(weights) if config.transformer_stays else 0
    ratio = codec.spatial_compression_ratio
    shape = (codec.latent_frames(clip.num_frames), clip.height // ratio, clip.width // ratio)
    found = []
    if TEXT in parts:
        found.append(_measured(TEXT, 1, 0, [_text_encoder(config, topology)]))
    if TRANSFORMER in parts:
        sampler = clip_sampler(program, shape[0])
        arguments = _sampled(config.batch_size, (*shape, backbone.latent_channels), backbone.text_shape, mesh)
        found.append(_measured(TRANSFORMER, mesh.size, 0, [(sampler, (weights, *arguments))]))
    if DECODER in parts:
        found.append(_measured(DECODER, 1, stays, _decoder(codec, shape[1:], topology)))
    return SamplingPlan(
        model, topology.name, dict(mesh.shape), clip, config.batch_size, topology.capacity, tuple(found)
    )


_Program = tuple[Callable[..., Any], tuple[Any, ...]]
"""A jitted function, and abstract arguments of which the first are the weights."""


def _of_family(family: str, attribute: str) -> Any:
    return registry.find("codec", family, package="sr_jax.backbones", attribute=attribute)


def _trained(family: str, model: str, spacing: str) -> dict[str, Any]:
    released = _of_family(family, "released_models")()
    if model in released:
        return {"backbone": family, "model": released[model], "schedule": {}, "dtype": "bfloat16"}
    path = Path(model)
    if not path.is_dir():
        raise UserError(f"no checkpoint in {model}: name one, or one of {', '.join(released)}")
    meta = read_meta(path)
    return meta["config"] | {"schedule": sampling_schedule(path, meta, spacing)}


def _sampled(
    rows: int, latents: tuple[int, ...], text: tuple[int, int], mesh: jax.sharding.Mesh
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Keys, images, prompts and negative prompts."""
    where = meshes.batch_sharding(mesh)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
    shapes = [(rows, 1, *latents[1:]), (rows, *text), (rows, *text)]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=where) for shape in shapes]
    return (jax.ShapeDtypeStruct(keys.shape, keys.dtype, sharding=where), *arrays)


def _text_encoder(config: ml_collections.ConfigDict, topology: Topology) -> _Program:
    encoder = Functional(lambda rngs: T5Encoder(T5Config(), rngs=rngs, dtype=config.text.dtype))
    on_device = _on_first(topology)
    weights = on_device(
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(config.text.dtype)), encoder.abstract_params()
        )
    )
    tokens = on_device(jax.ShapeDtypeStruct((config.text.batch_size, config.text.num_tokens), np.int32))
    return jax.jit(_on_one(topology, encoder.apply)), (weights, tokens)


def _decoder(codec: Any, size: tuple[int, int], topology: Topology) -> Iterator[_Program]:
    on_device = _on_first(topology)
    for step, arguments in codec.decoding_steps(size):
        yield jax.jit(_on_one(topology, step), donate_argnums=2), on_device(arguments)


def _on_first(topology: Topology) -> Callable[[Any], Any]:
    where = jax.sharding.SingleDeviceSharding(topology.devices[0])
    return lambda tree: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree)


def _on_one(topology: Topology, function: Callable[..., Any]) -> Callable[..., Any]:
    """What a network is compiled for, it asks the mesh."""
    return meshes.on_mesh(meshes.make_mesh({}, topology.devices[:1]), function)


def _bytes(tree: Any) -> int:
    return sum(bytes_per_device(leaf, leaf.sharding) for leaf in jax.tree.leaves(tree))


def _measured(name: str, num_devices: int, resident: int, programs: Any) -> Part:
    """The largest of the programs of a part, of which each takes the place of the one before."""
    start, cpu_start = time.perf_counter(), time.process_time()
    found = max((_memory(*program) for program in programs), key=lambda memory: sum(memory[1:]))
    compiled, weights, inputs, temporaries, output, code = found
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return Part(name, num_devices, weights, resident, inputs, temporaries, output, code, compiled, seconds, cpu_seconds)


def _memory(function: Any, arguments: tuple[Any, ...]) -> tuple[bool, int, int, int, int, int]:
    """Whether the compiler takes a program, and bytes of weights, other inputs, temporaries, output and code."""
    weights, given = _bytes(arguments[0]), _bytes(arguments)
    try:
        stats = function.lower(*arguments).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        temporaries = refused_temporaries(str(error), given)
        if temporaries is None:
            raise
        return False, weights, given - weights, temporaries, 0, 0
    # As the device lays them out; of what a program does not read, the compiler leaves out the argument.
    inputs = max(stats.argument_size_in_bytes, given) - weights
    output = max(stats.output_size_in_bytes - stats.alias_size_in_bytes, 0)
    return True, weights, inputs, stats.temp_size_in_bytes, output, stats.generated_code_size_in_bytes
