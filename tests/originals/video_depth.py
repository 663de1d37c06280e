"""Video Depth Anything as published, in plain PyTorch, with the weights of `tests.models.tiny_video_depth`.

`sizes` are those of the network (`SIZES` there), `seed` is that of its weights. Frames are normalised and
`[t, h, w, 3]`, depth is `[t, h, w]`.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from tests.models.tiny_video_depth import sinusoids, weights
from tests.teachers.published_windows import joined_windows, prepared


def depth(sizes: Mapping, seed: int, frames: np.ndarray) -> np.ndarray:
    """Of the frames of one clip."""
    return _network(sizes, seed).of_frames(frames)


def temporal_module(sizes: Mapping, seed: int, index: int, x: np.ndarray) -> np.ndarray:
    """The features that one temporal module makes of others, both `[t, h, w, c]`."""
    features = torch.from_numpy(x).permute(0, 3, 1, 2)
    return _network(sizes, seed).temporal(index, features).permute(0, 2, 3, 1).numpy()


def depth_of_a_video(sizes: Mapping, seed: int, frames: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Of all frames of a video, window by window.

    Args:
        sizes: Of the network.
        seed: Of its weights.
        frames: RGB, of 8 bits.
        input_size: Height and width of the network's input.
    """
    network = _network(sizes, seed)

    def estimate(inputs: np.ndarray) -> np.ndarray:
        small = torch.from_numpy(network.of_frames(inputs.astype(np.float32)))[:, None]
        return functional.interpolate(small, frames.shape[1:3], mode="bilinear", align_corners=True)[:, 0].numpy()

    return joined_windows(frames, lambda frame: prepared(frame, input_size), estimate).astype(np.float32)


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images `[n, h, w, c]` in another size, corners on corners."""
    theirs = torch.from_numpy(images).permute(0, 3, 1, 2)
    return functional.interpolate(theirs, size, mode="bilinear", align_corners=True).permute(0, 2, 3, 1).numpy()


def _network(sizes: Mapping, seed: int) -> "Network":
    return Network({name: torch.from_numpy(tensor) for name, tensor in weights(sizes, seed).items()}, sizes)


class Network:
    """The network as published, without any of our code.

    Args:
        tensors: Those of a released file, all on one device and of one type.
        sizes: As `tests.models.tiny_video_depth.SIZES`.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], sizes: Mapping):
        self.tensors, self.sizes = tensors, sizes

    def linear(self, name, x):
        return functional.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def conv(self, name, x, stride=1):
        weight = self.tensors[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return functional.conv2d(x, weight, self.tensors.get(f"{name}.bias"), stride=stride, padding=padding)

    def layer_norm(self, name, x, eps):
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def backbone(self, images):
        """`[n, 3, h, w]` to the normalised features of each tap, `[n, d, h / 14, w / 14]`."""
        get = self.tensors.__getitem__
        weight, bias = get("pretrained.patch_embed.proj.weight"), get("pretrained.patch_embed.proj.bias")
        x = functional.conv2d(images, weight, bias, stride=14)
        grid = x.shape[2:]
        side = self.sizes["image_size"] // 14
        table = get("pretrained.pos_embed")
        if tuple(grid) != (side, side):
            image = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
            scales = tuple((length + 0.1) / side for length in grid)
            image = functional.interpolate(image, scale_factor=scales, mode="bicubic")
            table = torch.cat([table[:, :1], image.flatten(2).transpose(1, 2)], dim=1)
        first = get("pretrained.cls_token").expand(len(x), -1, -1)
        x = torch.cat([first, x.flatten(2).transpose(1, 2)], dim=1) + table
        taps = []
        for layer in range(self.sizes["num_layers"]):
            name = f"pretrained.blocks.{layer}"
            normed = self.layer_norm(f"{name}.norm1", x, 1e-6)
            q, k, v = self.linear(f"{name}.attn.qkv", normed).chunk(3, dim=-1)
            attended = _attention(q, k, v, self.sizes["num_attention_heads"])
            x = x + get(f"{name}.ls1.gamma") * self.linear(f"{name}.attn.proj", attended)
            hidden = functional.gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x, 1e-6)))
            x = x + get(f"{name}.ls2.gamma") * self.linear(f"{name}.mlp.fc2", hidden)
            if layer in self.sizes["taps"]:
                normed = self.layer_norm("pretrained.norm", x, 1e-6)[:, 1:]
                taps.append(normed.transpose(1, 2).unflatten(2, grid))
        return taps

    def temporal(self, index, x):
        """The temporal module number `index` on the features `[t, c, h, w]` of one clip: every pixel sees itself."""
        name = f"head.motion_modules.{index}.temporal_transformer"
        block = f"{name}.transformer_blocks.0"
        t, c, height, width = x.shape
        weight, bias = self.tensors[f"{name}.norm.weight"], self.tensors[f"{name}.norm.bias"]
        pixels = functional.group_norm(x, 32, weight, bias, 1e-6).permute(2, 3, 0, 1).reshape(-1, t, c)
        positions = torch.from_numpy(sinusoids(t, c)).to(x)
        h = self.linear(f"{name}.proj_in", pixels)
        for number in range(2):
            part = f"{block}.attention_blocks.{number}"
            y = self.layer_norm(f"{block}.norms.{number}", h, 1e-5) + positions
            q, k, v = (self.linear(f"{part}.{role}", y) for role in ("to_q", "to_k", "to_v"))
            h = h + self.linear(f"{part}.to_out.0", _attention(q, k, v, 8))
        y = self.linear(f"{block}.ff.net.0.proj", self.layer_norm(f"{block}.ff_norm", h, 1e-5))
        values, gates = y.chunk(2, dim=-1)
        h = h + self.linear(f"{block}.ff.net.2", values * functional.gelu(gates))
        return x + self.linear(f"{name}.proj_out", h).unflatten(0, (height, width)).permute(2, 3, 0, 1)

    def fuse(self, number, x, size, skip=None):
        name = f"head.scratch.refinenet{number}"
        if skip is not None:
            x = x + self.unit(f"{name}.resConfUnit1", skip)
        x = functional.interpolate(self.unit(f"{name}.resConfUnit2", x), size, mode="bilinear", align_corners=True)
        return self.conv(f"{name}.out_conv", x)

    def unit(self, name, x):
        return x + self.conv(f"{name}.conv2", torch.relu(self.conv(f"{name}.conv1", torch.relu(x))))

    def of_frames(self, frames: np.ndarray) -> np.ndarray:
        """Depth `[t, h, w]` of the normalised frames `[t, h, w, 3]` of one clip."""
        return self(torch.from_numpy(frames).permute(0, 3, 1, 2)).numpy()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Depth `[t, h, w]` of the normalised frames `[t, 3, h, w]` of one clip."""
        first, second, third, fourth = (
            self.conv(f"head.projects.{level}", tap) for level, tap in enumerate(self.backbone(images))
        )
        weights = [(self.tensors[f"head.resize_layers.{n}.{kind}"]) for n in (0, 1) for kind in ("weight", "bias")]
        first = functional.conv_transpose2d(first, weights[0], weights[1], stride=4)
        second = functional.conv_transpose2d(second, weights[2], weights[3], stride=2)
        third = self.temporal(0, third)
        fourth = self.temporal(1, self.conv("head.resize_layers.3", fourth, stride=2))
        first, second, third, fourth = (
            self.conv(f"head.scratch.layer{number}_rn", level)
            for number, level in enumerate((first, second, third, fourth), 1)
        )
        path = self.temporal(2, self.fuse(4, fourth, third.shape[2:]))
        path = self.temporal(3, self.fuse(3, path, second.shape[2:], third))
        path = self.fuse(2, path, first.shape[2:], second)
        path = self.fuse(1, path, tuple(2 * side for side in first.shape[2:]), first)
        out = self.conv("head.scratch.output_conv1", path)
        out = functional.interpolate(out, images.shape[2:], mode="bilinear", align_corners=True)
        out = torch.relu(self.conv("head.scratch.output_conv2.0", out))
        return torch.relu(self.conv("head.scratch.output_conv2.2", out))[:, 0]


def _attention(q, k, v, heads):
    """Softmax attention of `[n, l, d]` split into heads."""
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    return functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
