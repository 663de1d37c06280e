"""What a release consists of, so that datasets made with another one can be told."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp

from sr_jax.conversion.components import CONFIG_FILE, Component, component_folders, find_components, read_json
from sr_jax.conversion.parts import Identity, PartFiles, PartKind
from sr_jax.conversion.streaming import lazy_params
from sr_jax.errors import UserError
from sr_jax.models.functional import Params


def weight_files(component: Component) -> dict[str, Path]:
    """The component's weight files, by their path in the source."""
    return {
        (Path(component.folder) / file).as_posix(): component.weights.folder / file
        for file in component.weights.headers
    }


def file_hashes(component: Component, published: Mapping[str, str], *, read: bool) -> dict[str, str]:
    """The SHA-256 of each of a component's weight files, by their path in the source.

    Args:
        component: The component.
        published: What is published of them; may lack some.
        read: Whether to hash also files of which that is known, and to compare.

    Raises:
        UserError: If a file is not what is published.
    """
    hashes = {}
    for name, path in weight_files(component).items():
        known = published.get(name, "")
        hashes[name] = _sha256(path) if read or not known else known
        if known not in ("", hashes[name]):
            raise UserError(
                f"{path} has the SHA-256 {hashes[name]}, published is {known}: remove it from the hub's cache, and "
                "download it again"
            )
    return hashes


def identities(
    source: Path,
    imported: Sequence[Component],
    kinds: Mapping[str, PartKind],
    dtype: str,
    sha256: Mapping[str, str],
    published: Mapping[str, str],
) -> dict[str, Identity]:
    """What datasets must have been made with to go with a release, as far as the source tells: by the part's name.

    Parts that lie there count whether they are imported or not: who trains a transformer alone has prepared the data
    with the others.

    Args:
        source: Folder of the release.
        imported: What is imported of it.
        kinds: Every part that its family has.
        dtype: What the imported parameters are converted to; empty when they are as in the files.
        sha256: Of the weight files of what is imported.
        published: As for `file_hashes`.
    """
    result = {}
    for name, folder in component_folders(source, kinds).items():
        identify = kinds[name].identify
        if identify is None:
            continue
        here = next((component for component in imported if component.name == name), None)
        if here is not None:
            hashes = {file: sha256[file] for file in weight_files(here)}
            result[name] = identify(PartFiles(here.config, dtype, _reader(here), hashes, source))
        else:
            beside = _beside(source, name, folder, kinds, published)
            result |= {} if beside is None else {name: identify(beside)}
    return result


def _beside(
    source: Path, name: str, folder: str, kinds: Mapping[str, PartKind], published: Mapping[str, str]
) -> PartFiles | None:
    """A part that is not imported; None where it is not of the family's kind."""
    try:
        config = kinds[name].conversion.config_from_diffusers(read_json(source / folder / CONFIG_FILE))
    except UserError:
        return None
    try:
        [component] = find_components(source, kinds, [name])
    except UserError:
        # Of a hub's repository, only the weights of what is imported are downloaded.
        return PartFiles(config, "", None, {}, source)
    return PartFiles(config, "", _reader(component), file_hashes(component, published, read=False), source)


def _reader(component: Component) -> functools.partial[Params]:
    return functools.partial(_params, component)


def _params(component: Component, dtype: str) -> Params:
    abstract = component.kind.functional(component.config).abstract_params()
    return lazy_params(component.weights, component.rules, abstract, dtype=jnp.dtype(dtype) if dtype else None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
