"""What a checkpoint becomes for diffusers: a folder that `from_pretrained` loads, or the file of a LoRA."""

from collections.abc import Callable
from pathlib import Path

from sr_jax.backbones import releases
from sr_jax.checkpoints import pairs
from sr_jax.checkpoints.networks import backbone_of
from sr_jax.checkpoints.reading import item_path, read_meta
from sr_jax.checkpoints.transformers import trained_lora
from sr_jax.conversion import exporting, lora
from sr_jax.conversion.choices import MAX_SHARD_GB
from sr_jax.conversion.imported import SOURCE_FOLDER, is_imported
from sr_jax.errors import UserError


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    base: Path | None = None,
    step: int | None = None,
    dtype: str = "",
    max_shard_gb: float = MAX_SHARD_GB,
    progress: Callable[[str, int], Callable[[int], None]],
) -> None:
    """Exports an import, or the averaged weights of a run with the schedule they were trained on.

    Args:
        checkpoint: An import, or the workdir of a run that trained a transformer.
        output: Folder to write; must not exist.
        base: An import with the other parts of a trained transformer's pipeline; None: the transformer and its
            scheduler alone.
        step: Which checkpoint of the workdir; the newest when None.
        dtype: Type of the weights; empty: as they are stored.
        max_shard_gb: Weights in one new file, in 10^9 bytes.
        progress: Given a part's name and its bytes, what counts those written.

    Raises:
        UserError: If there are no such weights, or the base is not what they were trained for; as `exporting.export`.
    """
    if base is not None and is_imported(checkpoint):
        raise UserError(f"{checkpoint} is an import, which is whole by itself: leave out --base")
    whole = base if base is not None else checkpoint
    parts = releases.imported_parts(whole) if base is not None or is_imported(whole) else []
    scheduler = None
    if not is_imported(checkpoint):
        meta = read_meta(checkpoint, step=step)
        config = meta["config"]
        if config.get("lora", {}).get("rank"):
            raise UserError(f"{checkpoint} holds a LoRA: use lora instead of export, or merge first and export that")
        if base is not None:
            pairs.require_base(meta, checkpoint, base)
        backbone = backbone_of(config)
        scheduler = pairs.exported_scheduler(meta, base)
        kind = backbone.parts["transformer"]
        trained = exporting.trained_transformer(item_path(checkpoint, step=step), kind, backbone.config, parts)
        parts = [part for part in parts if part.name != trained.name] + [trained]
    exporting.export(
        parts,
        output,
        other_files=whole / SOURCE_FOLDER if is_imported(whole) else None,
        scheduler=scheduler,
        dtype=dtype,
        max_shard_bytes=int(max_shard_gb * 1e9),
        progress=progress,
    )


def export_lora(checkpoint: Path, output: Path, *, step: int | None = None, layout: str = "diffusers") -> None:
    """Exports the averaged factors of a LoRA as a folder with one file.

    Args:
        checkpoint: Workdir of a run that trained a LoRA.
        output: Folder to write; must not exist.
        step: Which checkpoint of the workdir; the newest when None.
        layout: Whose names the file has, one of `LORA_LAYOUTS`; `load_lora_weights` takes that of diffusers.

    Raises:
        UserError: If the checkpoint has none, or the output exists.
    """
    factors, config, meta = trained_lora(checkpoint, step=step)
    backbone = backbone_of(meta["config"])
    kind = backbone.parts["transformer"]
    rules = kind.conversion.rules(backbone.config)
    lora.save_lora(lora.lora_tensors(factors, config, rules, layout, kind.other_names), output)
