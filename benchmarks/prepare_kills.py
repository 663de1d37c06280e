"""A preparation that is killed ten times, at random moments, and started again each time.

  python -m benchmarks.prepare_kills

Writes benchmarks/results/prepare_kills.json. Rendered people are prepared once without disturbance and once with ten
`kill -9`, at random numbers of finished clips and some random milliseconds later, the last ones while the dataset is
merged. Then both datasets are compared record by record, and their kept clips byte by byte.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sr_jax.data.pipeline import eval_examples
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.small_faces import teacher as faces
from sr_jax.demo.small_faces.detector import FaceDetectorConfig
from sr_jax.demo.small_faces.weights import save_network
from sr_jax.preparation.merging import PREVIEW_FILE

RESULT = Path(__file__).parent / "results" / "prepare_kills.json"
CLIPS, KILLS, KILLS_IN_MERGE, BATCH_SIZE, SEED = 96, 10, 2, 4, 0
# A kill comes up to so many seconds after the number of clips that triggers it.
_DELAY = 0.3
_PATIENCE = 300


def main() -> None:
    """Prepares twice and writes how the datasets compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
        _run("people", "--output", folder / "videos", "--split", "train", "--clips", CLIPS, "--fps", 24)
        _make_teachers(folder)
        _run(*_command(folder, "undisturbed"))
        kills = _prepare_with_kills(folder)
        result = {"clips": CLIPS, "batch_size": BATCH_SIZE, "seed": SEED, "kills": kills, **_compare(folder)}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{len(kills)} kills; {result['equal_records']} of {result['records']} records are equal, written to {output}"
    )
    if result["equal_records"] != result["records"] or result["differing_files"]:
        sys.exit(1)


def _make_teachers(folder: Path) -> None:
    """A codec and a face teacher of the demo's kind; what they compute does not matter here."""
    pictures = np.random.default_rng(SEED).integers(0, 256, (2, 13, 64, 48, 3), dtype=np.uint8)
    fit_linear_codec(
        [(1.0, pictures)], latent_channels=16, temporal_compression_ratio=4, spatial_compression_ratio=4
    ).save(folder / "codec.npz")
    detector = FaceDetectorConfig(width=8, blocks=1, frame_height=64)
    recogniser = faces.FaceRecogniserConfig(crop_size=16, margin=1.0, widths=(8,), blocks_per_stage=1, embedding_dim=8)
    for name, sizes, network in (
        (faces.DETECTOR_FILE, detector, faces.detector_network(detector)),
        (faces.RECOGNISER_FILE, recogniser, faces.recogniser_network(recogniser)),
    ):
        save_network(folder / "faces" / name, sizes, network.init(jax.random.key(SEED)))


def _command(folder: Path, name: str) -> list[Any]:
    return [
        *("prepare", "--config", "configs/prepare.py:people", "--input", folder / "videos", "--output", folder / name),
        f"--config.codec.path={folder / 'codec.npz'}",
        f"--config.faces.path={folder / 'faces'}",
        f"--config.batch_size={BATCH_SIZE}",
    ]


def _run(*command: Any) -> None:
    subprocess.run([sys.executable, "-m", f"sr_jax.{command[0]}", *map(str, command[1:])], check=True)


def _prepare_with_kills(folder: Path) -> list[dict[str, Any]]:
    """Starts the preparation again and again, and kills it until the last time."""
    rng = random.Random(SEED)
    moments = sorted(rng.randrange(CLIPS) for _ in range(KILLS - KILLS_IN_MERGE))
    kills = []
    for moment in [*moments, *["merge"] * KILLS_IN_MERGE]:
        command = [sys.executable, "-m", *map(str, _command(folder, "killed"))]
        command[2] = f"sr_jax.{command[2]}"
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        delay = rng.uniform(0, _DELAY if moment != "merge" else _DELAY / 10)
        _wait_for(folder / "killed", moment, process)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        kills.append(
            {
                "at": moment,
                "then_seconds": round(delay, 3),
                "exit_code": code,
                "finished_clips": len(list((folder / "killed" / "work").glob("*/train/*.npz"))),
            }
        )
        print(json.dumps(kills[-1]), flush=True)
    _run(*_command(folder, "killed"))
    return kills


def _wait_for(output: Path, moment: int | str, process: subprocess.Popen) -> None:
    """Waits until more clips than `moment` are finished, or until the dataset is being written."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if moment == "merge":
            reached = any((output / "clip_records").glob("incomplete.*"))
        else:
            reached = (output / "work" / "shards").is_dir() and len(
                list((output / "work").glob("*/train/*.npz"))
            ) > moment
        if reached:
            return
        time.sleep(0.005)
    raise RuntimeError(f"the preparation ended before it could be killed at {moment}")


def _compare(folder: Path) -> dict[str, Any]:
    pairs = list(zip(*(eval_examples(folder / name, "train") for name in ("undisturbed", "killed")), strict=True))
    equal = sum(
        one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
        for one, other in pairs
    )
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if _is_compared(path)}
        for root in (folder / "undisturbed", folder / "killed")
    ]
    differing = sorted(
        str(name) for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name)
    )
    return {
        "records": len(pairs),
        "equal_records": equal,
        "compared_files": len(files[0]),
        "differing_files": differing,
    }


def _is_compared(path: Path) -> bool:
    # TFDS does not fix the order of a record's fields, nor x264 the bytes of the preview's lossy videos.
    return path.is_file() and "clip_records" not in path.parts and path.name != PREVIEW_FILE


if __name__ == "__main__":
    main()
