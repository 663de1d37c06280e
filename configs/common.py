"""What the training stages' configs share: model sizes and defaults."""

import dataclasses
from typing import Any

import ml_collections

from sr_jax.alignment.identity_module import IdentityConfig
from sr_jax.backbones.cogvideox.config import RELEASED
from sr_jax.configs.pods import PODS, pod_names

_LATENT_CHANNELS = 16


def _small(*, sample_width: int, embedding_dim: int, num_train_steps: dict[str, int]) -> dict[str, Any]:
    """Sized for 2 cores, and trained from scratch on clips of 13 frames, 64 pixels high."""
    return {
        "model": {
            "num_attention_heads": 3,
            "attention_head_dim": 64,
            "in_channels": 2 * _LATENT_CHANNELS,
            "out_channels": _LATENT_CHANNELS,
            "num_layers": 4,
            "time_embed_dim": 192,
            "text_embed_dim": 256,
            "max_text_seq_length": 24,
            "patch_size": 2,
            "use_rotary_positional_embeddings": True,
            "sample_frames": 13,
            "sample_height": 16,
            "sample_width": sample_width,
        },
        "structure": {"num_layers": 3},
        "structure_text": "none",
        "identity": {"widths": (32, 64, 96), "blocks_per_stage": 1, "embedding_dim": embedding_dim},
        # CogVideoX-2B shifts by 3 and 5B by 1. Small clips of flat colours are decided at far more noise: with a shift
        # of 1, each patch chooses its own place for an arm.
        "schedule": {"snr_shift_scale": 100.0},
        "codec": "",
        "image_dropout": 0.0,
        "batch_size": 8,
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
        "log_every": 50,
    }


def _released(name: str, *, snr_shift_scale: float) -> dict[str, Any]:
    """A released transformer, to be fine-tuned from its import (`config.init.transformer`).

    Optimizer and dropouts are those of the authors' own full fine-tuning (THUDM/CogVideo, sat). Stage one starts half
    of its parameters from nothing, so it has ten times their rate.
    """
    return {
        "model": dataclasses.asdict(RELEASED[name]),
        # The table fits one size of video, and what it adds is nearly 0.
        "structure": {"num_layers": 12, "use_learned_positional_embeddings": False},
        # The blocks that f_S starts from have never seen a sequence without text.
        "structure_text": "empty_prompt",
        "identity": {},
        "schedule": {"snr_shift_scale": snr_shift_scale},
        "codec": "cogvideox_vae",
        "image_dropout": 0.05,
        "batch_size": 8,
        "num_train_steps": {"base": 4000, "stage_one": 10_000, "stage_two": 4000},
        "ema_decay": 0.999,
        "optimizer": {"name": "adamw", "warmup_steps": 100, "schedule": "constant", "max_grad_norm": 0.1},
        "learning_rate": {"base": 1e-5, "stage_one": 1e-4, "stage_two": 1e-5},
        "muon_learning_rate": {"base": 1e-4, "stage_one": 1e-3, "stage_two": 1e-4},
        "dtype": "bfloat16",
        "remat": "block",
        "mesh": {"data": 1, "fsdp": -1},
        "log_every": 10,
    }


