"""transformers' CLIP, for the weights of `tiny_clip`."""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from tests.models.tiny_clip import weights


def shapes(fields: Mapping) -> dict[str, tuple[int, ...]]:
    """Of every tensor of the state dict, by its name; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in CLIPModel(_config(fields)).state_dict().items()}


def embeddings(fields: Mapping, images: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of images `[n, h, w, 3]` and of tokens `[m, l]`, of unit length."""
    network = CLIPModel(_config(fields)).eval()
    tensors = weights({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    with torch.no_grad():
        found = network(torch.from_numpy(tokens).long(), torch.from_numpy(images).permute(0, 3, 1, 2))
    return found.image_embeds.numpy(), found.text_embeds.numpy()


def prepared(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame as `CLIPImageProcessor` prepares it, `[side, side, 3]`."""
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    pixels = processor(Image.fromarray(frame), return_tensors="pt", device="cpu")["pixel_values"]
    return pixels[0].permute(1, 2, 0).numpy()


def _config(fields: Mapping) -> CLIPConfig:
    return CLIPConfig(**{name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()})
