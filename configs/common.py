"""What the training stages' configs share: keys and their defaults."""

from typing import Any

from sr_jax.alignment.identity_config import IdentityConfig
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.configs.sections import CODEC, FLOATS, MESH, POSITION_TABLES, SEED, SHARDING
from sr_jax.declared.keys import Key, Part, fields_of

WEIGHTS = ("ema", "raw", "both")
"""What a held-out loss can be of."""

_MODEL = Part(fields_of(CogVideoXConfig, optional=True), named_by="backbone", names=("cogvideox",))

KEYS: dict[str, Any] = {
    "seed": SEED,
    "stage": Key("base", "What is trained, and how.", choices=("base", "stage_one", "stage_two")),
    "backbone": Key("cogvideox", "A folder of sr_jax/backbones, or package.module:Class; `model` is of its fields."),
    "model": _MODEL,
    # The structure module: the model's fields, with fewer blocks.
    "structure": _MODEL,
    "identity": fields_of(IdentityConfig),
    # The betas and the zero terminal SNR are the released ones where nothing else is said.
    "schedule": Part(
        {
            "snr_shift_scale": Key(1.0, "Divides the signal-to-noise ratio.", above=0),
            "num_train_timesteps": Key(1000, "Timesteps of the schedule.", minimum=1, optional=True),
            "beta_start": Key(0.00085, "First noise variance.", above=0, below=1, optional=True),
            "beta_end": Key(0.012, "Last noise variance.", above=0, below=1, optional=True),
            "rescale_betas_zero_snr": Key(True, "Whether the last timestep is pure noise.", optional=True),
        },
        named_by="backbone",
        names=("cogvideox",),
    ),
    # Shares of noise lie between the clean time (0) and that of pure noise (1).
    "times": {
        "density": Key("uniform", "How often which share of noise is trained.", choices=("uniform", "logit_normal")),
        "mean": Key(0.0, "Of logit_normal, on the logit of the share; above 0 there is more noise."),
        "std": Key(1.0, "Of logit_normal, on the logit of the share.", above=0),
        "shift": Key(1.0, "A share x becomes s x / (1 + (s - 1) x); above 1 there is more noise.", above=0),
        "stratified": Key(True, "Whether the shares of a batch are spread evenly over the density."),
        "least": Key(0.0, "Shares of noise are at least this.", minimum=0, maximum=1),
        "largest": Key(1.0, "Shares of noise are less than this.", minimum=0, maximum=1),
    },
    "data": {
        "dir": Key("", "The dataset: a folder that `python -m sr_jax.prepare` wrote."),
        # Held-out losses and sample clips are of `dir` alone.
        "more_dirs": Key((), "Further datasets of the same codec and teachers that are trained on too.", items=Key("")),
        "repeats": Key(
            (),
            "How often the clips of each dataset come, dir first, while those of one of 1 come once; empty: once.",
            items=Key(1.0, above=0),
        ),
        "shares": Key(
            (),
            "In place of repeats, each dataset's part of all clips in the batches, in any unit; empty: by its clips.",
            items=Key(1.0, above=0),
        ),
        "split": Key("train", "Which of its splits."),
        "codec": Key("cogvideox_vae", "The codec that it must have been made with, by name; empty: any."),
        "max_damaged": Key(0.05, "Damaged records are skipped; a larger part stops the run.", minimum=0, maximum=1),
    },
    "init": {
        "transformer": Key("", "Where training starts: a workdir, or an import of released weights; empty: nowhere."),
        # The layout is told from the keys; alpha is that of the file, divided by lora.alpha / lora.rank.
        "lora": Key("", "A LoRA file whose factors lora.rank trains further; empty: fresh ones."),
        # After "interpolate" rotary positions count from the new size, so that more rows or columns than before have
        # positions new to the model.
        "position_table": Key(
            "keep", "What becomes of its learned position table, which fits one size of video.", choices=POSITION_TABLES
        ),
        # "codec.weight_hash", "teachers.text.weight_hash", "clip.fps", "schedule.snr_shift_scale" and their like.
        "may_differ": Key((), "Fields of dataset or schedule that may differ from the transformer's.", items=Key("")),
    },
    "lora": {
        "rank": Key(0, "Width of the low-rank factors that are trained in place of the model; 0: none.", minimum=0),
        "alpha": Key(64.0, "What the factors add counts alpha / rank times.", above=0),
        "targets": Key(
            ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out"), "The layers that have factors.", items=Key("")
        ),
        # Sampling, merging and export take the model as init.transformer holds it, not rounded.
        "base_type": Key(
            "frozen_dtype",
            "What the frozen model's blocks have their kernels in: int8, or what frozen_dtype says.",
            choices=("frozen_dtype", "int8"),
        ),
    },
    "batch_size": Key(8, "Clips in a step, over all devices.", minimum=1),
    "accumulate_steps": Key(
        1, "Parts that a batch is taken in, one after the other; the gradient is the whole's.", minimum=1
    ),
    "num_train_steps": Key(4000, "Steps of the whole run.", minimum=0),
    "ema_decay": Key(0.999, "Of the moving average of the parameters, which is what samples.", minimum=0, below=1),
    # Rates and clipping are those of the authors' own full fine-tuning (THUDM/CogVideo, sat).
    "optimizer": {
        # Lion was published with b1=0.9, b2=0.99, a third to a tenth of AdamW's learning rate and as many times its
        # weight decay (Chen et al. 2023, section 5).
        "name": Key("adamw", "The rule: adamw, lion, adafactor or muon (sr_jax/training/optimizers.py)."),
        "warmup_steps": Key(100, "Steps in which the learning rate rises.", minimum=0),
        "schedule": Key("constant", "The learning rate behind the warm-up.", choices=("constant", "cosine")),
        "max_grad_norm": Key(0.1, "Longer gradients are cut to this length.", above=0),
        "learning_rate": Key(1e-5, "Peak of the learning rate.", minimum=0),
        "muon_learning_rate": Key(1e-4, "Peak for what Muon makes orthogonal.", minimum=0),
        "b1": Key(0.9, "Decay of Adam's mean of gradients.", minimum=0, below=1),
        "b2": Key(0.95, "Decay of Adam's mean of squares.", minimum=0, below=1),
        "eps": Key(1e-8, "Added to what Adam divides by.", above=0),
        "weight_decay": Key(1e-4, "What the learning rate takes off parameters.", minimum=0),
        "weight_decay_on": Key(
            "matrices",
            "Only matrices and convolutions, or all: norms, biases and modulations, too.",
            choices=("matrices", "all"),
        ),
        "state_dtype": Key("float32", "What the state is stored in; bfloat16 rounds stochastically.", choices=FLOATS),
    },
    "dtype": Key("bfloat16", "Compute type.", choices=FLOATS),
    "param_dtype": Key(
        "float32",
        "What is trained, and its average, is stored in; bfloat16 rounds updates stochastically.",
        choices=FLOATS,
    ),
    "frozen_dtype": Key("float32", "What frozen parameters are stored in.", choices=FLOATS),
    "remat": Key(
        "block",
        "What the backward pass keeps of each block, from most memory to least.",
        choices=("none", "save_matmuls", "save_attention", "block", "offload"),
    ),
    "mesh": MESH,
    "sharding": SHARDING,
    "profile": {
        "first_step": Key(5, "First step that is traced, for TensorBoard or Perfetto.", minimum=1),
        "num_steps": Key(0, "Steps that are traced into the workdir; 0: none.", minimum=0),
    },
    "resume": {
        "allow": Key("", "Keys, with commas between, that may differ from those that the run was started with."),
    },
    # Every clip has its own noise and time, always the same; the clips stay in the host's memory.
    "heldout": {
        "every_steps": Key(500, "Steps between two losses on held-out clips; 0: none are measured.", minimum=0),
        "clips": Key(64, "The first so many clips of the split.", minimum=1),
        "split": Key("test", "Which split they are of."),
        "weights": Key("ema", "Whose loss it is: of the average, the raw parameters or both.", choices=WEIGHTS),
    },
    # Beside TensorBoard and metrics.jsonl, which every run has.
    "trackers": {
        "services": Key((), "Where metrics go too: wandb, trackio.", items=Key("wandb", choices=("wandb", "trackio"))),
        "project": Key("sr_jax", "The project that the run is in there."),
    },
    "log_every": Key(10, "Steps between two lines of the log.", minimum=1),
    "checkpoint_every": Key(500, "Steps between two checkpoints; the first is saved after the first step.", minimum=1),
    "checkpoint_minutes": Key(
        0.0, "Age of a checkpoint at which another is saved (of several processes, at a log line); 0: any.", minimum=0
    ),
    "keep_checkpoints": Key(2, "Newest checkpoints that are kept.", minimum=1),
    "keep_checkpoints_every": Key(
        0, "Checkpoints at multiples of so many steps are kept too; 0: no others.", minimum=0
    ),
    "keep_best": Key(
        "", "A held-out loss, such as heldout/loss: the checkpoint with the least is saved and kept; empty: none."
    ),
    "max_skipped_steps": Key(
        10, "Steps in a row that may be skipped, as their loss or gradient is not finite; more end the run.", minimum=0
    ),
    "watchdog": {
        "step_seconds": Key(900.0, "Seconds in a step after which the process ends itself; 0: never.", minimum=0),
        "start_seconds": Key(7200.0, "The same for its start, and where it compiles or saves; 0: never.", minimum=0),
    },
}
"""Of all stages. The defaults are those of full fine-tuning of a released model."""

