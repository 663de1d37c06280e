"""Small videos on disk and teachers that need no weights, for tests of preparing."""

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from sr_jax.backbones.codec import latent_frames
from sr_jax.media import video
from sr_jax.media.shots import ShotOptions
from sr_jax.preparation.adding import check_done, next_part
from sr_jax.preparation.captions import Captions
from sr_jax.preparation.dataset import Preparation, make_shard, plan_shard
from sr_jax.preparation.features import FeatureExtractor
from sr_jax.preparation.framing import ClipOptions, DropOptions, Size
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.merging import merge, read_summary
from sr_jax.preparation.people import PersonOptions
from sr_jax.preparation.planning import ClipPlan, Planner
from sr_jax.preparation.preview import clip_look
from sr_jax.preparation.reading import ClipReader
from sr_jax.preparation.summary import Summary
from sr_jax.preparation.work import Shard
from sr_jax.teachers.base import DepthTeacher, Face, FaceTeacher, FeatureTeacher, TextTeacher
from sr_jax.teachers.depth.colours import PUBLISHED_COLOURS
from sr_jax.teachers.depth.features import DepthFeatures
from sr_jax.teachers.depth.precomputed import PrecomputedDepth
from sr_jax.teachers.faces.features import FaceFeatures
from sr_jax.teachers.text.features import TextFeatures

CLIP = {"num_frames": 5, "fps": 8.0, "height": 16, "width": 12}
_SIZES = (Size(CLIP["height"], CLIP["width"]),)


