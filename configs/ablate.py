r"""The paper's ablations, and its objectives beside others', from one start.

  python -m sr_jax.ablate --config configs/ablate.py:cpu --suite paper --output OUTPUT --config.data.dir=DATA \
      --config.start=W0 --config.modules.clean=W1 \
      --config.modules.noisy=W1_NOISY --config.modules.no_depth=W1_NO_DEPTH \
      --config.judges.structure=W_JUDGE --config.judges.faces=JUDGE/faces --config.judges.body_parts=BODY_PARTS \
      --config.codec=TEACHERS/codec.npz

Sizes: `cpu` for a night on 2 cores, `gpu` for one large GPU, `smoke` for minutes, whose numbers mean nothing.

Hardware: any; rows run side by side where there are several devices.
Time: on the demo's models 100 minutes of 2 cores for the paper's six rows with three seeds of 400 steps, two rows at a
time; all of `cpu` is meant for a night, `smoke` for minutes.
Memory: that of the greatest of its runs, of training, sampling or evaluation.
Comes out: OUTPUT/results.json and OUTPUT/report.html, with a workdir for each row.
"""

import ml_collections

from sr_jax.declared.keys import Key, make_config

_FURTHER = "--config.KEY=VALUE of these commands, for each row alike."
_BLOCK = "Behind which block, from 1."
_METRICS = (
    "id_score", "motion_score", "structure_error", "structure_error_aligned", "parts_missing", "parts_split",
    "parts_doubled", "part_area_jumps", "part_place_jumps", "motion_magnitude", "psnr", "ssim", "face_found",
)  # fmt: skip
_SWEEPS = (
    "lambda_s_0.1", "lambda_s_1", "lambda_id_0.3", "lambda_id_3", "noise_linear", "noise_signal", "control_longer",
    "both_longer",
)  # fmt: skip

KEYS = {
    "data": {
        "dir": Key("", "The dataset; the objectives' suite needs the tokens of a frozen encoder in it."),
        "split": Key("test", "Its held-out clips."),
    },
    "codec": Key("", "The codec's file or folder."),
    "start": Key("", "What every row starts from: the workdir of a base run, or an import."),
    # Of stage one. All seeds share them.
    "modules": {
        "clean": Key("", "Workdir of f_S on clean latents, and of f_ID with depth."),
        "noisy": Key("", "Workdir of f_S on noisy latents; empty: the paper's row L_S(zt) is left out."),
        "no_depth": Key("", "Workdir of f_ID without depth; empty: the paper's Table 3 is left out."),
    },
    # None of them may have supervised.
    "judges": {
        "structure": Key("", "Workdir of a stage one with another seed."),
        "faces": Key("", "Folder of the judge of faces."),
        "body_parts": Key("", "File of the judge of body parts."),
    },
    "train": Key("configs/stage_two_all.py:tiny", "Config of the training."),
    "sample": Key("configs/sample.py:people", "Config of the sampling."),
    "evaluate": Key("configs/evaluate.py:people", "Config of the evaluation."),
    "train_options": Key((), _FURTHER, items=Key("")),
    "sample_options": Key((), _FURTHER, items=Key("")),
    "evaluate_options": Key((), _FURTHER, items=Key("")),
    "num_train_steps": Key(500, "Steps of each row.", minimum=1),
    "seeds": Key((0, 1, 2, 3, 4), "Of data order, noise and sampling; rows of a seed are paired.", items=Key(0)),
    "clips": Key(128, "Held-out clips that each row is scored on.", minimum=2),
    "sweeps": Key(
        _SWEEPS,
        "What is tried on the first seed alone: weights, their noise weighting, longer training.",
        items=Key(_SWEEPS[0], choices=_SWEEPS),
    ),
    "equal_flops": Key(True, "Whether a control with as many FLOPs as the other rows is trained, too."),
    "metrics": Key(_METRICS, "Files of sr_jax/evaluation/metrics, or package.module:Class.", items=Key("")),
    # Chosen before anything was run: identity, motion and structure, as the paper claims them.
    "claims": Key(
        ("id_score", "motion_score", "structure_error_aligned"),
        "Keys of the scores that claims are made of; Holm's correction is over all of them and all rows.",
        items=Key(""),
    ),
    "objectives": {
        "tokens": Key("mobilenet_v2_tokens", "Field of the records with the tokens of REPA, TRD and CREPA."),
        "channels": Key(128, "Its channels.", minimum=1),
        "projector_width": Key(256, "Hidden channels of their projectors.", minimum=1),
        "block": Key(2, _BLOCK, minimum=1),
        "layersync_block": Key(1, _BLOCK, minimum=1),
        "deeper_block": Key(3, "The block that LayerSync draws it to.", minimum=1),
    },
    "devices": Key(
        (), "GPUs by their numbers, each of which has rows of its own; empty: all that there is.", items=Key(0)
    ),
    "at_once": Key(1, "Rows at a time on each of them; each has its share of the cores.", minimum=1),
    "keep_checkpoints": Key(False, "Whether the checkpoints of other seeds than the first are kept when scored."),
}
_SIZES = {
    "cpu": {},
    # One H200-class GPU holds several rows of a small model.
    "gpu": {"num_train_steps": 2000, "clips": 512, "at_once": 4, "train_options": ("dtype=bfloat16",)},
    "smoke": {
        "num_train_steps": 4,
        "seeds": (0, 1),
        "clips": 4,
        "sweeps": (),
        "train_options": ("batch_size=2", "log_every=1", "optimizer.warmup_steps=1"),
        "sample_options": ("num_inference_steps=2", "batch_size=4"),
        "evaluate_options": ("batch_size=4",),
        "objectives": {"projector_width": 16},
    },
}


def get_config(size: str = "cpu") -> ml_collections.ConfigDict:
    """The config of `sr_jax.ablate` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(_SIZES)}")
    return make_config(KEYS, _SIZES[size])
