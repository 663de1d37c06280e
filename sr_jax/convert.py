r"""Brings released CogVideoX weights in and takes trained ones out, weight for weight.

A folder that diffusers saved, or a name on the hub, with all its parts (transformer, vae, text_encoder):
  python -m sr_jax.convert import --source THUDM/CogVideoX-5b-I2V --output MODEL

Only the transformer, for training from prepared data; then train from it:
  python -m sr_jax.convert import --source CogVideoX-5b-I2V --output MODEL --components transformer
  python -m sr_jax.train --config configs/base.py ... --config.init.transformer=MODEL

A transformer in one file, with the names of diffusers, of ComfyUI or of the original model:
  python -m sr_jax.convert import --source cogvideox_5b_i2v.safetensors --output MODEL

Back to a folder that diffusers loads with from_pretrained; of an untouched import it is the same, bit by bit (weights
that nothing loads, such as *.fp16.safetensors or *.bin beside those in use, are named by the import and stay out):
  python -m sr_jax.convert export --checkpoint MODEL --output BACK

A trained transformer, with the other parts of the model it started from:
  python -m sr_jax.convert export --checkpoint W2 --base MODEL --output TRAINED --dtype bfloat16

A LoRA, as a file that load_lora_weights of diffusers takes, or with the names of ComfyUI, of kohya's scripts or of the
original model; or merged into what it adapts; the result samples, trains on and exports like a model that was trained
whole:
  python -m sr_jax.convert lora --checkpoint W2 --output LORA
  python -m sr_jax.convert lora --checkpoint W2 --output LORA_COMFYUI --layout comfyui
  python -m sr_jax.convert merge --checkpoint W2 --output MERGED

LoRA files of others, of any of these layouts, merged into a model; what each counts is 1 where nothing is said:
  python -m sr_jax.convert merge --checkpoint MODEL --lora A.safetensors,B.safetensors --weights 0.8,0.5 --output MERGED

An interrupted run leaves nothing under the name of --output; the same command again completes it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tqdm
from absl import flags

from sr_jax import command_line
from sr_jax.conversion.choices import DTYPES, LORA_LAYOUTS, MAX_SHARD_GB
from sr_jax.errors import UserError

IMPORT = flags.FlagValues()
flags.DEFINE_string(
    "source",
    None,
    "Folder that diffusers saved, a hub name, or a transformer's file.",
    flag_values=IMPORT,
    required=True,
)
flags.DEFINE_string("output", None, "Folder to write; must not exist.", flag_values=IMPORT, required=True)
flags.DEFINE_list("components", "", "transformer, vae, text_encoder; all that are there.", flag_values=IMPORT)
flags.DEFINE_enum("dtype", "", ["", *DTYPES], "Type of the parameters; as in the files.", flag_values=IMPORT)
flags.DEFINE_string("revision", "", "Branch, tag or commit on the hub; the newest.", flag_values=IMPORT)

EXPORT = flags.FlagValues()
flags.DEFINE_string("checkpoint", None, "An import, or a training workdir.", flag_values=EXPORT, required=True)
flags.DEFINE_string("output", None, "Folder to write; must not exist.", flag_values=EXPORT, required=True)
flags.DEFINE_string("base", "", "An import: the other parts of a trained transformer's pipeline.", flag_values=EXPORT)
flags.DEFINE_enum("dtype", "", ["", *DTYPES], "Type of the weights; as they are stored.", flag_values=EXPORT)
flags.DEFINE_float("max_shard_gb", MAX_SHARD_GB, "Weights in one new file.", flag_values=EXPORT, lower_bound=0.001)

_STEP_HELP = "Which checkpoint of a training workdir; the newest when not given."
flags.DEFINE_integer("step", None, _STEP_HELP, flag_values=EXPORT)

LORA = flags.FlagValues()
flags.DEFINE_string("checkpoint", None, "Workdir that trained a LoRA.", flag_values=LORA, required=True)
flags.DEFINE_string("output", None, "Folder to write; must not exist.", flag_values=LORA, required=True)
flags.DEFINE_integer("step", None, _STEP_HELP, flag_values=LORA)
flags.DEFINE_enum("layout", "diffusers", LORA_LAYOUTS, "Whose names the file has.", flag_values=LORA)

MERGE = flags.FlagValues()
flags.DEFINE_string(
    "checkpoint", None, "Workdir that trained a LoRA, or any with --lora.", flag_values=MERGE, required=True
)
flags.DEFINE_string("output", None, "Folder to write; must not exist.", flag_values=MERGE, required=True)
flags.DEFINE_string("base", "", "What it adapts, where that was moved and is not found.", flag_values=MERGE)
flags.DEFINE_integer("step", None, _STEP_HELP, flag_values=MERGE)
flags.DEFINE_list("lora", "", "LoRA files to merge, of any layout.", flag_values=MERGE)
flags.DEFINE_list("weights", "", "What each of them counts; 1 when not given.", flag_values=MERGE)


def run_import(args: flags.FlagValues) -> None:
    """Imports what the flags name.

    Raises:
        UserError: As `hub.locate`, `releases.file_as_folder` and `import_pipeline`.
    """
    # Here and not above, as in the other commands: it takes seconds, and `--help` and wrong flags are told before.
    from sr_jax.backbones import releases
    from sr_jax.conversion import hub

    if Path(args.source).is_file():
        located = releases.file_as_folder(Path(args.source), Path(args.output))
    else:
        found = hub.locate(args.source, releases.known_parts(), args.components, args.revision)
        located = contextlib.nullcontext(found)
    with located as source, _progress() as progress:
        unused = releases.import_pipeline(
            source, Path(args.output), components=args.components, dtype=args.dtype, progress=progress
        )
    if unused:
        print(f"left out, as no part of the model loads them: {', '.join(map(str, unused))}")


def run_export(args: flags.FlagValues) -> None:
    """Exports the import or the averaged weights that the flags name.

    Raises:
        UserError: As `export_checkpoint`.
    """
    from sr_jax.checkpoints.exports import export_checkpoint

    with _progress() as progress:
        export_checkpoint(
            Path(args.checkpoint),
            Path(args.output),
            base=Path(args.base) if args.base else None,
            step=args.step,
            dtype=args.dtype,
            max_shard_gb=args.max_shard_gb,
            progress=progress,
        )


def run_lora(args: flags.FlagValues) -> None:
    """Exports the averaged factors of a LoRA.

    Raises:
        UserError: As `export_lora`.
    """
    from sr_jax.checkpoints.exports import export_lora

    export_lora(Path(args.checkpoint), Path(args.output), step=args.step, layout=args.layout)


def run_merge(args: flags.FlagValues) -> None:
    """Merges the averaged factors of a LoRA into what they adapt, or LoRA files into a model, or both.

    Raises:
        UserError: If there is nothing to merge, what the checkpoint adapts is not there, a file is no LoRA of it, or
            the output exists.
    """
    from sr_jax.checkpoints.loras import described, merge_lora_files
    from sr_jax.checkpoints.networks import backbone_of
    from sr_jax.checkpoints.transformers import load_transformer, trained_lora
    from sr_jax.conversion import lora
    from sr_jax.conversion.imported import is_imported

    if not args.lora:
        trained_lora(args.checkpoint, step=args.step)
    params, meta = load_transformer(args.checkpoint, step=args.step, base=args.base)
    weights = [_number(weight) for weight in args.weights]
    params = merge_lora_files(params, backbone_of(meta["config"]), args.lora, weights)
    merged = described(args.lora, weights)
    if is_imported(Path(args.checkpoint)):
        lora.save_merged_import(params, meta, merged, Path(args.checkpoint), Path(args.output))
    else:
        lora.save_merged(params, meta, merged, Path(args.output))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--weights has {text!r}: give numbers with commas between") from None


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """One bar after the other."""
    with contextlib.ExitStack() as bars:

        def start(name: str, total: int) -> Callable[[int], None]:
            # The one before is done, and its clock stops.
            bars.close()
            bar = tqdm.tqdm(total=total, desc=name, unit="B", unit_scale=True)
            return bars.enter_context(bar).update

        yield start


def choose(argv: Sequence[str]) -> tuple[Callable[[flags.FlagValues], None], flags.FlagValues, list[str]]:
    """The command that the first argument names, its flags, and the other arguments."""
    commands = {
        "import": (run_import, IMPORT),
        "export": (run_export, EXPORT),
        "lora": (run_lora, LORA),
        "merge": (run_merge, MERGE),
    }
    if len(argv) > 1 and argv[1] in commands:
        return *commands[argv[1]], [argv[0], *argv[2:]]

    def refuse(_: flags.FlagValues) -> None:
        raise UserError("say what to do: import or export, lora or merge, see --help")

    return refuse, flags.FlagValues(), [argv[0], *(word for word in argv if word in ("--help", "-h"))]


if __name__ == "__main__":
    main, flag_values, sys.argv = choose(sys.argv)
    command_line.run(main, flag_values, __doc__)
