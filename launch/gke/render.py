"""Prints the manifest of a training run on GKE: fills in launch/gke/tpu.yaml or launch/gke/gpu.yaml.

Needs nothing but Python, and touches nothing.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path
from string import Template

TPUS = {"v4": "tpu-v4-podslice", "v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}
"""GKE's names of the TPUs."""

GPUS = {"h100": "nvidia-h100-80gb", "h100-mega": "nvidia-h100-mega-80gb", "h200": "nvidia-h200-141gb"}
"""GKE's names of the GPUs that come 8 to a node."""

_TPU_CHIPS_PER_HOST = 4
"""On the machine types of slices of several hosts; a slice of fewer chips is one host."""
_GPUS_PER_NODE = 8

_MOUNT_OPTIONS = "implicit-dirs,metadata-cache:ttl-secs:0,rename-dir-limit=1000000"
"""Pods must see each other's files at once; a checkpoint is made complete by renaming its folder."""


def main(argv: list[str]) -> str:
    """The manifest that the command line asks for."""
    separator = argv.index("--") if "--" in argv else len(argv)
    train_flags = argv[separator + 1 :]
    args = _parser().parse_args(argv[:separator])
    if not train_flags:
        _fail("no training flags: give them after --, see --help")
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", args.name):
        _fail(f"--name is {args.name!r}: it must be up to 40 lower-case letters, digits and hyphens")
    if args.max_restarts < 0:
        _fail(f"--max-restarts is {args.max_restarts}: it must not be negative")
    values = {
        "name": args.name,
        "image": json.dumps(args.image),
        "bucket": json.dumps(args.bucket),
        "service_account": json.dumps(args.service_account),
        "max_restarts": args.max_restarts,
        "command": json.dumps(["python", "-m", "sr_jax.train", *train_flags]),
        "mount_options": json.dumps(_MOUNT_OPTIONS),
    }
    values |= _tpu_values(args) if args.kind == "tpu" else _gpu_values(args)
    template = (Path(__file__).parent / f"{args.kind}.yaml").read_text()
    # The first lines speak of the template.
    return Template(template[template.index("apiVersion") :]).substitute(values)


def _tpu_values(args: argparse.Namespace) -> dict[str, object]:
    dimensions = 3 if args.tpu in ("v4", "v5p") else 2
    if not re.fullmatch(r"[1-9]\d*" + r"x[1-9]\d*" * (dimensions - 1), args.topology):
        _fail(f"--topology is {args.topology!r}: that of {args.tpu} has {dimensions} numbers with x between them")
    chips = math.prod(map(int, args.topology.split("x")))
    chips_per_host = min(chips, _TPU_CHIPS_PER_HOST)
    if chips % chips_per_host:
        _fail(f"--topology is {args.topology!r}: {chips} chips do not fill hosts of {chips_per_host}")
    if args.slices < 1:
        _fail(f"--slices is {args.slices}: it must be at least 1")
    return {
        "accelerator": TPUS[args.tpu],
        "topology": args.topology,
        "slices": args.slices,
        "hosts": chips // chips_per_host,
        "chips_per_host": chips_per_host,
    }


def _gpu_values(args: argparse.Namespace) -> dict[str, object]:
    if args.nodes < 1:
        _fail(f"--nodes is {args.nodes}: it must be at least 1")
    return {"accelerator": GPUS[args.gpu], "hosts": args.nodes, "chips_per_host": _GPUS_PER_NODE}


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", required=True, help="name of the JobSet")
    shared.add_argument("--image", required=True, help="image made with launch/gke/Dockerfile")
    shared.add_argument("--bucket", required=True, help="Cloud Storage bucket, /bucket in every pod")
    shared.add_argument("--service-account", default="default", help="Kubernetes account that may use the bucket")
    shared.add_argument("--max-restarts", type=int, default=10, help="after failures; preemptions do not count")
    parser = argparse.ArgumentParser(prog="render.py", description=__doc__, epilog="Training flags come after --.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    tpu = kinds.add_parser("tpu", parents=[shared], help="TPU slices")
    tpu.add_argument("--tpu", required=True, choices=TPUS)
    tpu.add_argument("--topology", required=True, help="of one slice, for example 4x4x4")
    tpu.add_argument("--slices", type=int, default=1)
    gpu = kinds.add_parser("gpu", parents=[shared], help="GPU nodes")
    gpu.add_argument("--gpu", required=True, choices=GPUS)
    gpu.add_argument("--nodes", type=int, default=1)
    return parser


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
