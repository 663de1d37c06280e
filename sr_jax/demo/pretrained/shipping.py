"""From what the pretraining made to what the package carries: weights in float16, and the card that tells of them."""

import hashlib
import json
import logging
import platform
import shutil
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml_collections

from sr_jax.configs.evaluate import get_config as evaluate_config
from sr_jax.data.clips import CLIPS_FOLDER, read_index
from sr_jax.demo.pretrain.plan import SAMPLES, STRUCTURE_JUDGE
from sr_jax.demo.pretrain.running import read_steps
from sr_jax.demo.pretrained import files
from sr_jax.demo.pretrained.card_text import card_text
from sr_jax.demo.pretrained.packing import pack
from sr_jax.demo.pretrained.quality import explained_variance, identity_auc
from sr_jax.demo.pretrained.sample_quality import sample_quality
from sr_jax.outputs import write_text
from sr_jax.teachers.registry import load_face_teacher

REMARKS = "remarks.md"
"""What else is to be said of how they were made, if anything: a file in the folder of everything."""
_LIBRARIES = ("jax", "flax", "optax", "numpy")


def ship(config: ml_collections.ConfigDict, made: Path, output: Path) -> None:
    """Writes the weights, `card.json` and the same as a page.

    Args:
        config: See `configs/pretrain.py`.
        made: What the pretraining made.
        output: Folder to write.

    Raises:
        UserError: When something is missing.
    """
    output.mkdir(parents=True, exist_ok=True)
    for name, source in files.COPIED.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made / source, output / name)
    for name, workdirs in files.WORKDIRS.items():
        pack([made / workdir for workdir in workdirs], output / f"{name}.safetensors")
    card = make_card(config, made, output)
    write_text(output / files.CARD, json.dumps(card, indent=1) + "\n")
    write_text(output / files.CARD_TEXT, card_text(card))
    logging.info("%s", json.dumps(card["quality"], indent=1))


def make_card(config: ml_collections.ConfigDict, made: Path, weights: Path) -> dict[str, Any]:
    """All that is known of the models: what made them, from what, for how long, and how good they are."""
    return {
        "config": config.to_dict(),
        "data": {split: _about_clips(made / "data" / CLIPS_FOLDER / split) for split in ("train", "test")},
        "steps": _times(made),
        "remarks": remarks.read_text() if (remarks := made / REMARKS).exists() else "",
        "quality": _quality(made),
        "files": {name: _about_file(weights / name) for name in files.names()},
        "made_with": {"python": platform.python_version(), "machine": platform.machine()}
        | {library: version(library) for library in _LIBRARIES},
    }


def _about_clips(folder: Path) -> dict[str, Any]:
    """How many clips of how many people there are, and of which motions."""
    labels = [entry["labels"] for entry in read_index(folder).values()]
    people = sorted({label["identity"] for label in labels})
    return {
        "clips": len(labels),
        "people": len(people),
        "identities": [people[0], people[-1]],
        "motions": dict(sorted(Counter(label["motion"] for label in labels).items())),
        "held_out_motions": sorted({label["motion"] for label in labels if label["held_out_motion"]}),
    }


def _times(made: Path) -> list[dict[str, Any]]:
    """Of each step its command, and how long it took, over all times that it was run."""
    times: dict[str, dict[str, Any]] = {}
    for line in read_steps(made):
        command = line["command"].replace(f"{made}/", "PRETRAINING/").replace(f"{made}", "PRETRAINING")
        step = times.setdefault(line["name"], {"name": line["name"], "hours": 0.0, "cpu_hours": 0.0})
        step["command"] = command
        step["hours"] = round(step["hours"] + line["seconds"] / 3600, 3)
        step["cpu_hours"] = round(step["cpu_hours"] + line["cpu_seconds"] / 3600, 3)
    return list(times.values())


def _quality(made: Path) -> dict[str, Any]:
    """On held-out people."""
    data, judge = made / "data", evaluate_config("small").faces
    judge.path = str(made / "judge" / "faces")
    return {
        "codec": json.loads((made / "codec" / "metrics.json").read_text()),
        "face teacher": json.loads((made / "teacher" / "metrics.json").read_text()),
        "face judge": json.loads((made / "judge" / "metrics.json").read_text()),
        "f_S, variance explained": explained_variance(made / "structure", data),
        "f_S of noisy latents, variance explained": explained_variance(made / "noisy_structure", data),
        "structure judge, variance explained": explained_variance(made / STRUCTURE_JUDGE, data),
        "f_ID, AUC": identity_auc(made / "identity", data),
        "f_ID without depth, AUC": identity_auc(made / "flat_identity", data),
        "transformer": sample_quality(
            made / SAMPLES, made / "scores.json", data / CLIPS_FOLDER / "test", load_face_teacher(judge)
        ),
    }


def _about_file(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
