"""Generates clips with a checkpoint: for the records of a dataset, or for one image and one prompt."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm
from jaxtyping import Float
from PIL import Image

from sr_jax.backbones import load_codec
from sr_jax.backbones.base import ClipSize
from sr_jax.backbones.codec import VideoCodec
from sr_jax.backbones.releases import family_of
from sr_jax.checkpoints.loras import described, merge_lora_files
from sr_jax.checkpoints.networks import backbone_of
from sr_jax.checkpoints.pairs import SPACING, require_loaded, sampling_schedule
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.configs.sample import KEYS
from sr_jax.conversion.imported import is_imported
from sr_jax.data.builder import open_dataset, read_provenance
from sr_jax.data.pipeline import eval_examples
from sr_jax.data.records import Provenance
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.generation.assembly import fit_transformer, make_pipeline, sampling_settings
from sr_jax.generation.clip_folder import CODEC_HASH, FACES_HASH, claim
from sr_jax.generation.finite import require_finite_latents
from sr_jax.generation.pipeline import ImageToVideo, require_guidance
from sr_jax.generation.sampler import clip_key
from sr_jax.media.video import write_pieces
from sr_jax.outputs import replacing
from sr_jax.teachers.base import TextTeacher
from sr_jax.teachers.registry import load_text_teacher

_SIZES = ClipSize._fields


@dataclasses.dataclass(frozen=True)
class Generator:
    """A checkpoint, ready to sample.

    Attributes:
        pipeline: From images and prompts to videos.
        provenance: Of the dataset that the checkpoint was trained on; None for released weights.
        made_by: What made the clips, for `sampling.json`.
        seed: Of all noise.
        batch_size: Clips in one call of the sampler.
        negative_prompt: What all clips should not show.
    """

    pipeline: ImageToVideo
    provenance: Provenance | None
    made_by: dict[str, Any]
    seed: int
    batch_size: int
    negative_prompt: str = ""

    def latents(
        self,
        clip_ids: Sequence[str],
        images: Float[np.ndarray, "n 1 h w c"],
        texts: Float[np.ndarray, "n l d"],
    ) -> Float[np.ndarray, "n t h w c"]:
        """Clean latents of up to `batch_size` clips; fewer are filled up, so that one shape is compiled.

        Args:
            clip_ids: Name of each clip, which its noise follows from.
            images: Clean latents of the first frames.
            texts: Embeddings of the prompts.

        Raises:
            UserError: When the latents of a clip hold NaN.
        """
        count = len(clip_ids)
        rows = [min(row, count - 1) for row in range(self.batch_size)]
        keys = jnp.stack([clip_key(self.seed, clip_ids[row]) for row in rows])
        unwanted = np.broadcast_to(self._unwanted, (self.batch_size, *self._unwanted.shape))
        latents = self.pipeline.sample(keys, images[rows], texts[rows], unwanted)[:count]
        for clip_id, clip in zip(clip_ids, latents, strict=True):
            require_finite_latents(clip, clip_id)
        return latents

    @functools.cached_property
    def _unwanted(self) -> Float[np.ndarray, "l d"]:
        return self.pipeline.embed([self.negative_prompt], [self.negative_prompt])[1][0]

    def require_fitting(self, data_dir: Path) -> None:
        """Checks that a dataset is of the kind that the checkpoint was trained on.

        For released weights, which know of no dataset: that it was made with the same codec and text teacher.

        Raises:
            UserError: Naming what differs.
        """
        found = read_provenance(data_dir)
        if self.provenance is None:
            _require_same("codec", self.pipeline.codec, found.codec, data_dir)
            _require_same("text", self.pipeline.text, found.teachers["text"], data_dir)
        elif differences := found.differences(self.provenance):
            raise UserError(
                f"the dataset in {data_dir} is not of the kind the checkpoint was trained on: {differences[0]}"
            )


def load_generator(
    checkpoint: Path,
    config: ml_collections.ConfigDict,
    data_dir: Path | None = None,
    *,
    step: int | None = None,
    base: str = "",
    negative_prompt: str = "",
) -> Generator:
    """Loads a checkpoint of a training run, or an import of released weights.

    Args:
        checkpoint: Workdir of a base or stage two run, or what `python -m sr_jax.convert import` wrote.
        config: Of `configs/sample.py`.
        data_dir: A dataset whose clips' size is to be generated, where `config.clip` names none; None: the size that
            the checkpoint was trained on, and of several the released one or else the first.
        step: Which checkpoint of the run; the newest when None.
        base: Where the weights are that a LoRA run adapts; empty: see `origins.locate_base`.
        negative_prompt: What clips should not show.

    Raises:
        UserError: When the checkpoint holds no transformer for image to video, or was trained on latents of another
            codec or on captions of another text teacher than the config names; for an option that does not exist, a
            size or a LoRA file that does not fit, or a dataset that is missing.
    """
    # First what takes no time.
    _check(config, checkpoint)
    settings = sampling_settings(config)
    require_guidance([negative_prompt], guided=settings.guided)
    data = None if data_dir is None else read_provenance(data_dir)
    params, meta = load_transformer(checkpoint, step=step, base=base)
    trained = meta["config"] | {"schedule": sampling_schedule(checkpoint, meta, config.timestep_spacing)}
    provenance = None if meta["stage"] == "import" else Provenance.from_json(json.dumps(meta["provenance"]))
    codec, backbone = load_codec(_with_path(config.codec, checkpoint)), backbone_of(trained)
    if provenance is None:
        require_loaded("codec", codec, meta, checkpoint)
    else:
        _require_same("codec", codec, provenance.codec, checkpoint)
    params = merge_lora_files(params, backbone, config.lora.files, config.lora.weights)
    process = backbone.process(trained["schedule"])
    process.steps(settings.sampler, settings.num_inference_steps)
    settings = dataclasses.replace(settings, sampler=settings.sampler or process.sampler)
    size = backbone.clip_size(codec.spatial_compression_ratio)
    for made in filter(None, (provenance, data)):
        size = _size_of(made, size)
    size = size._replace(**{name: config.clip[name] for name in _SIZES if config.clip[name]})
    # Of all that is loaded, text teachers are the largest.
    fit_transformer(params, backbone, codec, size, config.position_table)
    text = load_text_teacher(_with_path(config.text, checkpoint))
    if provenance is None:
        require_loaded("text", text, meta, checkpoint)
    else:
        _require_same("text", text, provenance.teachers["text"], checkpoint)
    pipeline = make_pipeline(config, params, trained, codec, text, size)
    made_by = {"checkpoint": str(checkpoint), "stage": meta["stage"], "step": meta["step"], "seed": config.seed}
    made_by |= dataclasses.asdict(settings) | {"frozen": _supervisors(trained)}
    made_by |= {"clip": size._asdict(), "position_table": config.position_table}
    made_by["dtype"] = config.dtype or trained["dtype"]
    if SPACING in trained["schedule"]:
        made_by[SPACING] = trained["schedule"][SPACING]
    if negative_prompt:
        made_by["negative_prompt"] = negative_prompt
    if config.long.frames:
        made_by["long"] = config.long.to_dict()
    if config.lora.files:
        made_by["lora"] = described(config.lora.files, config.lora.weights)
    # What is in the codec's files is checked by its hash.
    made_by["codec"] = {name: value for name, value in config.codec.items() if name != "path"}
    return Generator(pipeline, provenance, made_by, config.seed, config.batch_size, negative_prompt)


def _check(config: ml_collections.ConfigDict, checkpoint: Path) -> None:
    """Checks a config before anything is loaded."""
    check(KEYS, config)
    if is_imported(checkpoint):
        name, family = config.codec.get("name"), family_of(checkpoint)[0]
        if name != family and config.codec.get("path") == "":
            raise UserError(
                f"{checkpoint} is an import of released weights, and config.codec is {name!r}: use "
                f"--config configs/sample.py:{family}"
            )


def _supervisors(trained: Mapping[str, Any]) -> dict[str, str]:
    """The workdirs of the modules that supervised, by objective."""
    return {name: section.get("module", "") for name, section in trained.get("alignment", {}).items()}


def _size_of(made: Provenance, preferred: ClipSize) -> ClipSize:
    """The size of a dataset's clips; of several the preferred one, or else the first."""
    wanted = (preferred.height, preferred.width)
    height, width = wanted if wanted in made.sizes else made.sizes[0]
    return ClipSize(made.clip["num_frames"], height, width, made.clip["fps"])


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
            holds clips made with other settings; when what is generated holds NaN.
    """
    generator.require_fitting(data_dir)
    claim(output, generator.made_by | _hashes(generator) | {"data": str(data_dir), "split": split})
    total = len(open_dataset(data_dir, split))
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
                _write_clip(output / f"{example['clip_id']}.mp4", clip, generator.pipeline, example["fps"])
                bar.update()


def generate_one(generator: Generator, image: np.ndarray | Image.Image, prompt: str, output: Path) -> None:
    """Generates one clip from an image and a prompt, as `ImageToVideo` takes them, and writes it to `output` (mp4).

    Raises:
        UserError: As `ImageToVideo`.
    """
    pieces = generator.pipeline.pieces(image, prompt, negative_prompt=generator.negative_prompt, seed=generator.seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_pieces(output, pieces, generator.pipeline.clip.fps)


def _hashes(generator: Generator) -> dict[str, str]:
    """What tells judges of the clips from what supervised them; nothing supervised released weights."""
    hashes = {CODEC_HASH: generator.pipeline.codec.weight_hash}
    if generator.provenance is not None:
        hashes[FACES_HASH] = generator.provenance.teachers["face_recogniser"]["weight_hash"]
    return hashes


def _missing(examples: Iterable[dict[str, Any]], output: Path, bar: tqdm.tqdm) -> Iterator[dict[str, Any]]:
    """The examples whose clip is not there yet; the others move the bar."""
    for example in examples:
        if (output / f"{example['clip_id']}.mp4").is_file():
            bar.update()
        else:
            yield example


def _write_clip(path: Path, latents: Float[np.ndarray, "t h w c"], pipeline: ImageToVideo, fps: float) -> None:
    """Latents appear before the mp4, so that a clip whose mp4 is there is complete, and behind its last frame."""

    def pieces() -> Iterator[Float[np.ndarray, "f h w 3"]]:
        yield from pipeline.decode(latents, path.stem)
        with replacing(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(file, latents=latents.astype(np.float16))

    write_pieces(path, pieces(), fps)


def _with_path(section: ml_collections.ConfigDict, checkpoint: Path) -> dict[str, Any]:
    """A config section; where it has an empty path, codec or teacher are looked for in the checkpoint's folder."""
    given = section.to_dict()
    if given.get("path") == "" and is_imported(checkpoint):
        given["path"] = str(checkpoint)
    return given


def _require_same(kind: str, loaded: VideoCodec | TextTeacher, made_with: Mapping[str, Any], what: Path) -> None:
    for field in ("name", "weight_hash"):
        if getattr(loaded, field) != made_with[field]:
            raise UserError(
                f"config.{kind} has the {field} {getattr(loaded, field)!r}, but {what} was made with "
                f"{made_with[field]!r}: name the {kind} that the dataset was prepared with"
            )
