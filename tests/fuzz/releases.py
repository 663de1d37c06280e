"""Files of releases that nobody would write: none gives a traceback, leads out of its folder, or is taken for right."""

import dataclasses
import json
import math
import tempfile
import typing
from pathlib import Path
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from sr_jax.backbones.cogvideox import scheduler_config, transformer_weights, vae_network, vae_weights
from sr_jax.backbones.cogvideox.config import RELEASED
from sr_jax.conversion import t5
from sr_jax.conversion.fields import LARGEST
from sr_jax.conversion.safetensors_file import build_header, parse_header
from sr_jax.conversion.weight_files import open_weights
from sr_jax.diffusion.v_prediction import ScheduleConfig
from sr_jax.errors import UserError
from sr_jax.models.t5 import T5Config
from tests.fuzz.base import Property
from tests.models.tiny_transformers import I2V, TINY

_CONVERSIONS = {
    "transformer": (transformer_weights, [*RELEASED.values(), TINY, I2V]),
    "vae": (vae_weights, list(vae_network.RELEASED.values())),
    "text_encoder": (t5, [T5Config()]),
    "scheduler": (scheduler_config, [ScheduleConfig(), ScheduleConfig(sampler="ddim", timestep_spacing="leading")]),
}
# As text, so that every example has its own.
_RIGHT = {
    part: [json.dumps(module.config_to_diffusers(config)) for config in configs]
    for part, (module, configs) in _CONVERSIONS.items()
}
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.sampled_from([1, 2, 16, 64, 0, -1, "2", "", 1e-5, 0.0, -0.5, 10**400, math.nan, math.inf, "null"])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
_NAMES = (
    st.sampled_from(
        ["model.safetensors", "a-00001-of-00002.safetensors", ".model.safetensors", "model.safetensors/", "model.bin"]
    )
    | st.sampled_from(
        ["../out.safetensors", "..\\out.safetensors", "in/model.safetensors", "x/../out.safetensors", "/etc/passwd"]
    )
    | st.sampled_from(["..", ".", "", "model.safetensors\0"])
)


def _one_line(error: UserError) -> None:
    """What a message must be."""
    message = str(error)
    note(message)
    assert message and "\n" not in message and "Traceback" not in message and len(message) < 1000


@st.composite
def _configs(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A release's config of some part, with up to three fields changed, added or left out."""
    part = draw(st.sampled_from(sorted(_CONVERSIONS)))
    given = json.loads(draw(st.sampled_from(_RIGHT[part])))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(given)) | st.text(max_size=6))
        if draw(st.integers(0, 5)) == 0:
            given.pop(name, None)
        else:
            given[name] = draw(_JSON)
    return part, given


def _configs_are_refused_or_taken_as_they_are(example: tuple[str, dict[str, Any]]) -> None:
    """In one line, or field by field as they are given, in the range that is declared."""
    part, given = example
    try:
        config = _CONVERSIONS[part][0].config_from_diffusers(given)
    except UserError as error:
        return _one_line(error)
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in given and field.name != "sampler":
            theirs = given[field.name]
            assert value == (tuple(theirs) if isinstance(theirs, list) else theirs)
            assert isinstance(theirs, bool) == isinstance(value, bool)
        wanted = typing.get_args(hints[field.name])
        kinds = [kind for kind in wanted if isinstance(kind, type)] or [hints[field.name]]
        assert isinstance(value, (*kinds, tuple))
        for number in value if isinstance(value, tuple) else [value]:
            assert isinstance(number, bool | str | None) or 0 < number <= LARGEST


def _weight_maps_stay_in_their_folder(example: tuple[Any, bool]) -> None:
    """What an index names is one of the files beside it, or refused in one line."""
    weight_map, whole = example
    header = build_header({}, {"format": "pt"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        for path in (folder / "model.safetensors", folder.parent / "out.safetensors"):
            path.write_bytes(header)
        index = {"metadata": {}, "weight_map": weight_map} if whole else weight_map
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        try:
            found = open_weights(folder, "model", {})
        except UserError as error:
            return _one_line(error)
        assert set(found.headers) <= {"model.safetensors"} and not found.tensors


_ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I8", ["F32"], None]),
        "shape": st.lists(st.integers(0, 3), max_size=3) | _JSON,
        "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2) | _JSON,
    }
)


def _headers_name_places_of_their_own(entries: Any) -> None:
    """Tensors lie behind the header, apart from each other, or the header is refused in one line."""
    text = json.dumps(entries).encode()
    header = len(text).to_bytes(8, "little") + text
    try:
        tensors = parse_header(header, Path("model.safetensors"))
    except UserError as error:
        return _one_line(error)
    end = len(header)
    for tensor in tensors.values():
        assert tensor.offset >= end
        end = tensor.offset + tensor.nbytes


PROPERTIES = [
    Property("configs are refused or taken as they are", _configs(), _configs_are_refused_or_taken_as_they_are),
    Property(
        "weight maps stay in their folder",
        st.tuples(st.dictionaries(st.text(max_size=4), _NAMES | _JSON, max_size=3) | _JSON, st.booleans()),
        _weight_maps_stay_in_their_folder,
    ),
    Property(
        "headers name places of their own",
        st.dictionaries(st.text(max_size=4), _ENTRIES | _JSON, max_size=3) | _JSON,
        _headers_name_places_of_their_own,
    ),
]
