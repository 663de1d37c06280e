"""Generates clips with a trained checkpoint: for the records of a dataset, or for one image and one prompt."""

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm
from jaxtyping import Array, Float, UInt8

from sr_jax.data.builder import open_dataset, read_provenance
from sr_jax.data.pipeline import eval_examples
from sr_jax.data.records import Provenance
from sr_jax.data.video import resize_and_crop, to_unit_range, write_video
from sr_jax.errors import UserError
from sr_jax.evaluation.sampling import Sampler, SamplingSettings, clip_key, make_sampler
from sr_jax.models.codec import VideoCodec, latent_frames
from sr_jax.models.functional import Params
from sr_jax.teachers.base import TextTeacher
from sr_jax.teachers.registry import load_codec, load_text_teacher
from sr_jax.training.builders import build_schedule, build_transformer
from sr_jax.training.checkpoints import load_params

SETTINGS_FILE = "sampling.json"
"""Beside the generated clips: what made them."""


@dataclasses.dataclass(frozen=True)
class Generator:
    """A checkpoint, ready to sample.

    Attributes:
        sampler: The compiled sampler.
        params: The transformer's averaged weights.
        codec: Decodes latents.
        text: Embeds prompts.
        provenance: Of the dataset that the checkpoint was trained on.
        made_by: What made the clips, for `sampling.json`.
        seed: Of all noise.
        batch_size: Clips in one call of the sampler.
    """

    sampler: Sampler
    params: Params
    codec: VideoCodec
    text: TextTeacher
    provenance: Provenance
    made_by: dict[str, Any]
    seed: int
    batch_size: int

    def latents(
        self,
        clip_ids: Sequence[str],
        images: Float[np.ndarray, "n 1 h w c"],
        texts: Float[np.ndarray, "n l d"],
    ) -> Float[np.ndarray, "n t h w c"]:
        """Samples up to `batch_size` clips; a smaller number is filled up, so that one shape is compiled.

        Args:
            clip_ids: Name of each clip, which its noise follows from.
            images: Clean latents of the first frames.
            texts: Embeddings of the prompts.
        """
        missing = self.batch_size - len(clip_ids)
        images, texts = (np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) for rows in (images, texts))
        keys = [clip_key(self.seed, clip_id) for clip_id in clip_ids]
        keys = jnp.stack(keys + keys[-1:] * missing)
        no_text = jnp.asarray(self.text([""])[0])
        return np.asarray(self.sampler(self.params, keys, images, texts, no_text))[: len(clip_ids)]


def load_generator(checkpoint: Path, config: ml_collections.ConfigDict) -> Generator:
    """Loads the newest checkpoint of a training run.

    Args:
        checkpoint: Workdir of a base or stage two run.
        config: Of `configs/sample.py`.

    Raises:
        UserError: When the checkpoint holds no transformer, or was trained on latents of another codec or on captions
            of another text teacher than the config names.
    """
    params, meta = load_params(checkpoint)
    if "transformer" not in params:
        raise UserError(f"{checkpoint} is a {meta['stage']} run, which generates nothing: name a base or stage two run")
    provenance = Provenance.from_json(json.dumps(meta["provenance"]))
    codec, text = load_codec(config.codec), load_text_teacher(config.text)
    _require_same("codec", codec, provenance.codec, checkpoint)
    _require_same("text", text, provenance.teachers["text"], checkpoint)
    settings = SamplingSettings(
        config.sampler, config.num_inference_steps, float(config.guidance_scale), config.dynamic_guidance or None
    )
    trained = meta["config"]
    sampler = make_sampler(
        build_transformer(trained["model"], dtype=trained["dtype"]),
        build_schedule(trained["schedule"]),
        settings,
        latent_frames=latent_frames(provenance.clip["num_frames"], codec.temporal_compression_ratio),
    )
    made_by = {"checkpoint": str(checkpoint), "stage": meta["stage"], "step": meta["step"], "seed": config.seed}
    made_by |= dataclasses.asdict(settings) | {"frozen": trained.get("frozen", {})}
    return Generator(sampler, params["transformer"], codec, text, provenance, made_by, config.seed, config.batch_size)


