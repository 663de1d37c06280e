"""What the training stages' configs share: model sizes and defaults."""

from typing import Any

import ml_collections

TINY_LATENT_CHANNELS = 16

# Sized for 2 cores. `tiny` is for the rendered people, 13 frames of 64x48; `real` for the packaged real clips, 64x64,
# whose recogniser has 128 numbers a face.
_LATENT_WIDTHS = {"tiny": 12, "real": 16}
_EMBEDDING_DIMS = {"tiny": 64, "real": 128}
_STRUCTURE_LAYERS = {"tiny": 3, "real": 3}


def _transformer(size: str) -> dict[str, Any]:
    return {
        "num_attention_heads": 3,
        "attention_head_dim": 64,
        "in_channels": 2 * TINY_LATENT_CHANNELS,
        "out_channels": TINY_LATENT_CHANNELS,
        "num_layers": 4,
        "time_embed_dim": 192,
        "text_embed_dim": 256,
        "max_text_seq_length": 24,
        "patch_size": 2,
        "use_rotary_positional_embeddings": True,
        "sample_frames": 13,
        "sample_height": 16,
        "sample_width": _LATENT_WIDTHS[size],
    }


def _identity(size: str) -> dict[str, Any]:
    return {
        "latent_channels": TINY_LATENT_CHANNELS,
        "use_depth": True,
        "widths": (32, 64, 96),
        "blocks_per_stage": 1,
        "embedding_dim": _EMBEDDING_DIMS[size],
    }


def size_names() -> list[str]:
    """The sizes that every stage's config knows."""
    return sorted(_LATENT_WIDTHS)


def get_common_config(size: str, num_train_steps: dict[str, int]) -> ml_collections.ConfigDict:
    """The fields that all stages have, at a named size.

    Args:
        size: One of `size_names()`.
        num_train_steps: The stage's optimizer steps at each size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in size_names():
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(size_names())}")
    transformer = _transformer(size)
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.model = transformer
    config.structure = transformer | {
        "in_channels": transformer["out_channels"],
        "num_layers": _STRUCTURE_LAYERS[size],
    }
    config.identity = _identity(size)
    # The betas and the zero terminal SNR are the released ones. CogVideoX-2B shifts by 3 and 5B by 1. Small clips of
    # flat colours are decided at far more noise: with a shift of 1, each patch chooses its own place for an arm.
    config.schedule = {"snr_shift_scale": 100.0}

    config.data = {"dir": "", "split": "train", "codec": ""}
    # A learned position table fits one size of video: "keep", "drop" or "interpolate" it.
    config.init = {"transformer": "", "position_table": "keep"}
    # A rank of 0 trains the whole model; base and stage two can train low-rank factors of the layers named instead.
    config.lora = {"rank": 0, "alpha": 64.0, "targets": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out")}
    config.batch_size = 8
    config.num_train_steps = num_train_steps[size]
    config.ema_decay = 0.99
    # A model this small learns from scratch about twice as fast with Muon as with AdamW, sample for sample.
    config.optimizer = {
        "name": "muon",
        "learning_rate": 3e-3,
        "muon_learning_rate": 0.04,
        "warmup_steps": 30,
        "schedule": "cosine",
        "b1": 0.9,
        "b2": 0.95,
        "eps": 1e-8,
        "weight_decay": 1e-4,
        "max_grad_norm": 1.0,
    }
    config.dtype = "float32"
    config.remat = False
    config.mesh = {"data": -1, "fsdp": 1, "context": 1, "tensor": 1}
    config.sharding = {}
    config.log_every = 50
    config.checkpoint_every = 500
    config.keep_checkpoints = 2
    return config
