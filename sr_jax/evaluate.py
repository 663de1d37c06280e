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
from sr_jax.errors import UserError
from sr_jax.evaluation.judging import DEPTH_FOLDER, judge_folder, load_judges
from sr_jax.evaluation.results import RESULTS_FILE, Results, write_results
from sr_jax.evaluation.scores import SCORES
from sr_jax.generation.generator import read_settings
from sr_jax.outputs import require_writable

CONFIG = "configs/evaluate.py:people"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"The judges; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_string("generated", None, "Folder that `sample --data` wrote.", flag_values=FLAGS)
flags.DEFINE_string("reference", None, "DATA/clips/SPLIT of the dataset.", flag_values=FLAGS)
flags.DEFINE_string("output", None, f"JSON file to write; by default GENERATED/{RESULTS_FILE}.", flag_values=FLAGS)
flags.mark_flags_as_required(["generated", "reference"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Scores the clips in `--generated`.

    Raises:
        UserError: For an output that cannot be written, and as `judging.load_judges` and `judging.judge_folder`.
    """
    generated = Path(args.generated)
    output = Path(args.output) if args.output else generated / RESULTS_FILE
    # First what takes no time.
    if args.config.batch_size < 1:
        raise UserError(f"config.batch_size is {args.config.batch_size}: it must be at least 1")
    if output.suffix != ".json" or output.is_dir():
        raise UserError(f"--output {output} must be a file that ends in .json")
    read_settings(generated)
    require_writable(output.parent)
    loaded = load_judges(args.config)
    results = judge_folder(
        loaded,
        generated,
        Path(args.reference),
        output.parent / DEPTH_FOLDER,
        batch_size=args.config.batch_size,
    )
    write_results(results, output)
    print(summary(results))


def summary(results: Results) -> str:
    """The means as a small table in plain text."""
    lines = [f"{'mean of ' + str(len(results.clips)) + ' clips':<24}{'generated':>12}{'codec only':>12}"]
    for score in SCORES:
        values = [results.means[kind][score.key] for kind in ("generated", "codec")]
        cells = ["-" if value is None else f"{value:.{score.digits}f}" for value in values]
        lines.append(f"{score.label + (f' ({score.unit})' if score.unit else ''):<24}{cells[0]:>12}{cells[1]:>12}")
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG)
