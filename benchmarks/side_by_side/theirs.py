"""The same work in PyTorch: diffusers' and transformers' networks, with random weights that are drawn on the device.

A tuned contestant has every block compiled (`torch.compile`), and takes cuDNN's attention where there is one. What it
computes is the same.
"""

import contextlib
import dataclasses
import math
from typing import Any

import diffusers
import torch
import transformers
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.side_by_side.settings import TEXT_TOKENS, Settings
from benchmarks.side_by_side.workload import Workload, peak_bytes_of_process
from sr_jax.models import video_depth
from sr_jax.teachers.depth.video_depth_anything import input_size_for
from tests.models import tiny_video_depth
from tests.originals.video_depth import Network as VideoDepthAnything

_BEST_ATTENTION = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
_GUIDANCE = 6.0
# Of `configs/sizes.py`.
_LEARNING_RATE, _BETAS, _WEIGHT_DECAY, _MAX_GRAD_NORM = 1e-5, (0.9, 0.95), 1e-4, 0.1


class _OnDevice(Workload):
    """What all have in common; `_work` does the work."""

    def __init__(self, settings: Settings, *, tuned: bool = False):
        self._settings, self._tuned = settings, tuned
        self._dtype = getattr(torch, settings.dtype)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def _run(self) -> None:
        with sdpa_kernel(_BEST_ATTENTION, set_priority=True) if self._tuned else contextlib.nullcontext():
            self._work()
        self._wait()

    def _about(self) -> dict[str, Any]:
        cuda = self._device.type == "cuda"
        about = {"framework": f"torch {torch.__version__}, diffusers {diffusers.__version__}"}
        if cuda:
            return about | {
                "device": torch.cuda.get_device_name(),
                "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            }
        return about | {"device": "cpu", "peak_gib": peak_bytes_of_process() / 2**30}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _normal(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.randn(shape, device=self._device, dtype=dtype or self._dtype)

    def _load(self, build: Any, dtype: torch.dtype) -> torch.nn.Module:
        """A model with random weights, which never were in host memory."""
        with torch.device("meta"):
            model = build()
        model = model.to(dtype).to_empty(device=self._device)
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.normal_(0, 0.02)
        return model

    def _load_transformer(self, dtype: torch.dtype) -> diffusers.CogVideoXTransformer3DModel:
        fields = dataclasses.asdict(self._settings.transformer)
        model = self._load(lambda: diffusers.CogVideoXTransformer3DModel(**fields), dtype)
        if self._tuned:
            for block in model.transformer_blocks:
                block.compile()
        return model

    def _rotary(self) -> tuple[torch.Tensor, torch.Tensor]:
        frames, height, width = self._settings.latent_size
        grid = (height // 2, width // 2)
        head_dim = self._settings.transformer.attention_head_dim
        return get_3d_rotary_pos_embed(head_dim, ((0, 0), grid), grid, frames, device=self._device)

    def _latents(self, *, dtype: torch.dtype | None = None) -> torch.Tensor:
        frames, height, width = self._settings.latent_size
        return self._normal(1, frames, self._settings.transformer.out_channels, height, width, dtype=dtype)

    def _text(self, clips: int) -> torch.Tensor:
        return self._normal(clips, TEXT_TOKENS, self._settings.transformer.text_embed_dim)


class Forward(_OnDevice):
    """The transformer on one clip, without gradients."""

    def _create(self) -> None:
        self._model = self._load_transformer(self._dtype).eval()
        self._inputs = {
            "hidden_states": torch.cat([self._latents(), self._latents()], dim=2),
            "encoder_hidden_states": self._text(1),
            "timestep": torch.ones(1, dtype=torch.long, device=self._device),
            "image_rotary_emb": self._rotary(),
            "return_dict": False,
        }
        self._wait()

    @torch.no_grad()
    def _work(self) -> None:
        self._model(**self._inputs)


class Training(_OnDevice):
    """A training step on one clip, as diffusers' CogVideoX trainers make it."""

    def _create(self) -> None:
        self._model = self._load_transformer(getattr(torch, self._settings.storage)).train()
        self._model.enable_gradient_checkpointing()
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=_LEARNING_RATE,
            betas=_BETAS,
            weight_decay=_WEIGHT_DECAY,
            fused=self._device.type == "cuda",
        )
        self._scheduler = _scheduler()
        self._clean, self._image = self._latents(dtype=torch.float32), self._latents(dtype=torch.float32)
        self._embedding, self._rope = self._text(1), self._rotary()
        self._wait()

    def _work(self) -> None:
        noise = torch.randn_like(self._clean)
        timesteps = torch.randint(0, 1000, (1,), device=self._device)
        noisy = self._scheduler.add_noise(self._clean, noise, timesteps)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            velocity = self._model(
                hidden_states=torch.cat([noisy, self._image], dim=2),
                encoder_hidden_states=self._embedding,
                timestep=timesteps,
                image_rotary_emb=self._rope,
                return_dict=False,
            )[0]
        clean = self._scheduler.get_velocity(velocity.float(), noisy, timesteps)
        weight = 1 / (1 - self._scheduler.alphas_cumprod.to(self._device)[timesteps])
        loss = (weight.reshape(-1, 1, 1, 1, 1) * (clean - self._clean) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _MAX_GRAD_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._loss = loss.detach()

    def _about(self) -> dict[str, Any]:
        return super()._about() | {"loss": float(self._loss)}


class Sampling(_OnDevice):
    """The loop of diffusers' `CogVideoXImageToVideoPipeline`, with dynamic guidance."""

    def _create(self) -> None:
        self._model = self._load_transformer(self._dtype).eval()
        self._scheduler = _scheduler()
        image = self._latents()
        image[:, 1:] = 0
        self._images, self._texts, self._rope = torch.cat([image] * 2), self._text(2), self._rotary()
        self._wait()

    @torch.no_grad()
    def _work(self) -> None:
        steps = self._settings.sampling_steps
        self._scheduler.set_timesteps(steps, device=self._device)
        timesteps = self._scheduler.timesteps
        latents, before = self._latents(), None
        for i, t in enumerate(timesteps):
            velocity = self._model(
                hidden_states=torch.cat([torch.cat([latents] * 2), self._images], dim=2),
                encoder_hidden_states=self._texts,
                timestep=t.expand(2),
                image_rotary_emb=self._rope,
                return_dict=False,
            )[0].float()
            scale = 1 + _GUIDANCE * (1 - math.cos(math.pi * ((steps - t.item()) / steps) ** 5)) / 2
            without, wanted = velocity.chunk(2)
            last = timesteps[i - 1] if i > 0 else None
            latents, before = self._scheduler.step(
                without + scale * (wanted - without), before, t, last, latents, return_dict=False
            )
            latents = latents.to(self._dtype)


class Codec(_OnDevice):
    """`AutoencoderKLCogVideoX` on one clip, whole or in tiles."""

    def __init__(self, settings: Settings, *, way: str, tiled: bool):
        super().__init__(settings)
        self._way, self._tiled = way, tiled

    def _create(self) -> None:
        settings, config = self._settings, self._settings.autoencoder
        blocks = {f"{way}_block_types": [f"CogVideoX{way.title()}Block3D"] * 4 for way in ("down", "up")}
        fields = dataclasses.asdict(config)
        model = self._load(lambda: diffusers.AutoencoderKLCogVideoX(**blocks, **fields), self._dtype).eval()
        if self._tiled:
            model.enable_tiling(settings.tile_height, settings.tile_width)
        size = (settings.height, settings.width)
        if self._way == "encode":
            self._method, self._input = model.encode, self._normal(1, 3, settings.frames, *size)
        else:
            latents = self._normal(1, config.latent_channels, *settings.latent_size)
            self._method, self._input = model.decode, latents
        self._wait()

    @torch.no_grad()
    def _work(self) -> None:
        self._method(self._input)


class TextEncoder(_OnDevice):
    """T5 v1.1 XXL on padded prompts, without a mask."""

    def _create(self) -> None:
        fields = dataclasses.asdict(self._settings.text_encoder)
        config = transformers.T5Config(**fields, feed_forward_proj="gated-gelu")
        self._model = self._load(lambda: transformers.T5EncoderModel(config), self._dtype).eval()
        self._ids = torch.ones(self._settings.prompts, TEXT_TOKENS, dtype=torch.long, device=self._device)
        self._wait()

    @torch.no_grad()
    def _work(self) -> None:
        self._model(self._ids)

    def _about(self) -> dict[str, Any]:
        return super()._about() | {"framework": f"torch {torch.__version__}, transformers {transformers.__version__}"}


class Depth(_OnDevice):
    """Video Depth Anything as published, on a clip as large as it takes."""

    def _create(self) -> None:
        settings, config = self._settings, video_depth.RELEASED["small"]
        sizes = dataclasses.asdict(config.backbone) | {
            "taps": config.taps,
            "features": config.features,
            "out_channels": config.out_channels,
        }
        self._network = VideoDepthAnything(
            {
                name: torch.from_numpy(tensor).to(self._device, self._dtype)
                for name, tensor in tiny_video_depth.weights(sizes, seed=0).items()
            },
            sizes,
        )
        size = input_size_for((settings.height, settings.width), settings.depth_input, config.backbone.patch_size)
        self._frames = self._normal(settings.depth_frames, 3, *size)
        self._wait()

    @torch.no_grad()
    def _work(self) -> None:
        self._network(self._frames)


def _scheduler() -> diffusers.CogVideoXDPMScheduler:
    """As CogVideoX-5B-I2V is released with."""
    return diffusers.CogVideoXDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )
