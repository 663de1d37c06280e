r"""LPIPS of the same frames here and in the package lpips, whose heads are the released ones.

  pip install -e ".[torch]" lpips==0.1.4 torchvision
  python -m benchmarks.lpips_parity --output benchmarks/results/lpips_parity.json

The trunk has random weights, the same ones here and there: torchvision's are a download. PyTorch and torchvision must
fit together, so it is no test of the suite, whose PyTorch comes without torchvision.
"""

import argparse
import json
from importlib import metadata
from pathlib import Path

import jax.numpy as jnp
import lpips
import numpy as np
import torch

from sr_jax.conversion.old_torch_file import read_old_torch_file
from sr_jax.evaluation.metrics.lpips import HEADS, distances, params_from_state_dicts
from sr_jax.evaluation.weights import packaged

SIZES = ((2, 64, 64), (3, 88, 72), (1, 121, 97), (1, 256, 384))
"""Frames, height and width."""
_PACKAGES = ("lpips", "torch", "torchvision", "jax")


def main() -> None:
    """Compares every size with every seed, and writes the largest error of each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="random trunks and frames of each size")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    errors: dict[str, float] = {}
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        theirs = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False).eval()
        # Its trunk is in slices, each layer under its number in torchvision's `features`.
        trunk = {
            f"features.{name.split('.', 2)[2]}": tensor.numpy()
            for name, tensor in theirs.state_dict().items()
            if name.startswith("net.slice")
        }
        ours = distances(params_from_state_dicts(trunk, read_old_torch_file(packaged(HEADS))))
        rng = np.random.default_rng(seed)
        for size in SIZES:
            first, second = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
            # Half of the second is the first, so that distances are not those of noise alone.
            second = np.where(rng.random((*size, 1)) < 0.5, first, second)
            with torch.no_grad():
                expected = theirs(_tensor(first), _tensor(second)).numpy().reshape(-1)
            found = np.asarray(ours(jnp.asarray(first), jnp.asarray(second)))
            name = "x".join(map(str, size))
            errors[name] = max(errors.get(name, 0.0), float(np.max(np.abs(found - expected) / np.abs(expected))))
            print(seed, name, found[0], expected[0], flush=True)
    result = {
        "largest_relative_error": errors,
        "seeds": args.seeds,
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def _tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    main()
