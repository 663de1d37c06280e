r"""Scores generated clips against real ones: those of any two folders, or what `sample --data` wrote.

  python -m sr_jax.evaluate --generated CLIPS --reference REAL_CLIPS --config.metrics=psnr,ssim
  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Any folders hold video files or folders of frames, which belong together by their names, or as a table says (--pairs, a
CSV file with the columns generated, reference and, where there are any, prompt, image and group). Writes
GENERATED/metrics.json (or --output) and metrics.npz beside it, and prints the means; docs/evaluation.md has the rules.

What `sample --data` wrote is scored as latents, with judges that never supervised. Besides, the depth that the judge
reads in every generated clip is written as depth/<clip_id>.mp4, and the means stand next to those of the real clips as
the codec encodes them: no generator can be expected to do better.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.evaluate import KEYS
from sr_jax.errors import UserError

CONFIG = "configs/evaluate.py:clips"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"Metrics and judges; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_string("generated", None, "Folder of clips; `sample --data` wrote it, or anything.", flag_values=FLAGS)
flags.DEFINE_string("reference", None, "Folder of real clips; DATA/clips/SPLIT of the dataset.", flag_values=FLAGS)
flags.DEFINE_string("pairs", None, "CSV file that says which clips of any folders belong together.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSON file to write; by default GENERATED/metrics.json.", flag_values=FLAGS)
flags.DEFINE_integer(
    "step", None, "Which checkpoint of config.structure, the judge; the newest when not given.", flag_values=FLAGS
)
flags.mark_flags_as_required(["generated", "reference"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Scores the clips in `--generated`.

    Raises:
        UserError: As `files.evaluate_files`, or `judging.evaluate` where `sample --data` wrote the clips; for a table
            of pairs or a step of a judge where none is looked at.
    """
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.evaluation.files import evaluate_files
    from sr_jax.evaluation.judging import evaluate
    from sr_jax.evaluation.results import RESULTS_FILE, summary
    from sr_jax.generation.clip_folder import SETTINGS_FILE

    generated, reference = Path(args.generated), Path(args.reference)
    output = Path(args.output) if args.output else generated / RESULTS_FILE
    folders = {"generated": generated, "reference": reference, "output": output}
    if (generated / SETTINGS_FILE).is_file():
        if args.pairs is not None:
            raise UserError(
                f"--pairs is for clips of any origin: {generated} says itself which real clips its own are of"
            )
        scored = evaluate(args.config, **folders, step=args.step)
    else:
        if args.step is not None:
            raise UserError(
                f"--step chooses a judge of latents: {generated} holds none, as `sample --data` writes them"
            )
        scored = evaluate_files(args.config, **folders, table=args.pairs and Path(args.pairs))
    print(summary(scored))


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG, keys_of=lambda config: KEYS)