_SIZES = {
    # The rendered people, 64x48 pixels.
    "tiny": _small(
        sample_width=12, embedding_dim=64, num_train_steps={"base": 640, "stage_one": 160, "stage_two": 120}
    ),
    # The packaged real clips, 64x64, whose recogniser has 128 numbers a face.
    "real": _small(
        sample_width=16, embedding_dim=128, num_train_steps={"base": 300, "stage_one": 200, "stage_two": 200}
    ),
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


def get_common_config(size: str, stage: str) -> ml_collections.ConfigDict:
    """The fields that all stages have, at a named size.

    Args:
        size: One of `size_names()`; with a pod of `pods.pod_names(size)` behind an @, what that pod needs.
        stage: "base", "stage_one" or "stage_two".

    Raises:
        ValueError: For an unknown size or pod.
    """
    size, _, pod = size.partition("@")
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(size_names())}")
    if pod and pod not in pod_names(size):
        raise ValueError(f"unknown pod {pod!r} of {size}: choose one of {', '.join(pod_names(size)) or 'none'}")
    values = _SIZES[size]
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.stage = stage
    # A folder of `sr_jax.backbones`, or package.module:Class; `model` and `structure` are fields of its config.
    config.backbone = "cogvideox"
    config.model = values["model"]
    config.structure = values["model"] | {"in_channels": _LATENT_CHANNELS} | values["structure"]
    config.identity = dataclasses.asdict(IdentityConfig(_LATENT_CHANNELS, use_depth=True)) | values["identity"]
    # The betas and the zero terminal SNR are the released ones.
    config.schedule = values["schedule"]
    # The name of the codec that the dataset must have been made with; empty: any.
    config.data = {"dir": "", "split": "train", "codec": values["codec"]}
    # A learned position table fits one size of video: "keep", "drop" or "interpolate" it. After "interpolate" rotary
    # positions count from the new size, so that more rows or columns than before have positions new to the model.
    config.init = {"transformer": "", "position_table": "keep"}
    # A rank of 0 trains the whole model; base and stage two can train low-rank factors of the layers named instead.
    config.lora = {"rank": 0, "alpha": 64.0, "targets": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out")}
    config.batch_size = values["batch_size"]
    # The batch is taken in so many parts, one after the other; the gradient is that of the whole.
    config.accumulate_steps = 1
    config.num_train_steps = values["num_train_steps"][stage]
    config.ema_decay = values["ema_decay"]
    config.optimizer = values["optimizer"] | {
        "learning_rate": values["learning_rate"][stage],
        "muon_learning_rate": values["muon_learning_rate"][stage],
        "b1": 0.9,
        "b2": 0.95,
        "eps": 1e-8,
        "weight_decay": 1e-4,
        # float32, or bfloat16 with stochastic rounding.
        "state_dtype": "float32",
    }
    if stage == "stage_one":
        # What f_S gets as text: "none", or the dataset's "empty_prompt", which becomes a part of it.
        config.structure_text = values["structure_text"]
    else:
        config.image_dropout = values["image_dropout"]
        config.text_dropout = 0.1
    config.dtype = values["dtype"]
    # What the trained and the frozen parameters are stored in: float32, or bfloat16, which rounds updates
    # stochastically. The average is stored as what is trained.
    config.param_dtype = "float32"
    config.frozen_dtype = "float32"
    # What the backward pass keeps of each block: none (of remat), save_matmuls, save_attention, block, offload.
    config.remat = values["remat"]
    # Devices along each axis; with several slices of a pod, slices along `data` and `fsdp`.
    config.mesh = values["mesh"] | {"context": 1, "tensor": 1, "dcn_data": 1, "dcn_fsdp": 1}
    # Fields of `ShardingRules` that are to differ: --config.sharding="{'mlp': 'fsdp'}".
    config.sharding = {}
    # Steps to trace into the workdir, for TensorBoard or Perfetto; num_steps 0: none.
    config.profile = {"first_step": 5, "num_steps": 0}
    config.log_every = values["log_every"]
    # A checkpoint is saved every so many steps, 1 or more, and when the newest is so many minutes old (0: by steps
    # alone; of several processes, at a log line). The first is saved after the first step.
    config.checkpoint_every = 500
    config.checkpoint_minutes = 0.0
    # How many of the newest stay, 1 or more; and those at the multiples of so many steps (0: no others).
    config.keep_checkpoints = 2
    config.keep_checkpoints_every = 0
    # A step whose loss or gradient is not finite is skipped. More than so many in a row, 0 or more, end the run.
    config.max_skipped_steps = 10
    # Seconds after which a process that does not move ends itself: in a step, and while it starts, compiles or saves.
    # 0: it waits for ever.
    config.watchdog = {"step_seconds": 900.0, "start_seconds": 7200.0}
    if pod:
        config.update_from_flattened_dict(PODS[size, pod])
    return config