class MeanCodec:
    """A latent pixel holds the mean colour of its patch; the deviation is a tenth of it."""

    name, scaling_factor = "mean", 0.5
    temporal_compression_ratio, latent_channels = 4, 3

    def __init__(self, spatial_compression_ratio=4, weight_hash="m0", image_condition_factor=1.0):
        self.image_condition_factor = image_condition_factor
        self.spatial_compression_ratio = spatial_compression_ratio
        self.weight_hash = weight_hash

    def latent_frames(self, num_frames):
        return latent_frames(num_frames, self.temporal_compression_ratio)

    def encode(self, pixels):
        ratio = self.spatial_compression_ratio
        b, f, h, w, c = pixels.shape
        pixels = pixels.reshape(b, f, h // ratio, ratio, w // ratio, ratio, c).mean(axis=(3, 5))
        later = pixels[:, 1:].reshape(b, -1, 4, h // ratio, w // ratio, c).mean(axis=2)
        mean = jnp.concatenate([pixels[:, :1], later], axis=1) * self.scaling_factor
        return mean, jnp.abs(mean) / 10

    def encode_image(self, image, key):
        raise NotImplementedError

    def decode(self, latents):
        raise NotImplementedError

    def decode_to_host(self, latents):
        raise NotImplementedError

    def decode_pieces(self, latents):
        raise NotImplementedError

    def release(self):
        raise NotImplementedError


class BrightFaces:
    """Finds a face in every frame whose first pixel is not black."""

    name, weight_hash = "bright", "b0"

    def __call__(self, frames):
        box = np.array([0, 0, 4, 4], np.float32)
        return [[Face(box, 0.9)] if frame[0, 0].any() else [] for frame in frames]


class ColourRecogniser:
    """The colour of the first pixel, at unit length."""

    name, weight_hash, embedding_dim = "colour", "r0", 3

    def embed(self, frames, faces):
        found = np.array([face is not None for face in faces])
        colours = frames[:, 0, 0].astype(np.float32) * found[:, None]
        return colours / np.maximum(np.linalg.norm(colours, axis=-1, keepdims=True), 1e-6), found


class BrightnessDepth(DepthTeacher):
    """A depth teacher that needs no file: bright is near."""

    name, weight_hash = "brightness", "d0"

    def __call__(self, frames, fps, path):
        return frames.astype(np.float32).mean(axis=-1)


class LetterText(TextTeacher):
    """Each of the first letters as `[code, code^2] / 1000`."""

    name, weight_hash = "letters", "l0"

    def __init__(self, num_tokens=4):
        self._num_tokens = num_tokens

    def __call__(self, prompts):
        texts = [prompt.ljust(self._num_tokens)[: self._num_tokens] for prompt in prompts]
        codes = np.array([[ord(letter) for letter in text] for text in texts], np.float32)
        return np.stack([codes, codes**2], axis=-1) / 1000


def write_source(path: Path, *, frames=5, size=(16, 12), fps=8.0, depth_frames=None, seed=0, prompt="a person") -> None:
    """Writes a random video with its depth, caption and labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 256, (frames, *size, 3)).astype(np.uint8)
    video.write_video(path, pixels, fps, lossless=True)
    depth = rng.uniform(1, 5, (depth_frames or frames, *size)).astype(np.float32)
    np.savez(path.with_suffix(".depth.npz"), depth=depth)
    path.with_suffix(".txt").write_text(prompt + "\n")
    path.with_suffix(".json").write_text(json.dumps({"identity": seed}))


def scene(seed, count, *, faces=(), speed=0.0, size=(64, 96)):
    """A smooth background that moves, with white squares of 16 pixels at fixed places (top, left)."""
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(0, 200, (2, 3)).tolist())
    y, x = np.mgrid[: size[0], : size[1]]
    frames = []
    for number in range(count):
        wave = 0.5 + 0.5 * np.sin((x + speed * number) / (5 + seed) + y / 9)
        frame = (np.array(low) + wave[..., None] * (np.array(high) - np.array(low))).astype(np.uint8)
        for top, left in faces:
            frame[top : top + 16, left : left + 16] = 255
        frames.append(frame)
    return np.stack(frames)


def write_input(folder: Path) -> Path:
    """Writes seven videos of the split "train", one of them of two clips, and two of "test"."""
    for number in range(7):
        write_source(folder / "train" / f"v{number}.mp4", seed=number, frames=10 if number == 2 else 5)
    for number in range(2):
        write_source(folder / "test" / f"v{number}.mp4", seed=100 + number)
    return folder


def depth(teacher=None, colours=PUBLISHED_COLOURS) -> dict[str, FeatureTeacher]:
    """A depth teacher in its slot; the one that reads depth beside videos unless another is given."""
    return {"depth": DepthFeatures(teacher or PrecomputedDepth(), colours)}


def extractor(*, teachers=None, text=None, boxes=False, **options) -> FeatureExtractor:
    """A `FeatureExtractor` of the fakes."""
    options = {"codec": MeanCodec(), "noisy_images": 2, "seed": 0, **CLIP, **options}
    others = {
        "faces": FaceFeatures(FaceTeacher(BrightFaces(), ColourRecogniser()), boxes=boxes),
        "text": TextFeatures(text or LetterText()),
    }
    return FeatureExtractor(teachers=(teachers or depth()) | others, **options)


def records(extract: FeatureExtractor, clips) -> list[dict[str, np.ndarray]]:
    """The arrays of the records of some clips, in one batch."""
    return [arrays for arrays, _ in extract(clips, len(clips))]


def planner(folder: Path, **options) -> Planner:
    """A `Planner` of clips of `CLIP`, without shots and people unless `options` ask for them."""
    clip = {"stride": CLIP["num_frames"], "sizes": _SIZES}
    names = ("stride", "sizes", "frames_fps", "still_images", "more_frames", "num_frames")
    clip |= {name: options.pop(name) for name in names if name in options}
    options = {
        "shots": ShotOptions(),
        "person": PersonOptions(),
        "drop": DropOptions(),
        "finder": None,
        "teachers": depth(),
        "captions": Captions(),
        "default_prompt": "",
        "strict": True,
        **options,
    }
    return Planner(clip=ClipOptions(**{"num_frames": CLIP["num_frames"], "fps": CLIP["fps"], **clip}), **options)


def plan(folder: Path, **options) -> list[ClipPlan]:
    """The planned clips of an input folder."""
    plan_video = planner(folder, **options)
    return [clip for file in find_videos(folder) for clip in plan_video(file).clips]


def preparation(
    folder: Path, output: Path, *, batch_size=3, keep_clips=True, planning=None, teachers=None, **options
) -> Preparation:
    """What prepares an input folder with the fakes; `planning` are options of the planner, the rest the extractor's."""
    teachers, planning = teachers or depth(), planning or {}
    plan_videos, sizes = planner(folder, teachers=teachers, **planning), planning.get("sizes", _SIZES)
    still_images = planning.get("still_images", False)
    options["teachers"] = teachers
    longest, further = planning.get("num_frames", CLIP["num_frames"]), planning.get("more_frames", ())
    kinds = ClipOptions(longest, 1.0, 1, sizes, still_images=still_images, more_frames=further).kinds
    return Preparation(
        output=output,
        files=find_videos(folder, teachers=teachers, still_images=still_images),
        planner=plan_videos,
        reader=ClipReader(teachers),
        extractors={
            kind: extractor(**{**options, **kind.size._asdict(), "num_frames": kind.num_frames or longest})
            for kind in kinds
        },
        empty_prompt=(options.get("text") or LetterText())([""])[0],
        look=functools.partial(clip_look, detector=BrightFaces(), colours=PUBLISHED_COLOURS, fps=CLIP["fps"]),
        fps=CLIP["fps"],
        batch_size=batch_size,
        keep_clips=keep_clips,
    )


def nothing(videos: int, clips: int) -> None:
    """Takes no notice of the progress."""


def make(folder: Path, output: Path, *, progress=nothing, shards=1, **options) -> Summary:
    """Prepares an input folder with the fakes, by a number of shards one after the other."""
    made = preparation(folder, output, **options)
    check_done(made)
    while part := next_part(made):
        for index in range(shards):
            shard = Shard(index, shards)
            make_shard(part, shard, progress, plan_shard(part, shard, nothing))
        merge(part)
    return read_summary(made)