def generate_split(generator: Generator, data_dir: Path, split: str, output: Path, *, limit: int | None) -> None:
    """Generates the clips of a split from their first frames and captions.

    Writes `<clip_id>.npz` (`latents`, float16) and `<clip_id>.mp4`; clips that are there already are kept. The clips of
    a batch are independent of each other.

    Args:
        generator: What generates.
        data_dir: Folder that `prepare` wrote.
        split: Which split.
        output: Folder to write.
        limit: Only the first so many clips.

    Raises:
        UserError: When the dataset was made otherwise than the one that the checkpoint was trained on, or `output`
            holds clips made with other settings.
    """
    differences = read_provenance(data_dir).differences(generator.provenance)
    if differences:
        raise UserError(f"the dataset in {data_dir} is not of the kind the checkpoint was trained on: {differences[0]}")
    _claim(output, generator.made_by | {"data": str(data_dir), "split": split})
    total = len(open_dataset(data_dir, split))
    decode = jax.jit(generator.codec.decode)
    with tqdm.tqdm(total=total if limit is None else min(limit, total), unit="clip", desc=output.name) as bar:
        missing = _missing(itertools.islice(eval_examples(data_dir, split), limit), output, bar)
        # Records are read as they are needed: at full size they are large.
        while batch := list(itertools.islice(missing, generator.batch_size)):
            latents = generator.latents(
                [example["clip_id"] for example in batch],
                np.stack([example["image_latents"][0] for example in batch]),
                np.stack([example["text_embedding"] for example in batch]),
            )
            for example, clip in zip(batch, latents, strict=True):
                _write_clip(output / f"{example['clip_id']}.mp4", clip, decode, example["fps"])
                bar.update()


def generate_one(generator: Generator, image: Path, prompt: str, output: Path) -> None:
    """Generates one clip from an image file and a prompt, and writes it to `output` (mp4).

    Raises:
        UserError: When the image cannot be read.
    """
    clip = generator.provenance.clip
    pixels = resize_and_crop(read_image(image)[None], clip["height"], clip["width"])
    image_latents, _ = generator.codec.encode(to_unit_range(pixels)[None])
    latents = generator.latents([prompt], np.asarray(image_latents), generator.text([prompt]))
    output.parent.mkdir(parents=True, exist_ok=True)
    _write_clip(output, latents[0], generator.codec.decode, clip["fps"])


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as RGB.

    Raises:
        UserError: When the file is missing or is no image.
    """
    if not path.is_file():
        raise UserError(f"no image file {path}")
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UserError(f"{path} is not an image that can be read: give a PNG or a JPEG file")
    return np.ascontiguousarray(pixels[..., ::-1])


def read_settings(folder: Path) -> dict[str, Any]:
    """What made the clips in a folder that `generate_split` wrote.

    Raises:
        UserError: When the folder does not say.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise UserError(f"no {path}: name a folder that `python -m sr_jax.sample --data` wrote")
    return json.loads(path.read_text())


def _claim(output: Path, made_by: dict[str, Any]) -> None:
    """Marks a new folder with what makes its clips; refuses one that holds clips made otherwise."""
    path = output / SETTINGS_FILE
    if path.is_file():
        before = json.loads(path.read_text())
        for name in sorted(before.keys() | made_by.keys()):
            if before.get(name) != made_by.get(name):
                raise UserError(
                    f"{output} holds clips made with {name}={before.get(name)!r}, now it is {made_by.get(name)!r}: "
                    "choose another --output or remove it"
                )
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not an empty folder: choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    temporary = output / f".{SETTINGS_FILE}.partial"
    temporary.write_text(json.dumps(made_by, indent=2) + "\n")
    os.replace(temporary, path)


def _missing(examples: Iterable[dict[str, Any]], output: Path, bar: tqdm.tqdm) -> Iterator[dict[str, Any]]:
    """The examples whose clip is not there yet; the others move the bar."""
    for example in examples:
        if (output / f"{example['clip_id']}.mp4").is_file():
            bar.update()
        else:
            yield example


def _write_clip(path: Path, latents: Float[np.ndarray, "t h w c"], decode: Any, fps: float) -> None:
    """Latents first: a clip whose mp4 is there is complete."""
    temporary = path.with_suffix(".npz.partial")
    with temporary.open("wb") as file:
        np.savez(file, latents=latents.astype(np.float16))
    os.replace(temporary, path.with_suffix(".npz"))
    frames: Float[Array, "1 f y x 3"] = decode(latents[None])
    write_video(path, np.asarray(frames[0]), fps)


def _require_same(kind: str, loaded: VideoCodec | TextTeacher, trained: Mapping[str, Any], checkpoint: Path) -> None:
    for field in ("name", "weight_hash"):
        if getattr(loaded, field) != trained[field]:
            raise UserError(
                f"config.{kind} has the {field} {getattr(loaded, field)!r}, but {checkpoint} was trained with "
                f"{trained[field]!r}: name the {kind} that its dataset was prepared with"
            )
