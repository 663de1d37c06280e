r"""Runs notebooks/own_clips_one_gpu.ipynb from top to bottom with a tiny random CogVideoX, on rendered people.

  python -m benchmarks.own_clips_notebook --output OUTPUT

Takes the extras `demo`, `notebook` and `test`. What it shows means nothing: that every cell runs, and that diffusers
loads the LoRA, is all that is tried. OUTPUT/own_clips_one_gpu.ipynb has what the cells showed; OUTPUT must not exist.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr_jax.configs.sections import SMALL_FACES
from tests.conversion.folders import VARIANTS, save_pipeline
from tests.originals.recording import Mode, Original

ROOT = Path(__file__).parents[1]
NAME = "own_clips_one_gpu.ipynb"
_FRAMES, _HEIGHT, _WIDTH, _FPS = 9, 32, 48, 8.0
_LATENT_CHANNELS, _FACE_NUMBERS = 4, 16


def main() -> None:
    """Makes the model, the videos and a face teacher, and runs the notebook with them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="Folder to write.")
    output = parser.parse_args().output.absolute()
    output.mkdir(parents=True)
    save_pipeline(lambda name: Original(name, Mode.REPLAY), output / "theirs")
    size = [f"--{name}={value}" for name, value in (("height", _HEIGHT), ("width", _WIDTH), ("frames", _FRAMES))]
    for split, clips in (("train", 4), ("test", 2)):
        _command(
            "demo.people", f"--output={output}/videos", f"--split={split}", f"--clips={clips}", *size, f"--fps={_FPS}"
        )
    teachers = (f"--videos={output}/videos", f"--output={output}/teachers")
    _command("demo.fit_teachers", "--config=configs/teachers.py:smoke", *teachers)
    notebook = with_settings(json.loads((ROOT / "notebooks" / NAME).read_text()), settings())
    (output / NAME).write_text(json.dumps(notebook))
    run = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--inplace", "--execute", str(output / NAME)]
    subprocess.run(run, check=True)


def settings() -> dict[str, Any]:
    """What the notebook's settings are set to."""
    model = VARIANTS["5b_i2v"]
    sizes = {name: getattr(model, name) for name in vars(model)}
    structure = sizes | {"in_channels": _LATENT_CHANNELS, "num_layers": 1, "use_learned_positional_embeddings": False}
    identity = {
        "latent_channels": _LATENT_CHANNELS,
        "embedding_dim": _FACE_NUMBERS,
        "widths": (8,),
        "blocks_per_stage": 1,
    }
    sections = {"model": sizes, "structure": structure, "identity": identity}
    text = {"text.num_tokens": model.max_text_seq_length, "text.dtype": "float32"}
    clip = {"num_frames": _FRAMES, "stride": _FRAMES, "height": _HEIGHT, "width": _WIDTH}
    return {
        "VIDEOS": "videos",
        "FACES": "teachers/faces",
        "MODEL": "theirs",
        "STEPS_ONE": 2,
        "STEPS_TWO": 2,
        "BATCH": 2,
        "RANK": 4,
        "SAMPLING_STEPS": 2,
        "PLAY_IN_DIFFUSERS": True,
        "MORE_PREPARE": text
        | {f"clip.{name}": value for name, value in clip.items()}
        | {f"drop.{name}": False for name in ("no_person", "several_people")}
        | {f"drop.{name}": 0 for name in ("least_motion", "least_side", "least_fps")}
        | {"shots.name": "none", "person.name": "none", "faces.name": SMALL_FACES, "depth.name": "precomputed"}
        | {"codec.dtype": "float32", "codec.tiled": False, "noisy_images": 1},
        "MORE_TRAINING": {
            f"{part}.{name}": value for part, fields in sections.items() for name, value in fields.items()
        },
        "MORE_SAMPLING": text | {"codec.dtype": "float32"},
    }


def with_settings(notebook: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook with lines behind its settings that set them otherwise."""
    [cell] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())]
    cell["source"] = [*cell["source"], *(f"\n{name} = {value!r}" for name, value in values.items())]
    return notebook


def _command(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"sr_jax.{module}", *arguments], check=True)


if __name__ == "__main__":
    main()
