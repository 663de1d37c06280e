"""Small stand-ins for tests: a codec without loss, a judge of faces that reads colours, a reference of real clips."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from sr_jax.backbones.codec import VideoCodec, latent_frames
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.demo.linear_codec import from_patches, to_patches
from sr_jax.media.video import write_video
from sr_jax.teachers.base import Face, FaceTeacher, TextTeacher

FRAMES, HEIGHT, WIDTH = 5, 16, 16


class PatchCodec(VideoCodec):
    """Latents are the patches themselves."""

    name = "fake"
    weight_hash = "c0"
    temporal_compression_ratio = 4
    spatial_compression_ratio = 4
    latent_channels = 192
    scaling_factor = image_condition_factor = 1.0

    def latent_frames(self, num_frames):
        return latent_frames(num_frames, 4)

    def encode(self, video):
        latents = to_patches(jnp.asarray(video), 4, 4)
        return latents, jnp.zeros_like(latents)

    def encode_image(self, image, key):
        return self.encode(image[:, None])[0]

    def decode(self, latents):
        return from_patches(jnp.asarray(latents), 4, 4)

    def decode_to_host(self, latents):
        return np.asarray(self.decode(latents))


class ColourDetector:
    """A face is the whole frame, unless the frame is black."""

    name = "colour_detector"
    weight_hash = "d1"

    def __call__(self, frames):
        box = np.array([0.0, 0.0, frames.shape[2], frames.shape[1]])
        return [[Face(box, 1.0)] if frame.max() > 40 else [] for frame in frames]


class ColourRecogniser:
    """Embeds a face as its mean colour."""

    name = "colour_recogniser"
    weight_hash = "r1"
    embedding_dim = 3

    def embed(self, frames, faces):
        found = np.array([face is not None for face in faces])
        means = frames.mean(axis=(1, 2)) * found[:, None]
        return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)).astype(np.float32), found


class ColourParts:
    """The part of a pixel is its brightest colour; none where it is dark."""

    name = "colour_parts"
    weight_hash = "p1"
    parts = ("red", "green", "blue")

    def __call__(self, frames):
        return np.where(frames.max(axis=-1) > 128, 1 + frames.argmax(axis=-1), 0).astype(np.uint8)


def load_colour_parts(section):
    return ColourParts()


class LetterText(TextTeacher):
    """Embeds a prompt as the numbers of its letters, `[4, 12]`."""

    name = "fake_text"
    weight_hash = "t0"

    def __call__(self, prompts):
        rows = np.zeros((len(prompts), 48), np.float32)
        for row, prompt in zip(rows, prompts, strict=True):
            row[: len(prompt)] = [ord(letter) / 100 for letter in prompt[:48]]
        return rows.reshape(-1, 4, 12)


class PullingNetwork(nnx.Module):
    """A transformer that pulls every frame towards the first frame's latent."""

    def __init__(self):
        self.strength = nnx.Param(jnp.float32(0.1), logical_axes=())

    def __call__(self, hidden, text, timesteps, taps=()):
        noisy, image = hidden[..., : PatchCodec.latent_channels], hidden[..., PatchCodec.latent_channels :]
        told = text.mean(axis=(1, 2))[:, None, None, None, None]
        return self.strength.value * noisy - image[:, :1] + 0.01 * told, {}


BACKBONE = CogVideoX(
    CogVideoXConfig(in_channels=2 * PatchCodec.latent_channels, out_channels=PatchCodec.latent_channels)
)
"""What calls `PullingNetwork`."""


def colour_faces() -> FaceTeacher:
    return FaceTeacher(ColourDetector(), ColourRecogniser())


def real_clip(seed: int) -> np.ndarray:
    """A smooth texture that slides to the right, in one of three colours."""
    random = np.random.default_rng(seed)
    waves = random.uniform(0.1, 0.5, 2)
    y, x = np.mgrid[0:HEIGHT, 0 : WIDTH + FRAMES]
    texture = 128 + 50 * np.sin(waves[0] * x) + 50 * np.sin(waves[1] * y)
    colour = np.eye(3)[seed % 3] * 0.8 + 0.2
    clip = [texture[:, FRAMES - k : FRAMES - k + WIDTH, None] * colour for k in range(FRAMES)]
    return np.stack(clip).astype(np.uint8)


def write_reference(folder: Path, clip_ids: list[str]) -> None:
    """What `prepare` keeps of a split; two clips a person, every other one with a held-out motion."""
    folder.mkdir(parents=True)
    lines = []
    for number, clip_id in enumerate(clip_ids):
        write_video(folder / f"{clip_id}.mp4", real_clip(number), 8.0, lossless=True)
        disparity = np.tile(np.linspace(0, 1, WIDTH), (FRAMES, HEIGHT, 1)).astype(np.float16)
        np.savez(folder / f"{clip_id}.depth.npz", disparity=disparity)
        labels = {"identity": number // 2, "held_out_motion": bool(number % 2), "boxes": [[0, 1]]}
        entry = {"clip_id": clip_id, "prompt": f"clip <{number}> & more", "source": f"video{number // 2}.mp4"}
        lines.append(json.dumps(entry | {"labels": labels}))
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")
