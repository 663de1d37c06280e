"""Clips that a run generates while it trains, always of the same first frames, captions and noise.

They are sampled through the average of the parameters, on the mesh that trains, and decoded on the first device.
"""

import dataclasses
import logging
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from sr_jax.backbones import load_codec
from sr_jax.backbones.codec import VideoCodec
from sr_jax.data.builder import read_empty_prompt, read_provenance, read_spec
from sr_jax.data.held_out import HeldOutClips, held_out_clips
from sr_jax.data.records import Provenance
from sr_jax.errors import UserError
from sr_jax.generation.finite import require_finite_latents, require_finite_video
from sr_jax.generation.sampler import Denoiser, SamplingSettings, sampling_function
from sr_jax.media.video import Video, to_uint8
from sr_jax.models.functional import Params
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.batches import local_rows, to_global
from sr_jax.training.held_out_loss import has_split
from sr_jax.training.hooks import RunParts
from sr_jax.training.program import Program, shardings
from sr_jax.training.state import TrainState

_FIELDS = ("image_latents", "text_embedding")
_NUMBER = "number"

_Sample = Callable[[Params, Params, dict[str, Array]], Array]


@dataclasses.dataclass(frozen=True)
class _Group:
    """Clips of one size.

    Attributes:
        ids: Of the clips.
        rows: Of a batch of them, a multiple of data x fsdp.
        batch: Of these rows, those of this process.
        sample: From what is trained, what is frozen, and a batch to latents.
    """

    ids: list[str]
    rows: int
    batch: dict[str, np.ndarray]
    sample: _Sample


class SampleClips:
    """Generates held-out clips, a hook (`training.hooks`).

    Noise follows from a clip's id, as that of `python -m sr_jax.sample --data` with seed 0.

    Args:
        run: The run; its stage trains a transformer that takes an image.
        clips: Of each size.
        settings: How to sample.
        codec: What decodes; None on all processes but the first.
        fps: Frames a second.

    Raises:
        UserError: For an unknown sampler or an impossible number of steps; when records are damaged.
    """

    name: ClassVar[str] = "samples"
    directions: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        run: RunParts,
        clips: list[HeldOutClips],
        settings: SamplingSettings,
        codec: VideoCodec | None,
        fps: float,
    ):
        self.every_steps = run.config.samples.every_steps
        self._program, self._frozen, self._codec, self._fps = run.program, run.frozen, codec, fps
        no_text = read_empty_prompt(run.config.data.dir)
        self._groups = [_read(group, run.program, settings, no_text) for group in clips]

    def __call__(self, step: int, state: TrainState) -> dict[str, float | Video]:
        """The clips by `samples/ID`; one that is not made of finite numbers is left out, which a line says."""
        found: dict[str, float | Video] = {}
        for group in self._groups:
            batch = to_global(group.batch, group.rows, self._program.mesh)
            latents = group.sample(state.ema_params, self._frozen, batch)
            if self._codec is not None:
                for clip_id, clip in zip(group.ids, np.asarray(latents)):
                    found |= self._decoded(clip_id, clip, self._codec)
        return found

    def _decoded(self, clip_id: str, latents: Float[np.ndarray, "t h w c"], codec: VideoCodec) -> dict[str, Video]:
        try:
            require_finite_latents(latents, clip_id)
            video = codec.decode_to_host(latents[None])[0]
            require_finite_video(video, clip_id)
        except UserError as error:
            logging.warning("no sample clip: %s", error)
            return {}
        return {f"{self.name}/{clip_id}": Video(to_uint8(np.asarray(video)), self._fps)}


def make_sample_clips(run: RunParts) -> SampleClips | None:
    """The hook of a run by its config's `samples` section; None where that is off, or names no codec's path.

    Raises:
        UserError: When the codec is not the dataset's, the transformer takes no image, or for options that there are
            not.
    """
    section = run.config.get("samples")
    if section is None or not section.every_steps or not section.codec.get("path"):
        return None
    if not run.program.stage.backbone.takes_image:
        raise UserError(
            "config.samples makes clips from their first frames, and this transformer takes none: set "
            "config.samples.every_steps=0"
        )
    if not has_split(run.config, "sample clips"):
        return None
    provenance = read_provenance(run.config.data.dir)
    codec = _checked_codec(section.codec.to_dict(), provenance) if jax.process_index() == 0 else None
    settings = SamplingSettings(
        section.sampler, section.num_inference_steps, float(section.guidance_scale), section.dynamic_guidance
    )
    clips = held_out_clips(run.config.data.dir, run.config.heldout.split, section.clips, _FIELDS)
    return SampleClips(run, clips, settings, codec, provenance.clip["fps"])


def _checked_codec(section: dict[str, Any], provenance: Provenance) -> VideoCodec:
    codec = load_codec(section)
    for field in ("name", "weight_hash"):
        if getattr(codec, field) != provenance.codec[field]:
            raise UserError(
                f"config.samples.codec has the {field} {getattr(codec, field)!r}, but the dataset was made with "
                f"{provenance.codec[field]!r}: name the codec that it was prepared with"
            )
    return codec


def _read(
    clips: HeldOutClips, program: Program, settings: SamplingSettings, no_text: Float[np.ndarray, "l d"]
) -> _Group:
    ways = math.prod(program.mesh.shape[axis] for axis in meshes.BATCH_AXES)
    rows = -(-clips.count // ways) * ways
    ids, arrays = clips.read(range(clips.count))
    numbers = np.array([zlib.crc32(clip_id.encode()) for clip_id in ids], np.uint32)
    # What fills the batch up is not looked at.
    mine = np.minimum(local_rows(rows, program.mesh), clips.count - 1)
    batch = {name: array[mine] for name, array in (arrays | {_NUMBER: numbers}).items()}
    num_frames = read_spec(clips.folder).latent_shape[0]
    return _Group(ids, rows, batch, _jit_sample(program, settings, no_text, num_frames))


def _jit_sample(
    program: Program, settings: SamplingSettings, no_text: Float[np.ndarray, "l d"], num_frames: int
) -> _Sample:
    """The sampler on the program's mesh, for latents of so many frames."""
    stage = program.stage
    denoiser = Denoiser(stage.backbone, stage.transformer, stage.process, settings)
    sampler = sampling_function(denoiser, num_frames=num_frames)

    def sample(params: Params, frozen: Params, batch: dict[str, Array]) -> Float[Array, "b t h w c"]:
        images, texts = (batch[name].astype(jnp.float32) for name in _FIELDS)
        keys = _keys(batch[_NUMBER])
        # Of the draws of a first frame, the clean one.
        return sampler(stage.transformer_params(params, frozen), keys, images[:, 0], texts, jnp.asarray(no_text))

    where = (shardings(program.state.params), shardings(program.frozen), meshes.batch_sharding(program.mesh))
    return meshes.jit_on_mesh(program.mesh, sample, in_shardings=where, out_shardings=meshes.replicated(program.mesh))


def _keys(numbers: UInt32[Array, " b"]) -> Array:
    return jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(numbers)
