"""A LoRA in diffusers, beside the weights of a transformer and fused into them.

Of fused weights every fifth value of each tensor comes back, which is enough to compare with.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import peft
import torch
from diffusers import CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel

from tests.models.tiny_transformers import weights_of
from tests.originals import transformer
from tests.originals.transformer import Options


def beside(
    options: Options, factors: Mapping[str, np.ndarray], latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions without and with the factors, of a transformer with the random weights of seed 0.

    Args:
        options: Of the transformer.
        factors: The tensors of a file for `load_lora_weights`.
        latents: `[B, T, H, W, C]`.
        text: `[B, L, D]`.
        timesteps: `[B]`.
    """
    model = _model(options)
    before = transformer.predict(model, latents, text, timesteps)
    _load(model, factors)
    return before, transformer.predict(model, latents, text, timesteps)


def fused(options: Options, factors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Some of the weights of that transformer with the factors fused into them."""
    model = _model(options)
    _load(model, factors)
    model.fuse_lora()
    model.unload_lora()
    return _some_values(model)


def of_files(
    options: Options,
    files: Sequence[Path],
    weights: Sequence[float],
    latents: np.ndarray,
    text: np.ndarray,
    timesteps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of that transformer without and with LoRA files of diffusers' layout, alphas in their metadata.

    Args:
        options: Of the transformer.
        files: The files.
        weights: What each counts.
        latents: `[B, T, H, W, C]`.
        text: `[B, L, D]`.
        timesteps: `[B]`.
    """
    model = _model(options)
    before = transformer.predict(model, latents, text, timesteps)
    names = [f"lora_{number}" for number in range(len(files))]
    for name, file in zip(names, files, strict=True):
        model.load_lora_adapter(str(file.parent), weight_name=file.name, adapter_name=name)
    model.set_adapters(names, list(weights))
    return before, transformer.predict(model, latents, text, timesteps)


def with_alphas(
    options: Options,
    factors: Mapping[str, np.ndarray],
    alphas: Mapping[str, float],
    latents: np.ndarray,
    text: np.ndarray,
    timesteps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of that transformer without and with factors and the alphas of a file of kohya's kind.

    Args:
        options: Of the transformer.
        factors: The tensors, renamed for `load_lora_weights`.
        alphas: Of each layer, `transformer.LAYER.alpha`.
        latents: `[B, T, H, W, C]`.
        text: `[B, L, D]`.
        timesteps: `[B]`.
    """
    model = _model(options)
    before = transformer.predict(model, latents, text, timesteps)
    tensors = {name: torch.from_numpy(factor) for name, factor in factors.items()}
    model.load_lora_adapter(tensors, prefix="transformer", network_alphas=dict(alphas))
    return before, transformer.predict(model, latents, text, timesteps)


def of_peft(
    options: Options, folder: Path, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of that transformer without and with an adapter that PEFT saved, loaded by PEFT.

    Args:
        options: Of the transformer.
        folder: With `adapter_config.json` and `adapter_model.safetensors`.
        latents: `[B, T, H, W, C]`.
        text: `[B, L, D]`.
        timesteps: `[B]`.
    """
    model = _model(options)
    before = transformer.predict(model, latents, text, timesteps)
    adapted = peft.PeftModel.from_pretrained(model, folder)
    return before, transformer.predict(adapted.get_base_model(), latents, text, timesteps)


def in_pipeline(
    folder: Path, lora: Path, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A pipeline's predictions without and with a LoRA, and some of the weights after fusing it.

    Args:
        folder: Of the pipeline.
        lora: Folder for `load_lora_weights`.
        latents: `[B, T, H, W, C]`.
        text: `[B, L, D]`.
        timesteps: `[B]`.
    """
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    before = transformer.predict(pipeline.transformer, latents, text, timesteps)
    pipeline.load_lora_weights(lora)
    beside = transformer.predict(pipeline.transformer, latents, text, timesteps)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return before, beside, _some_values(pipeline.transformer)


def _model(options: Options) -> CogVideoXTransformer3DModel:
    return transformer.build(options, weights_of(transformer.shapes(options), 0))


def _load(model: CogVideoXTransformer3DModel, factors: Mapping[str, np.ndarray]) -> None:
    tensors = {name: torch.from_numpy(factor) for name, factor in factors.items()}
    model.load_lora_adapter(tensors, prefix="transformer")


def _some_values(model: CogVideoXTransformer3DModel) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().ravel()[::5] for name, tensor in model.state_dict().items()}
