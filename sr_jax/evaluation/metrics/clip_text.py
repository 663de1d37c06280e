"""CLIP text score: does the clip show what its prompt says?"""

from pathlib import Path

import jax
import ml_collections
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from sr_jax.conversion.clip import FILES, WEIGHTS, read_folder
from sr_jax.conversion.hub import model_folder
from sr_jax.errors import UserError
from sr_jax.evaluation.batches import in_batches
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score
from sr_jax.evaluation.weights import MissingWeightsError
from sr_jax.models.clip import CLIP
from sr_jax.models.functional import Functional
from sr_jax.teachers.base import file_hash

_MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])
_DEVIATION = np.float32([0.26862954, 0.26130258, 0.27577711])
_BATCH = 16


class Metric(ClipMetric):
    """Cosine between the embeddings of every frame and of the prompt, mean over frames."""

    score = Score(
        "clip_text",
        "CLIP text score",
        "",
        +1,
        4,
        "Cosine between the CLIP embeddings of the prompt and of every frame, mean over frames: bare, neither times "
        "100 nor cut at 0. Another CLIP gives other values.",
        by_frame="cosine to the prompt",
    )
    needs = frozenset({"prompt"})
    alone = True

    def __init__(self, config: ml_collections.ConfigDict):
        """Loads the network and its tokenizer.

        Raises:
            UserError: When its weights cannot be had or read.
        """
        if not config.clip_path:
            raise MissingWeightsError(
                "it needs a CLIP: name a folder of transformers with model.safetensors, or its name on the hub such as "
                "openai/clip-vit-large-patch14, as config.clip_path"
            )
        local = Path(config.clip_path)
        folder = local if local.is_dir() else _from_hub(config.clip_path)
        self._config, params = read_folder(folder)
        self._tokenizer = _load_tokenizer(folder)
        self.about = {"network": config.clip_path, "weight_hash": file_hash(folder / WEIGHTS)}
        network = Functional(lambda rngs: CLIP(self._config, rngs=rngs))
        params = jax.device_put(params)
        embed = jax.jit(network.apply)
        self._embed = lambda images, tokens: embed(params, images, tokens)

    def measure(self, clip: Clip) -> Measurement:
        """Not defined for a clip without a prompt."""
        if not clip.prompt:
            return Measurement(None, np.full(len(clip.video), np.nan))
        tokens = self._tokens(clip.prompt)
        images = np.stack([prepare(frame, self._config.image_size) for frame in clip.video])
        text = _unit(np.asarray(self._embed(np.repeat(images[:1], _BATCH, axis=0), tokens)[1], np.float64))[0]
        frames = in_batches(lambda batch: self._embed(batch, tokens)[0], images, size=_BATCH)
        cosines = _unit(frames.astype(np.float64)) @ text
        return Measurement(float(cosines.mean()), cosines)

    def _tokens(self, prompt: str) -> np.ndarray:
        options = {"padding": "max_length", "max_length": self._config.positions, "truncation": True}
        return self._tokenizer([prompt], **options, return_tensors="np")["input_ids"].astype(np.int32)


def prepare(frame: UInt8[np.ndarray, "h w 3"], side: int) -> Float[np.ndarray, "{side} {side} 3"]:
    """A frame as CLIP reads it: its shorter side resized bicubically, cropped at the centre, normalised.

    Reference: `CLIPImageProcessor` (transformers), the PIL backend.
    """
    height, width = frame.shape[:2]
    short = min(height, width)
    size = (int(side * width / short), int(side * height / short))
    resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    top, left = ((length - side) // 2 for length in resized.shape[:2])
    cropped = resized[top : top + side, left : left + side].astype(np.float32)
    return (cropped / np.float32(255) - _MEAN) / _DEVIATION


def _unit(vectors: Float[np.ndarray, "n e"]) -> Float[np.ndarray, "n e"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _from_hub(name: str) -> Path:
    try:
        return model_folder(name, FILES)
    except UserError as error:
        raise MissingWeightsError(f"config.clip_path: {error}") from error


def _load_tokenizer(folder: Path):
    # Slow to import, and only this metric needs it.
    from transformers import CLIPTokenizerFast

    # A missing file and a damaged one arrive as different exceptions.
    try:
        return CLIPTokenizerFast.from_pretrained(folder)
    except Exception as error:
        raise UserError(f"{folder} holds no tokenizer of CLIP that can be read ({error})") from error
