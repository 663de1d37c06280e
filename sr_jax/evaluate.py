r"""Scores generated clips against the real ones, with judges that never supervised.

  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Writes SAMPLES/metrics.json (or --output), metrics.npz beside it, and the depth that the judge reads in every generated
clip as depth/<clip_id>.mp4. Prints the means, next to those of the real clips as the codec encodes them: no generator
can be expected to do better.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.evaluate import KEYS

CONFIG = "configs/evaluate.py:people"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"The judges; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_string("generated", None, "Folder that `sample --data` wrote.", flag_values=FLAGS)
flags.DEFINE_string("reference", None, "DATA/clips/SPLIT of the dataset.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSON file to write; by default GENERATED/metrics.json.", flag_values=FLAGS)
flags.DEFINE_integer(
    "step", None, "Which checkpoint of config.structure, the judge; the newest when not given.", flag_values=FLAGS
)
flags.mark_flags_as_required(["generated", "reference"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Scores the clips in `--generated`.

    Raises:
        UserError: As `judging.evaluate`.
    """
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.evaluation.judging import evaluate
    from sr_jax.evaluation.results import RESULTS_FILE, summary

    generated, reference = Path(args.generated), Path(args.reference)
    output = Path(args.output) if args.output else generated / RESULTS_FILE
    scored = evaluate(args.config, generated=generated, reference=reference, output=output, step=args.step)
    print(summary(scored))


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG, keys_of=lambda config: KEYS)