DENOISING_KEYS: dict[str, Any] = {
    "image_dropout": Key(0.05, "Share of clips that are trained without their image.", minimum=0, maximum=1),
    "text_dropout": Key(0.1, "Share of clips that are trained without their caption.", minimum=0, maximum=1),
    "denoising": {
        "min_snr_gamma": Key(
            0.0, "Gamma of min-SNR weighting, 5 in its paper; 0: all noise counts the same.", minimum=0
        ),
        # Other weights than 1 need a dataset with face boxes.
        "face_weight": Key(1.0, "What latent pixels inside the face's box count, beside outside_weight.", minimum=0),
        "outside_weight": Key(1.0, "What all others count; 0: clips without a face count for nothing.", minimum=0),
    },
    # Of the clips of heldout.split, from their first frames and captions, through the average. Without a codec's path
    # there are none.
    "samples": {
        "every_steps": Key(500, "Steps between two rounds of sample clips; 0: none are made.", minimum=0),
        "clips": Key(2, "Clips of a round.", minimum=1),
        "codec": CODEC,
        "sampler": Key("", "The sampler; empty: the process's own."),
        "num_inference_steps": Key(10, "Steps of the sampler.", minimum=1),
        "guidance_scale": Key(1.0, "Of classifier-free guidance; 1 or less: none, at half the cost.", minimum=0),
        "dynamic_guidance": Key(
            "none", "How guidance changes from step to step.", choices=("none", "released", "cosine")
        ),
    },
}
"""Of the stages that train the transformer."""
