"""Fitting and measuring the judge of body parts."""

import json
import logging
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.configs.body_parts import KEYS
from sr_jax.declared.checking import check
from sr_jax.demo.body_parts.judge import SmallBodyPartJudge
from sr_jax.demo.body_parts.network import STRIDE, BodyPartConfig, body_part_network, cross_entropy
from sr_jax.demo.fit_teachers.augmentation import recoloured, relit, softened
from sr_jax.demo.fit_teachers.descent import FitSchedule, adamw, minimise
from sr_jax.demo.labelled_clips import read_labelled_clips
from sr_jax.demo.people.parts import PARTS
from sr_jax.demo.small_faces.weights import save_network
from sr_jax.errors import UserError
from sr_jax.evaluation.judges import BodyPartJudge
from sr_jax.models.functional import Params
from sr_jax.outputs import write_text

JUDGE_FILE, METRICS_FILE = "body_parts.safetensors", "metrics.json"
"""What a fit writes."""


class PartExamples(NamedTuple):
    """M frames with the part at every pixel.

    Attributes:
        frames: RGB.
        maps: Numbers of parts.
    """

    frames: UInt8[np.ndarray | Array, "m h w 3"]
    maps: UInt8[np.ndarray | Array, "m h w"]


def fit_body_parts(config: ml_collections.ConfigDict, videos: Path, output: Path) -> dict[str, float | int | str]:
    """Fits a judge on `videos/train`, writes it, and measures it on `videos/test`.

    Args:
        config: See `configs/body_parts.py`.
        videos: Folder with `train` and `test`, as `python -m sr_jax.demo.people` writes them.
        output: Folder to write.

    Returns:
        The metrics, as written.

    Raises:
        UserError: For a config that is not as it is declared, or videos that are missing, of unlike sizes, of sides
            that are no multiples of 4, or without maps of parts.
    """
    check(KEYS, config)
    start = time.monotonic()
    train, test = (read_part_examples(videos / split) for split in ("train", "test"))
    sizes = BodyPartConfig(**config.network, parts=PARTS)
    params = fit_network(train, sizes, FitSchedule(**config.schedule), seed=config.seed)
    save_network(output / JUDGE_FILE, sizes, params)
    judge = SmallBodyPartJudge.load(output / JUDGE_FILE)
    metrics = part_metrics(judge, test)
    metrics |= {"seed": config.seed, "frames": len(train.frames), "weight_hash": judge.weight_hash}
    metrics |= {"seconds": round(time.monotonic() - start, 1)}
    write_text(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    logging.info("\n".join(f"{name}: {value}" for name, value in metrics.items()))
    return metrics


def read_part_examples(folder: Path) -> PartExamples:
    """The frames of every `NAME.mp4` of a folder, with the maps of `NAME.parts.npz`.

    Raises:
        UserError: If clips or maps are missing or differ in size, or sides are no multiples of the network's stride.
    """
    clips = read_labelled_clips(folder)
    height, width = clips.frames.shape[2:4]
    if height % STRIDE or width % STRIDE:
        raise UserError(f"{folder} has frames of {height}x{width}: their sides must be multiples of {STRIDE}")
    maps = np.stack([_read_maps(folder / f"{name}.parts.npz", clips.frames.shape[1:4]) for name in clips.names])
    return PartExamples(clips.frames.reshape(-1, height, width, 3), maps.reshape(-1, height, width))


def _read_maps(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "f h w"]:
    advice = "render the clips anew with python -m sr_jax.demo.people"
    if not path.is_file():
        raise UserError(f"no {path}: {advice}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            maps = stored["parts"]
    # A damaged zip and a missing key arrive as different built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path}: {advice}") from error
    if maps.shape != tuple(shape) or maps.dtype != np.uint8 or maps.max() > len(PARTS):
        raise UserError(f"{path} does not have one of {len(PARTS)} parts for each pixel of its video: {advice}")
    return maps


def fit_network(examples: PartExamples, config: BodyPartConfig, schedule: FitSchedule, *, seed: int) -> Params:
    """Fits a network on frames that are mirrored, in changed light and colours, and without a part of their detail.

    Args:
        examples: Frames and maps.
        config: Size of the network.
        schedule: How long.
        seed: Of initialisation and batches.

    Returns:
        The network's parameters.
    """
    network = body_part_network(config)
    weights = jnp.asarray(part_weights(examples.maps, len(config.parts)))

    def loss(params: Params, data: PartExamples, key: Array, progress: Array) -> Array:
        del progress
        index_key, mirror_key, light_key, colour_key, soft_key = jax.random.split(key, 5)
        index = jax.random.randint(index_key, (schedule.batch_size,), 0, len(data.frames))
        images = jnp.float32(data.frames[index]) / 127.5 - 1
        images, maps = mirrored(images, data.maps[index], mirror_key)
        images = recoloured(relit(softened(images, soft_key), light_key), colour_key)
        return cross_entropy(network.apply(params, images), maps, weights)

    params_key, key = jax.random.split(jax.random.key(seed))
    start = jax.jit(network.init)(params_key)
    return minimise(loss, start, examples, schedule, adamw(schedule), key, "body parts", bar_line=0)


def part_weights(maps: UInt8[np.ndarray, "m h w"], count: int) -> Float[np.ndarray, " {count}+1"]:
    """What a pixel of no part, and of each part, counts: rare ones more, by the root of how rare they are; mean 1."""
    share = np.bincount(maps.reshape(-1), minlength=count + 1) / maps.size
    weights = np.where(share > 0, 1 / np.sqrt(np.maximum(share, 1e-9)), 0)
    return (weights / (weights @ share)).astype(np.float32)


def mirrored(
    images: Float[Array, "n h w 3"], maps: UInt8[Array, "n h w"], key: Array
) -> tuple[Float[Array, "n h w 3"], UInt8[Array, "n h w"]]:
    """Flips half of the images, with their maps: what was the left arm is the right one then."""
    flip = jax.random.bernoulli(key, 0.5, (len(images), 1, 1))
    other = jnp.asarray(other_sides())
    return (
        jnp.where(flip[..., None], images[:, :, ::-1], images),
        jnp.where(flip, other[maps[:, :, ::-1]], maps),
    )


def other_sides() -> UInt8[np.ndarray, " k"]:
    """For each number of a map that of the same part on the other side."""
    exchange = {"left": "right", "right": "left"}
    names = [" ".join(exchange.get(word, word) for word in name.split()) for name in PARTS]
    return np.array([0, *(1 + PARTS.index(name) for name in names)], np.uint8)


def part_metrics(judge: BodyPartJudge, examples: PartExamples) -> dict[str, float]:
    """How well a judge finds parts: the share of pixels that are right, and intersection over union of each part.

    Returns:
        `accuracy`; `iou` of each part that there is, and their mean, in [0, 1].
    """
    found, true = judge(examples.frames), examples.maps
    ious = {}
    for number, name in enumerate(judge.parts, start=1):
        ours, theirs = found == number, true == number
        if union := int((ours | theirs).sum()):
            ious[name] = float((ours & theirs).sum() / union)
    mean = {"accuracy": float((found == true).mean()), "iou": float(np.mean(list(ious.values())))}
    return mean | {f"iou {name}": value for name, value in ious.items()}
