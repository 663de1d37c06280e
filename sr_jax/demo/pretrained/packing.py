"""One file for the averaged weights of workdirs, and a workdir of one checkpoint from that file.

The file is in safetensors: arrays in float16 by their paths, and the checkpoint's `meta`, without where things lay on
the machine that trained it.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from safetensors import safe_open

from sr_jax.checkpoints.reading import FOLDER, open_params
from sr_jax.conversion.output import new_folder
from sr_jax.conversion.tensor_files import write_tensors
from sr_jax.demo.pretrained import files
from sr_jax.errors import UserError
from sr_jax.outputs import replacing
from sr_jax.parallel.lazy import on_host
from sr_jax.parallel.stored import save_tree

_META = "meta"


def pack(workdirs: Sequence[Path], path: Path) -> None:
    """Writes the averaged weights of the newest checkpoints to one file, whole or not at all.

    Args:
        workdirs: One; or several stage ones on the same dataset, each of which trained another module.
        path: File to write.

    Raises:
        UserError: When there is no checkpoint, a weight is too large for float16, or the runs do not belong together.
    """
    params, meta = _opened(workdirs)
    tensors = {}
    for names, leaf in traverse_util.flatten_dict(on_host(params)).items():
        name, array = ".".join(map(str, names)), np.asarray(leaf, np.float32)
        if np.abs(array).max(initial=0) > np.finfo(np.float16).max or not np.isfinite(array).all():
            raise UserError(f"{path.name}: float16 cannot hold {name}")
        tensors[name] = array.astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, {_META: json.dumps(without_places(meta), sort_keys=True)})


def _opened(workdirs: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and `meta` as of one run."""
    (params, meta), *others = map(open_params, workdirs)
    for workdir, (more, about) in zip(workdirs[1:], others, strict=True):
        if params.keys() & more.keys() or about["provenance"] != meta["provenance"]:
            raise UserError(f"{workdirs[0]} and {workdir} trained the same module, or on other datasets")
        params = params | more
        modules = {name: about["config"][name] for name in more}
        trained = [*meta["config"]["train_modules"], *about["config"]["train_modules"]]
        meta = {**meta, "config": meta["config"] | modules | {"train_modules": trained}}
    return params, meta


def unpack(path: Path, workdir: Path) -> None:
    """Writes a workdir that trains on, is frozen and samples like the one that was packed.

    Raises:
        UserError: If `workdir` exists, or `path` is not such a file.
    """
    meta = read_meta(path)
    with safe_open(path, framework="numpy") as stored:
        names = list(stored.keys())
        flat = {tuple(name.split(".")): stored.get_tensor(name).astype(np.float32) for name in names}
    with new_folder(workdir) as partial, ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        checkpoint = partial / FOLDER / str(meta["step"])
        save_tree(checkpoint / "ema_params", traverse_util.unflatten_dict(flat))
        checkpointer.save((checkpoint / "meta").absolute(), args=ocp.args.JsonSave(meta))


def lay_out(output: Path) -> None:
    """Writes the files and workdirs of all pretrained models that are not in a folder yet.

    Raises:
        UserError: When the package lacks its weights.
    """
    for name in files.COPIED:
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            shutil.copyfile(files.weights_file(name), temporary)
    for name in files.WORKDIRS:
        if not (output / name).exists():
            unpack(files.weights_file(f"{name}.safetensors"), output / name)


def read_meta(path: Path) -> dict[str, Any]:
    """What a file that `pack` wrote says of its checkpoint.

    Raises:
        UserError: If it is missing or not such a file.
    """
    try:
        with safe_open(path, framework="numpy") as stored:
            return json.loads(stored.metadata()[_META])
    # A missing file, a damaged one, and one without metadata arrive as different exceptions.
    except Exception as error:
        raise UserError(f"{path} holds no packed weights: install sr_jax again") from error


def without_places(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's `meta` without paths: they mean nothing on another machine."""
    config = traverse_util.flatten_dict(meta["config"], keep_empty_nodes=True)
    # What is said of sections is said of the objectives' modules, too.
    places = {("data", "dir"), ("init", "transformer"), ("init", "modules")}
    config = {
        keys: "" if keys in places or (keys[0] == "alignment" and keys[-1] == "module") else value
        for keys, value in config.items()
    }
    origins = {**meta["origins"], "places": {}}
    return {**meta, "config": traverse_util.unflatten_dict(config), "origins": origins}
