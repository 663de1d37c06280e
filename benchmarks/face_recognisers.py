"""Embeds the same aligned faces with the Flax iResNet and with onnxruntime, in turn, on this machine.

  python -m benchmarks.face_recognisers --output benchmarks/results/face_recognisers.json

The file is an iResNet-100 of random weights, as PyTorch exports it (extra `parity`), but with 8 numbers a face. It says
what each costs on these CPUs; only the Flax network also runs on a TPU.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import onnxruntime

from sr_jax.outputs import write_text
from sr_jax.teachers.base import Face
from sr_jax.teachers.faces.arcface import load_arcface
from sr_jax.teachers.faces.landmarks import ARCFACE_TEMPLATE
from sr_jax.teachers.faces.onnx import load_onnx_recogniser
from tests.conversion.iresnet_files import write_iresnet


def measure(faces: int, pairs: int) -> dict:
    """Medians of the seconds that so many faces take, and how far the embeddings are apart."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_iresnet(
            lambda name: importlib.import_module(f"tests.originals.{name}"),
            Path(folder) / "r100.onnx",
            (3, 13, 30, 3),
            (64, 128, 256, 512),
            folded=True,
            image_size=112,
        )
        recognisers = {"flax": load_arcface(path).embed, "onnxruntime": load_onnx_recogniser(path).embed}
    frames = np.random.default_rng(0).integers(0, 256, (faces, 112, 112, 3), np.uint8)
    found = [Face(box=np.array([0, 0, 112, 112], np.float32), score=1.0, landmarks=ARCFACE_TEMPLATE)] * faces
    # Once, to compile.
    outputs = [embed(frames, found)[0] for embed in recognisers.values()]
    seconds = {name: [] for name in recognisers}
    for _ in range(pairs):
        for name, embed in recognisers.items():
            start = time.perf_counter()
            embed(frames, found)
            seconds[name].append(time.perf_counter() - start)
    ratios = [flax / other for flax, other in zip(*seconds.values(), strict=True)]
    return {
        "faces": faces,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "flax_over_onnxruntime": {"median": statistics.median(ratios), "least": min(ratios), "largest": max(ratios)},
        "relative_difference": float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[1]).max()),
        "machine": {"cpus": os.cpu_count(), "architecture": platform.machine(), "platform": jax.default_backend()},
        "versions": {"jax": jax.__version__, "onnxruntime": onnxruntime.__version__},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.faces, arguments.pairs)
    print(json.dumps(found, indent=1))
    if arguments.output:
        write_text(arguments.output, json.dumps(found, indent=1) + "\n")
