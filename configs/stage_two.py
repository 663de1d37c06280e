r"""Stage two: fine-tunes the transformer with L_t + 0.01 L_S + 1 L_ID through the frozen modules of stage one.

  python -m sr_jax.train --config configs/stage_two.py:tiny --workdir W2 --config.data.dir=DATA \
      --config.init.transformer=W0 --config.alignment.structure.module=W1 --config.alignment.identity.module=W1

With released weights `W0` is their import (`python -m sr_jax.convert import`), and the size that of the model, such as
`5b_i2v`. The control is the same run with both weights 0:

  ... --config.alignment.structure.weight=0 --config.alignment.identity.weight=0

Weights may change over time (`docs/alignment_weights.md`):

  ... --config.alignment.structure.warmup_steps=200 --config.alignment.structure.off_after=2000

Either trains LoRA weights of the transformer alone with a rank (see `python -m sr_jax.convert --help` for their
export):

  ... --config.lora.rank=64 --config.optimizer.name=adamw --config.optimizer.learning_rate=1e-4

Size `smoke` is four steps, in seconds: whether everything works (`bash launch/smoke.sh`).

Hardware: two CPU cores for `tiny` and `real`; pods of TPUs for `5b_i2v@v5p:2x2x4` and its like (configs/pods.py,
planned ahead of time; none has been used yet).
Time: unknown by itself for `tiny` (120 steps), a part of the demo's 12 minutes; 4,000 steps of `5b_i2v@v5e:16x16` take
2.2 hours at least (roofline bound, docs/scaling.md), and an unknown time in fact.
Memory: 2.1 GiB for `tiny` as a part of the demo; planned for pods and estimated for a LoRA on one GPU: docs/scaling.md.
Comes out: the workdir of a transformer, or of its LoRA, which `sample` and `convert` take.
"""

import ml_collections

from sr_jax.configs.common import DENOISING_KEYS, KEYS
from sr_jax.configs.objectives import OBJECTIVE_KEYS
from sr_jax.configs.sizes import get_stage_config
from sr_jax.declared.keys import Each, Key, Part

# Of sr_jax/alignment/weights.py.
_SCHEDULE = {
    "warmup_steps": Key(0, "Steps in which the weight rises from 0.", minimum=0),
    "hold_steps": Key(0, "Steps at the full weight behind them, before it decays.", minimum=0),
    "decay": Key("none", "How the weight falls then.", choices=("none", "linear", "cosine")),
    "decay_steps": Key(0, "Steps in which it falls.", minimum=0),
    "final_share": Key(0.0, "What is left of it then, as a share of the full weight.", minimum=0, maximum=1),
    "off_after": Key(0, "Steps after which the weight is 0, whatever else is said; 0: it never is.", minimum=0),
    "off_when_similar": Key(
        0.0,
        "Running mean of the similarity, of objectives that measure one, at which the weight is 0 for good; 0: never.",
        minimum=0,
        maximum=1,
    ),
    "least_noise": Key(0.0, "Least share of noise of the times at which it counts.", minimum=0, maximum=1),
    "largest_noise": Key(1.0, "The largest; 0 is the clean clip's time, 1 that of pure noise.", minimum=0, maximum=1),
    "noise_weighting": Key(
        "none",
        "What it is multiplied with in between: 1 - share of noise, or the signal's share of the variance.",
        choices=("none", "linear", "signal"),
    ),
}
_OBJECTIVE = Part(
    always={
        "weight": Key(1.0, "What its loss counts: lambda_S and lambda_ID of the paper; 0: nothing.", minimum=0),
        **_SCHEDULE,
    },
    keys={
        "objective": Key("", "A file of sr_jax/alignment, or package.module:build; the section's name when left out."),
    },
    required=("weight",),
    named_by="objective",
    own=OBJECTIVE_KEYS,
)
STAGE_TWO_KEYS = (
    KEYS
    | DENOISING_KEYS
    | {
        # Your own: {"mine": {"objective": "package.module:build", "weight": 0.5}}.
        "alignment": Each(
            _OBJECTIVE,
            {
                name: {"weight": weight, "module": "", **{key: declared.default for key, declared in _SCHEDULE.items()}}
                for name, weight in (("structure", 0.01), ("identity", 1.0))
            },
        )
    }
)


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage two at a named size."""
    return get_stage_config(size, "stage_two", STAGE_TWO_KEYS)
