"""transformers' `Dinov2Model` with the weights of `tests.models.tiny_dinov2`; `options` are arguments of its config."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import transformers
from torch.nn import functional

from tests.models.tiny_dinov2 import weights


def shapes(options: Mapping) -> dict[str, tuple[int, ...]]:
    """Of every weight, by its name; nothing is allocated."""
    with torch.device("meta"):
        return _shapes(_empty(options))


def features(options: Mapping, images: np.ndarray, taps: Sequence[int]) -> list[np.ndarray]:
    """Normalised features `[n, patches, width]` of images `[n, h, w, 3]`, after some of the blocks (from 0)."""
    model = _empty(options).eval()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights(_shapes(model)).items()})
    return _features(model, images, taps)


def released(options: Mapping) -> tuple[str, dict[str, tuple[int, ...]]]:
    """The `config.json` of a folder that transformers writes, and the shapes in its `model.safetensors`."""
    with tempfile.TemporaryDirectory() as folder:
        _empty(options).save_pretrained(folder)
        tensors = safetensors.torch.load_file(Path(folder, "model.safetensors"))
        config = json.loads(Path(folder, "config.json").read_text())
    del config["transformers_version"]
    return json.dumps(config), {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def features_of_folder(options: Mapping, images: np.ndarray, taps: Sequence[int]) -> list[np.ndarray]:
    """`features` of what transformers loads of such a folder, with the weights of `tiny_dinov2`."""
    config, names = released(options)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(config)
        tensors = {name: torch.from_numpy(weight) for name, weight in weights(names).items()}
        safetensors.torch.save_file(tensors, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        return _features(transformers.Dinov2Model.from_pretrained(folder).eval(), images, taps)


def prepared(frame: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A frame `[h, w, 3]` resized to `size` and normalised `[y, x, 3]`, by the released models' image processor."""
    processor = transformers.BitImageProcessorPil(
        size={"height": size[0], "width": size[1]},
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return processor(frame, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)


def interpolated(table: np.ndarray, scale: float) -> np.ndarray:
    """Rows `[length, width]` interpolated to `scale` times as many, as the original does with its positions."""
    image = torch.from_numpy(table.T.copy())[None, :, :, None]
    return functional.interpolate(image, scale_factor=(scale, 1), mode="bicubic")[0, :, :, 0].numpy().T


def _features(model: transformers.Dinov2Model, images: np.ndarray, taps: Sequence[int]) -> list[np.ndarray]:
    with torch.no_grad():
        states = model(torch.from_numpy(images).permute(0, 3, 1, 2), output_hidden_states=True).hidden_states
        # The first state is the embeddings'; the first token is the class's.
        return [model.layernorm(states[tap + 1])[:, 1:].numpy() for tap in taps]


def _empty(options: Mapping) -> transformers.Dinov2Model:
    return transformers.Dinov2Model(transformers.Dinov2Config(**options, patch_size=14, layer_norm_eps=1e-6))


def _shapes(model: transformers.Dinov2Model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
