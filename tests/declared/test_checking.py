"""Configs held against a declaration."""

import ml_collections
import pytest

from sr_jax.declared.checking import check, entries, unknown_key
from sr_jax.declared.help import help_text
from sr_jax.declared.keys import Each, Key, Part, make_config
from sr_jax.errors import UserError

_KEYS = {
    "backbone": Key("ours", "Which network."),
    "model": Part({"width": Key(8, "Channels.", minimum=1, optional=True)}, named_by="backbone", names=("ours",)),
    "mesh": {"data": Key(1, "Devices.", minimum=1, besides=(-1,))},
    "depth": Part(always={"name": Key("vda", "The teacher.")}, keys={"size": Key("small", "Of it.")}),
    "alignment": Each(
        Part(
            always={"weight": Key(1.0, "Counts.", minimum=0)},
            keys={"module": Key("", "A workdir."), "objective": Key("", "A file.")},
            required=("weight",),
            named_by="objective",
            own={"repa": {"block": Key(8, "A block.", minimum=1, optional=True)}},
        ),
        {"identity": {"weight": 1.0, "module": ""}},
    ),
}


def _changed(**changes):
    config = make_config(_KEYS, {})
    for path, value in changes.items():
        *sections, name = path.split("__")
        section = config
        for part in sections:
            section = section[part]
        with section.ignore_type():
            section[name] = value
    return config


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mesh__data": -1},
        # Somebody's own parts have keys of their own.
        {"backbone": "mine.toys:Toy", "model": {"width": 0, "depth": (1, 2)}},
        {"backbone": "another", "model": {"rank": 3}},
        {"depth": {"name": "mine:load", "size": 7, "whatever": None}},
        {"alignment__mine": {"objective": "mine:build", "weight": 0.5, "module": 3, "rate": 1}},
        # Of several parts, each has its own keys, whatever its section is called.
        {"alignment__early": {"objective": "repa", "weight": 0.5, "block": 2}, "alignment__repa": {"weight": 0.5}},
        # A part of ours need not have every key.
        {"depth": {"name": "vda"}},
        {"alignment": {}},
    ],
)
def test_what_is_declared_passes(changes):
    check(_KEYS, _changed(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mesh__data": 0}, r"^config\.mesh\.data is 0: it must be a whole number, at least 1, or -1 \(Devices\)$"),
        ({"mesh__data": 1.0}, r"^config\.mesh\.data is 1\.0: it must be a whole number"),
        ({"mesh": 5}, r"^config\.mesh is 5: it must be a section"),
        ({"mesh": {}}, r"^the config lacks mesh\.data: set it \(its default is 1\)$"),
        ({"mesh__date": 2}, r"^no config key 'mesh\.date': did you mean 'mesh\.data'\?$"),
        ({"widht": 2}, r"^no config key 'widht': did you mean 'model\.width'\?$"),
        ({"qqq": 2}, r"^no config key 'qqq': the config has alignment, backbone, depth, mesh, model$"),
        ({"model__width": 0}, r"^config\.model\.width is 0"),
        ({"model__widht": 1}, r"^no config key 'model\.widht': did you mean 'model\.width'\?$"),
        ({"depth__sise": "small"}, r"^no config key 'depth\.sise': did you mean 'depth\.size'\?$"),
        ({"depth": {"name": "sr_jax.demo:load", "size": 7}}, r"^config\.depth\.size is 7: it must be text"),
        ({"depth": {"name": 3}}, r"^config\.depth\.name is 3: it must be text"),
        ({"alignment__identity": {"module": ""}}, r"^the config lacks alignment\.identity\.weight: set it"),
        (
            {"alignment__identity": {"weight": 1.0, "wieght": 2.0}},
            r"'alignment\.identity\.wieght': did you mean 'align",
        ),
        ({"alignment__mine": {"objective": "mine:build", "weight": -1.0}}, r"^config\.alignment\.mine\.weight is -1"),
        (
            {"alignment__early": {"objective": "repa", "weight": 1.0, "block": 0}},
            r"^config\.alignment\.early\.block is 0",
        ),
        ({"alignment__identity": {"weight": 1.0, "block": 2}}, r"^no config key 'alignment\.identity\.block'"),
        ({"alignment__mine": 1.0}, r"^config\.alignment\.mine is 1\.0: it must be a section"),
    ],
)
def test_what_is_not_declared_is_named(changes, words):
    with pytest.raises(UserError, match=words):
        check(_KEYS, _changed(**changes))


def test_every_key_of_a_config_comes_once():
    found = {path: (key, value) for path, key, value in entries(_KEYS, _changed(backbone="mine:Toy", model={"a": 3}))}
    assert found == {
        "backbone": (_KEYS["backbone"], "mine:Toy"),
        "model.a": (None, 3),
        "mesh.data": (_KEYS["mesh"]["data"], 1),
        "depth.name": (_KEYS["depth"].always["name"], "vda"),
        "depth.size": (_KEYS["depth"].keys["size"], "small"),
        "alignment.identity.weight": (_KEYS["alignment"].part.always["weight"], 1.0),
        "alignment.identity.module": (_KEYS["alignment"].part.keys["module"], ""),
    }


def test_of_keys_with_one_name_the_nearest_path_is_meant():
    known = ["optimizer.name", "depth.name", "faces.name"]
    assert unknown_key("optimiser.name", known, section=()).endswith("did you mean 'optimizer.name'?")
    assert unknown_key("face.naem", known, section=()).endswith("did you mean 'faces.name'?")


def test_help_has_value_range_and_meaning():
    text = help_text(
        _KEYS, _changed(backbone="mine:Toy", model={"a": ml_collections.ConfigDict()}), "configs/a.py:tiny"
    )
    assert text.splitlines()[:2] == ["Keys of configs/a.py:tiny, each set as --config.KEY=VALUE:", ""]
    assert "  mesh.data = 1\n      Devices. [a whole number, at least 1, or -1]" in text
    assert "  model.a = {}\n      Of a part of your own." in text
