"""A pipeline from a checkpoint's weights, a codec and a text teacher, for the devices that there are."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh

from sr_jax.backbones.base import POSITION_TABLES, Backbone, ClipSize, padded_size
from sr_jax.backbones.codec import VideoCodec
from sr_jax.checkpoints.networks import backbone_of, transformer_network
from sr_jax.errors import UserError
from sr_jax.generation.images import FITS
from sr_jax.generation.pipeline import ImageToVideo
from sr_jax.generation.sampler import Denoiser, Sampler, SamplingSettings, jit_on, sampling_function
from sr_jax.generation.windows import make_window_sampler
from sr_jax.models.functional import Params
from sr_jax.models.precision import storage_type
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.batches import place
from sr_jax.parallel.placed import Placed
from sr_jax.parallel.sharding import ShardingRules, param_shardings
from sr_jax.teachers.base import TextTeacher


def make_pipeline(
    config: ml_collections.ConfigDict,
    params: Params,
    trained: dict[str, Any],
    codec: VideoCodec,
    text: TextTeacher,
    clip: ClipSize,
) -> ImageToVideo:
    """Puts a pipeline together; weights are read where they are first used.

    Args:
        config: Of `configs/sample.py`.
        params: The transformer's weights, arrays of any kind.
        trained: The config of the checkpoint: `backbone`, `model`, `schedule` and `dtype` count.
        codec: Encodes images and decodes latents.
        text: Embeds prompts.
        clip: Size of the videos.

    Raises:
        UserError: When the transformer is none for image to video, does not fit the codec or the clips' size, the codec
            does not fit that size, `config` names an option that does not exist, or its mesh does not fit the devices
            or the batch.
    """
    # First what takes no time.
    settings = sampling_settings(config)
    mesh = sampling_mesh(config, jax.devices())
    params, backbone = fit_transformer(params, backbone_of(trained), codec, clip, config.position_table)
    program = transformer_program(config, trained, backbone, mesh)
    # As they are computed with: half of the bytes of float32 are read from the host, and kept on the devices.
    stored = jax.tree.map(lambda leaf: leaf.astype(program.dtype), params)
    return ImageToVideo(
        _sampler(config, program, codec, clip),
        Placed(stored, functools.partial(place, shardings=program.shardings)),
        codec,
        text,
        clip,
        config.image_fit,
        settings.guided,
        config.transformer_stays,
        config.long.frames if config.long.way == "continuation" else 0,
    )


def sampling_mesh(config: ml_collections.ConfigDict, devices: Sequence[jax.Device]) -> Mesh:
    """The mesh of `config` over these devices, or over the first ones where it asks for fewer.

    Raises:
        UserError: When it does not fit the devices, or the batch.
    """
    sizes = config.mesh.to_dict()
    count = len(devices) if -1 in sizes.values() else math.prod(sizes.values())
    mesh = meshes.make_mesh(sizes, devices[:count])
    meshes.check_batch_size(config.batch_size, mesh)
    return mesh


@dataclasses.dataclass(frozen=True)
class TransformerProgram:
    """What samples with a transformer on a mesh.

    Attributes:
        denoiser: What is sampled.
        mesh: The devices.
        shardings: Of the parameters.
        dtype: They are stored in, and computed with.
    """

    denoiser: Denoiser
    mesh: Mesh
    shardings: Any
    dtype: str


def transformer_program(
    config: ml_collections.ConfigDict, trained: dict[str, Any], backbone: Backbone, mesh: Mesh
) -> TransformerProgram:
    """The program of a transformer for `config` on a mesh, of devices that need not be there.

    Raises:
        UserError: When `config` names an option that does not exist.
        ValueError: Naming each parameter that no sharding rule matches.
    """
    dtype = config.dtype or trained["dtype"]
    network = transformer_network(backbone, dtype=dtype)
    where = param_shardings(network.abstract, mesh, ShardingRules.of(config.sharding.to_dict()))
    denoiser = Denoiser(backbone, network, backbone.process(trained["schedule"]), sampling_settings(config))
    return TransformerProgram(denoiser, mesh, where, dtype)


def clip_sampler(program: TransformerProgram, num_frames: int) -> Sampler:
    """The sampler of clips of so many latent frames at once.

    Raises:
        UserError: For an unknown sampler or an impossible number of steps.
    """
    return jit_on(program.mesh, program.shardings, sampling_function(program.denoiser, num_frames=num_frames))


def _sampler(
    config: ml_collections.ConfigDict, program: TransformerProgram, codec: VideoCodec, clip: ClipSize
) -> Sampler:
    """Of clips of one window, or of long ones (`config.long`)."""
    window, frames = codec.latent_frames(clip.num_frames), config.long.frames
    if frames and frames <= clip.num_frames:
        raise UserError(
            f"{frames} frames are no more than the {clip.num_frames} that the model makes at once: leave out --frames, "
            "and set config.clip.num_frames for shorter clips"
        )
    if frames and config.long.way == "continuation":
        if math.prod(program.mesh.shape[axis] for axis in meshes.BATCH_AXES) > 1:
            raise UserError(
                "clips that are continued are made one after the other, which config.mesh data and fsdp cannot share: "
                "use config.mesh.context"
            )
    elif frames:
        return make_window_sampler(
            program.denoiser,
            num_frames=codec.latent_frames(frames),
            window=window,
            overlap=config.long.overlap,
            mesh=program.mesh,
            params=program.shardings,
        )
    return clip_sampler(program, window)


def fit_transformer(
    params: Params, backbone: Backbone, codec: VideoCodec, clip: ClipSize, position_table: str
) -> tuple[Params, Backbone]:
    """Makes a transformer fit clips of a size, with `position_table` as in `Backbone.fitted`.

    Raises:
        UserError: When the transformer is none for image to video, or does not fit the codec or the clips' size.
    """
    if not backbone.takes_image or backbone.latent_channels != codec.latent_channels:
        raise UserError(
            f"the transformer makes latents of {backbone.latent_channels} channels from "
            f"{'an image' if backbone.takes_image else 'no image'} and text: from images to videos with this codec it "
            f"takes one that makes {codec.latent_channels} from an image"
        )
    return backbone.fitted(params, latent_size(clip, codec, backbone), position_table)


def sampling_settings(config: ml_collections.ConfigDict) -> SamplingSettings:
    """The part of a config of `configs/sample.py` that says how to sample; what else `make_pipeline` reads is checked.

    Raises:
        UserError: For an option that does not exist.
    """
    for name, choices in (("image_fit", FITS), ("position_table", POSITION_TABLES)):
        if config[name] not in choices:
            raise UserError(f"config.{name} is {config[name]!r}: choose one of {', '.join(choices)}")
    if config.dtype:
        storage_type("dtype", config.dtype)
    return SamplingSettings(
        config.sampler, config.num_inference_steps, float(config.guidance_scale), config.dynamic_guidance
    )


def latent_size(clip: ClipSize, codec: VideoCodec, backbone: Backbone) -> tuple[int, int, int]:
    """T, H and W of the latents that the transformer makes, whole patches: frames that are cut off again count.

    Raises:
        UserError: When codec or transformer do not fit the clip's size, naming one that they do.
    """
    ratio, frames = codec.spatial_compression_ratio, codec.latent_frames(clip.num_frames)
    units, sides = [ratio * n for n in backbone.patch[1:]], (clip.height, clip.width)
    if any(side % unit for side, unit in zip(sides, units)):
        height, width = (max(round(side / unit), 1) * unit for side, unit in zip(sides, units))
        raise UserError(
            f"clips of {clip.height}x{clip.width} pixels do not fit codec and transformer: use {height}x{width}, or "
            f"other multiples of {' and '.join(map(str, dict.fromkeys(units)))}"
        )
    return padded_size((frames, clip.height // ratio, clip.width // ratio), backbone.patch)
