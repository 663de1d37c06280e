"""Checkpoints: the demo's own, and what can be done with any."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sr_jax.api.settings import Changes, load_config
from sr_jax.backbones import releases
from sr_jax.checkpoints import exports
from sr_jax.conversion import hub
from sr_jax.demo.pretrained.packing import lay_out
from sr_jax.generation.generator import generate_split, load_generator
from sr_jax.generation.pipeline import ImageToVideo
from sr_jax.outputs import require_writable


class DemoModels(NamedTuple):
    """Where the pretrained models of the demo lie.

    Attributes:
        transformer: Workdir of the transformer.
        modules: Workdir of the alignment modules f_S and f_ID.
        codec: The codec's file.
        faces: Folder of the face teacher.
        judge: Folder of the face judge, which never supervised.
        structure_judge: Workdir of the structure judge, which never supervised.
    """

    transformer: Path
    modules: Path
    codec: Path
    faces: Path
    judge: Path
    structure_judge: Path


def demo_models(folder: str | Path) -> DemoModels:
    """Lays out the pretrained models that the package carries; what is there already is kept.

    Args:
        folder: Where they go.

    Raises:
        UserError: When this copy of the package has none, or the folder cannot be written.
    """
    folder = Path(folder)
    require_writable(folder)
    lay_out(folder)
    return DemoModels(
        folder / "transformer",
        folder / "modules",
        folder / "codec.safetensors",
        folder / "teacher",
        folder / "judge",
        folder / "structure_judge",
    )


def import_model(source: str | Path, output: str | Path, *, components: Sequence[str] = (), dtype: str = "") -> Path:
    """Brings a released model in: what diffusers saved becomes a checkpoint to sample, train from and export.

    Args:
        source: A folder of diffusers, or a name on the Hugging Face hub.
        output: Folder to write; must not exist.
        components: Of `transformer`, `vae` and `text_encoder`; all that are there when empty.
        dtype: Type of the weights, such as "bfloat16"; empty: as in the files.

    Returns:
        `output`.

    Raises:
        UserError: When there is no such model, or it is of no family that is known.
    """
    located = hub.locate(str(source), releases.known_parts(), components)
    releases.import_pipeline(located, Path(output), components=components, dtype=dtype)
    return Path(output)


def load_pipeline(
    checkpoint: str | Path, config: str = "sample:small", changes: Changes | None = None, *, step: int | None = None
) -> ImageToVideo:
    """Loads what makes a video of an image and a prompt: `pipeline(image, prompt, seed=0)`.

    Args:
        checkpoint: Workdir of a base or stage two run, or an import of released weights.
        config: How to sample; see `configs/sample.py`.
        changes: Keys of it that are to have other values. A workdir needs `codec.path`.
        step: Which checkpoint of the run; the newest when None.

    Raises:
        UserError: When the checkpoint, the codec or the text teacher is missing or does not fit the others.
    """
    config = load_config(config, {"batch_size": 1, **(changes or {})})
    return load_generator(Path(checkpoint), config, step=step).pipeline


def generate_clips(
    checkpoint: str | Path,
    data: str | Path,
    output: str | Path,
    config: str = "sample:small",
    changes: Changes | None = None,
    *,
    split: str = "test",
    limit: int | None = None,
) -> Path:
    """Generates the clips of a dataset's split from their first frames and captions; those that are there are kept.

    Args:
        checkpoint: Workdir of a base or stage two run, or an import of released weights.
        data: The dataset.
        output: Folder to write, for `evaluate_clips`.
        config: How to sample; see `configs/sample.py`.
        changes: Keys of it that are to have other values.
        split: Which split.
        limit: Only the first so many clips.

    Returns:
        `output`.

    Raises:
        UserError: When dataset and checkpoint do not fit, or the folder holds clips that were made otherwise.
    """
    data, output = Path(data), Path(output)
    require_writable(output)
    generator = load_generator(Path(checkpoint), load_config(config, changes), data)
    generate_split(generator, data, split, output, limit=limit)
    return output


def export_model(
    checkpoint: str | Path, output: str | Path, *, base: str | Path | None = None, dtype: str = ""
) -> Path:
    """Writes a transformer and its scheduler as the folder that `from_pretrained` of diffusers loads.

    Args:
        checkpoint: Workdir of a run, or an import.
        output: Folder to write; must not exist.
        base: An import, whose other parts make the pipeline whole.
        dtype: Type of the weights, such as "bfloat16"; empty: as they are stored.

    Returns:
        `output`.

    Raises:
        UserError: When the checkpoint holds no such weights, or the base is not what they were trained for.
    """
    whole = Path(base) if base is not None else None
    exports.export_checkpoint(Path(checkpoint), Path(output), base=whole, dtype=dtype, progress=_silent)
    return Path(output)


def export_lora(checkpoint: str | Path, output: str | Path, *, layout: str = "diffusers") -> Path:
    """Writes a LoRA as a folder with one file.

    Args:
        checkpoint: Workdir of a run with `lora.rank` above 0.
        output: Folder to write; must not exist.
        layout: Whose names the file has: `load_lora_weights` of diffusers takes "diffusers", ComfyUI "comfyui".

    Returns:
        `output`.

    Raises:
        UserError: When the checkpoint holds none.
    """
    exports.export_lora(Path(checkpoint), Path(output), layout=layout)
    return Path(output)


def _silent(name: str, total: int) -> Callable[[int], None]:
    """A progress that nobody is shown."""
    del name, total
    return lambda count: None
