"""The calls of launch scripts that tests share, and what a run prints and does."""

import shlex

TRAIN = ["--config", "configs/stage_one.py:tiny", "--workdir=/bucket/w", "--config.train_modules=('structure',)"]

TPU_VM = ["tpu_vm.sh", "--name", "n", "--zone", "z", "--type", "v5p-32", "--bucket", "b", "--spot"]
XPK = ["xpk.sh", "--name", "n", "--cluster", "c", "--type", "v6e-8x8", "--image", "i:1", "--slices", "2"]
GKE = ["gke/submit.sh", "gpu", "--name", "n", "--image", "i", "--bucket", "b", "--gpu", "h100", "--nodes", "2"]
GPU_NODE = ["gpu_node.sh", "--gpus", "4"]
SLURM = ["slurm.sbatch"]


def dry(command):
    script, *options = command
    return [script, "--dry-run", *options, *([] if command is SLURM else ["--"]), *TRAIN]


def printed(done):
    """The commands that a run says that it runs."""
    return [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("+ ")]


def train_lines(calls):
    return [call[1:] for call in calls if call[1:3] == ["-m", "sr_jax.train"]]
