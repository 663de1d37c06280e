r"""Writes one HTML page, which opens offline, about runs that were compared.

  python -m sr_jax.report --data DATA --run "SemanticREPA=SAMPLES_A" --run "control=SAMPLES_B" --output report.html \
      --training "base=W0" --training "alignment modules=W1" --training "SemanticREPA=W2A" --training "control=W2B" \
      --fitted "teachers=TEACHERS/metrics.json" --fitted "judge=JUDGE/metrics.json" --steps steps.jsonl

SAMPLES_A and SAMPLES_B are folders that `sample --data` and then `evaluate` wrote. The last --run is the baseline that
the others are compared with.
"""

from pathlib import Path

from absl import flags

from sr_jax import command_line

FLAGS = flags.FlagValues()
flags.DEFINE_string("data", None, "Dataset that `prepare` wrote.", flag_values=FLAGS, required=True)
flags.DEFINE_multi_string("run", [], "NAME=FOLDER of scored clips; the last is the baseline.", flag_values=FLAGS)
flags.DEFINE_multi_string("training", [], "NAME=WORKDIR whose curves are shown.", flag_values=FLAGS)
flags.DEFINE_multi_string("fitted", [], "NAME=FILE, JSON with the numbers of a fitted teacher.", flag_values=FLAGS)
flags.DEFINE_multi_string("note", [], "A sentence that the reader must know.", flag_values=FLAGS)
flags.DEFINE_string("steps", None, 'Lines of JSON: {"name", "command", "began", "seconds"}.', flag_values=FLAGS)
flags.DEFINE_string("title", "SemanticREPA at a small scale", "Title of the page.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "HTML file to write.", flag_values=FLAGS, required=True)


def main(args: flags.FlagValues) -> None:
    """Writes the report.

    Raises:
        UserError: When an input is missing or the runs do not belong together.
    """
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.evaluation.report.page import write_report

    write_report(
        Path(args.output),
        title=args.title,
        notes=args.note,
        data=Path(args.data),
        runs=args.run,
        trainings=args.training,
        fitted=args.fitted,
        steps=Path(args.steps) if args.steps else None,
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__)
