"""Random state dicts of Video Depth Anything, and a plain PyTorch network written from its published description."""

import math

import numpy as np
import torch
from torch.nn import functional

from sr_jax.conversion.rules import expected_shapes
from sr_jax.conversion.video_depth import params_from_state_dict, position_tables, rules, unused_tensors
from sr_jax.models.dinov2 import DINOv2Config
from sr_jax.models.functional import Functional
from sr_jax.models.video_depth import VideoDepthAnything, VideoDepthAnythingConfig

TINY = VideoDepthAnythingConfig(
    DINOv2Config(hidden_size=24, num_layers=5, num_attention_heads=3, image_size=70), (0, 2, 3, 4), 32, (8, 16, 32, 64)
)
NETWORK = Functional(lambda rngs: VideoDepthAnything(TINY, rngs=rngs))


def random_state_dict(config: VideoDepthAnythingConfig = TINY, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of a released file, random, so that none is without effect."""
    network = Functional(lambda rngs: VideoDepthAnything(config, rngs=rngs))
    shapes = expected_shapes(rules(config), network.abstract_params()) | unused_tensors(config)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        is_scale = len(shape) == 1 and name.endswith(("weight", "gamma"))
        scale = 0.3 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
        if "pos_embed" in name or "cls_token" in name:
            scale = 0.5
        tensors[name] = (1.0 if is_scale else 0.0) + scale * noise
    # So that the last ReLU lets enough through to compare.
    tensors["head.scratch.output_conv2.2.bias"] += 0.5
    tensors["head.scratch.output_conv2.2.weight"] = tensors["head.scratch.output_conv2.2.weight"].abs()
    return tensors | {name: sinusoids(32, width)[None] for name, width in position_tables(config).items()}


def our_params(tensors: dict[str, torch.Tensor], config: VideoDepthAnythingConfig = TINY) -> dict:
    return params_from_state_dict(config, {name: tensor.numpy() for name, tensor in tensors.items()})


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Row t: sin(t / 10000^(2i/width)) at channel 2i, the cosine at 2i + 1."""
    table = torch.zeros(length, width)
    for t in range(length):
        for i in range(width // 2):
            angle = t / 10000 ** (2 * i / width)
            table[t, 2 * i], table[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


class Reference:
    """The network as published, frame by frame and pixel by pixel, without any of our code."""

    def __init__(self, tensors: dict[str, torch.Tensor], config: VideoDepthAnythingConfig = TINY):
        self.tensors, self.config = tensors, config

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
        config, get = self.config.backbone, self.tensors.__getitem__
        weight, bias = get("pretrained.patch_embed.proj.weight"), get("pretrained.patch_embed.proj.bias")
        x = functional.conv2d(images, weight, bias, stride=14)
        grid = x.shape[2:]
        side = config.image_size // 14
        table = get("pretrained.pos_embed")
        if tuple(grid) != (side, side):
            image = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
            scales = tuple((length + 0.1) / side for length in grid)
            image = functional.interpolate(image, scale_factor=scales, mode="bicubic")
            table = torch.cat([table[:, :1], image.flatten(2).transpose(1, 2)], dim=1)
        first = get("pretrained.cls_token").expand(len(x), -1, -1)
        x = torch.cat([first, x.flatten(2).transpose(1, 2)], dim=1) + table
        taps = []
        for layer in range(config.num_layers):
            name = f"pretrained.blocks.{layer}"
            normed = self.layer_norm(f"{name}.norm1", x, 1e-6)
            q, k, v = self.linear(f"{name}.attn.qkv", normed).chunk(3, dim=-1)
            attended = attention(q, k, v, config.num_attention_heads)
            x = x + get(f"{name}.ls1.gamma") * self.linear(f"{name}.attn.proj", attended)
            hidden = functional.gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x, 1e-6)))
            x = x + get(f"{name}.ls2.gamma") * self.linear(f"{name}.mlp.fc2", hidden)
            if layer in self.config.taps:
                normed = self.layer_norm("pretrained.norm", x, 1e-6)[:, 1:]
                taps.append(normed.transpose(1, 2).unflatten(2, grid))
        return taps

    def temporal(self, index, x):
        """The temporal module number `index` on the features `[t, c, h, w]` of one clip, one pixel at a time."""
        name = f"head.motion_modules.{index}.temporal_transformer"
        block = f"{name}.transformer_blocks.0"
        t, c = x.shape[:2]
        weight, bias = self.tensors[f"{name}.norm.weight"], self.tensors[f"{name}.norm.bias"]
        normed = torch.stack([functional.group_norm(frame[None], 32, weight, bias, 1e-6)[0] for frame in x])
        out = torch.zeros_like(x)
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                h = self.linear(f"{name}.proj_in", normed[:, :, row, column])
                for number in range(2):
                    part = f"{block}.attention_blocks.{number}"
                    y = self.layer_norm(f"{block}.norms.{number}", h, 1e-5) + sinusoids(t, c)
                    q, k, v = (self.linear(f"{part}.{role}", y) for role in ("to_q", "to_k", "to_v"))
                    h = h + self.linear(f"{part}.to_out.0", attention(q[None], k[None], v[None], 8)[0])
                y = self.linear(f"{block}.ff.net.0.proj", self.layer_norm(f"{block}.ff_norm", h, 1e-5))
                values, gates = y[:, : 4 * c], y[:, 4 * c :]
                h = h + self.linear(f"{block}.ff.net.2", values * functional.gelu(gates))
                out[:, :, row, column] = x[:, :, row, column] + self.linear(f"{name}.proj_out", h)
        return out

    def fuse(self, number, x, size, skip=None):
        name = f"head.scratch.refinenet{number}"
        if skip is not None:
            x = x + self.unit(f"{name}.resConfUnit1", skip)
        x = functional.interpolate(self.unit(f"{name}.resConfUnit2", x), size, mode="bilinear", align_corners=True)
        return self.conv(f"{name}.out_conv", x)

    def unit(self, name, x):
        return x + self.conv(f"{name}.conv2", torch.relu(self.conv(f"{name}.conv1", torch.relu(x))))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Depth `[t, h, w]` of the normalised frames `[t, h, w, 3]` of one clip."""
        images = torch.from_numpy(frames).permute(0, 3, 1, 2)
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
        return torch.relu(self.conv("head.scratch.output_conv2.2", out))[:, 0].numpy()


def attention(q, k, v, heads):
    """Softmax attention of `[n, l, d]` split into heads."""
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    logits = split[0] @ split[1].transpose(-1, -2) / split[0].shape[-1] ** 0.5
    return (logits.softmax(-1) @ split[2]).transpose(1, 2).flatten(2)


def relative_error(ours, theirs) -> float:
    """The largest difference over the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
