"""What every command does with its flags and with bad input."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

import sr_jax
from sr_jax import command_line
from sr_jax.configs.prepare import KEYS
from sr_jax.errors import UserError
from sr_jax.parallel.sharding import ShardingRules

_ROOT = Path(sr_jax.__file__).parent
# Every module that can be run: those at the top whose flags are read, and the folders with a `__main__`.
COMMANDS = sorted(
    [f"sr_jax.{path.stem}" for path in _ROOT.glob("*.py") if "__main__" in path.read_text()]
    + [".".join(path.parent.relative_to(_ROOT.parent).parts) for path in _ROOT.rglob("__main__.py")]
)


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    flags.DEFINE_integer("clips", 1, "How many.", flag_values=values)
    flags.DEFINE_string("output", None, "Where to.", flag_values=values, required=True)
    return values


def test_parse(flag_values):
    command_line.parse(flag_values, ["program", "--clips=3", "--output", "folder"])
    assert (flag_values.clips, flag_values.output) == (3, "folder")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--output=x", "--clips=many"], "many"),
        (["--output=x", "--colour=red"], "colour"),
        ([], "output"),
        (["--output=x", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_bad_flags(flag_values, argv, message):
    with pytest.raises(UserError, match=message) as error:
        command_line.parse(flag_values, ["program", *argv])
    assert "\n" not in str(error.value)


@pytest.fixture
def parse(monkeypatch):
    """Parses a command line that has a config and gives the config."""

    def parse_it(*argv, config=None, keys_of=None):
        # ml_collections looks for what is set in a config here.
        monkeypatch.setattr(sys, "argv", ["prepare", *argv])
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", None, "Any.", flag_values=values)
        command_line.parse(values, sys.argv, config=config, keys_of=keys_of)
        return values.config

    return parse_it


@pytest.mark.parametrize(
    ("size", "settings", "section", "expected"),
    [
        (
            "cogvideox",
            ["faces.name=onnx", "faces.mean=0", "faces.deviation=1.5", "faces.colour_order=bgr"],
            "faces",
            {"name": "onnx", "mean": 0.0, "deviation": 1.5, "colour_order": "bgr", "detector": "centerface"},
        ),
        (
            "cogvideox",
            ["depth.name=precomputed", "depth.kind=depth"],
            "depth",
            {"name": "precomputed", "kind": "depth"},
        ),
        ("people", ["faces.name=arcface", "faces.detector=scrfd"], "faces", {"name": "arcface", "detector": "scrfd"}),
        (
            "real",
            ["depth.name=video_depth_anything"],
            "depth",
            {"name": "video_depth_anything", "size": "small", "input_size": 518, "colour_map": "inferno"},
        ),
        ("people", ["codec.name=cogvideox", "codec.tiled=True"], "codec", {"dtype": "float32", "tiled": True}),
        ("people", ["text.name=t5", "text.batch_size=2"], "text", {"num_tokens": 48, "batch_size": 2}),
    ],
)
def test_any_teacher_can_be_chosen_and_set_up(parse, size, settings, section, expected):
    config = parse(f"--config=configs/prepare.py:{size}", *[f"--config.{setting}" for setting in settings])
    assert expected.items() <= config[section].to_dict().items()


def test_a_config_that_is_not_given_can_be_changed_too(parse):
    assert parse("--config.batch_size=3", config="configs/sample.py:people").batch_size == 3
    assert parse("--config", "configs/sample.py:cogvideox", config="configs/sample.py:people").batch_size == 1


def test_meshes_of_several_slices_and_other_shardings_can_be_asked_for(parse):
    flags = ["--config.mesh.dcn_data=2", "--config.sharding={'mlp': 'fsdp', 'embed': None}"]
    config = parse("--config=configs/stage_two.py:5b_i2v@v5p:2x2x4", *flags)
    expected = {"data": 1, "fsdp": 16, "context": 1, "tensor": 1, "dcn_data": 2, "dcn_fsdp": 1}
    assert config.mesh.to_dict() == expected
    assert ShardingRules(**config.sharding) == ShardingRules(mlp="fsdp", embed=None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config.faces.meen=0"], r"^no config key 'faces\.meen': did you mean 'faces\.mean'\?$"),
        (["--config.faces.mean=0", "--config.sede", "1"], r"^no config key 'sede': did you mean 'seed'\?$"),
        (["--config.looks_per_second=1"], r"'looks_per_second': did you mean 'person\.looks_per_second'\?$"),
        (["--config.faces.xyz=1"], r"^no config key 'faces\.xyz': faces has .*mean, name, path$"),
        (["--config.=1"], r"^no config key '': the config has .*, seed, "),
        (["--noconfig.faces.none"], r"^no config key 'faces\.none'"),
        (["--config.seed.x=0"], r"^no config key 'seed\.x': seed is a value and no section$"),
        (["--config.seed=many"], r"config\.seed=many: invalid literal"),
        (
            ["--config=configs/prepare.py:huge"],
            r"^--config=configs/prepare\.py:huge: unknown size 'huge': choose one of",
        ),
        (["--config=configs/nowhere.py"], r"configs/nowhere\.py"),
    ],
)
def test_what_is_wrong_with_a_config_is_named(parse, argv, message):
    with pytest.raises(UserError, match=message) as error:
        parse("--config=configs/prepare.py:people", *argv)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_the_packages_own_configs_are_found_in_any_folder(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("--config=configs/sample.py:cogvideox").guidance_scale == 6.0
    assert parse("--config", "./configs/prepare.py:real", "--config.seed=3").clip.fps == 12.0
    assert parse(config="configs/sample.py:people").sampler == "ddim"
    with pytest.raises(UserError, match=r"^--config=configs/sample\.py:huge: unknown size 'huge': choose one of"):
        parse("--config=configs/sample.py:huge")
    for elsewhere in ("sample.py", "other/sample.py", "configs/more/sample.py", "configs"):
        with pytest.raises(UserError):
            parse(f"--config={elsewhere}")


def test_a_config_of_the_working_folder_comes_first(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/sample.py").write_text(
        "from sr_jax.configs import sample\n\n\n"
        "def get_config(size):\n"
        "    config = sample.get_config(size)\n"
        "    config.batch_size = 77\n"
        "    return config\n"
    )
    config = parse("--config=configs/sample.py:cogvideox")
    assert (config.batch_size, config.guidance_scale) == (77, 6.0)


_OWN_FILE = """from sr_jax.configs import prepare


def get_config(size):
    config = prepare.get_config(size)
    {line}
    return config
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config.clip.height = 0", r"^config\.clip\.height is 0: it must be a whole number, at least 1 \(In pixels\)$"),
        ("config.bacth_size = 3", r"^no config key 'bacth_size': did you mean 'batch_size'\?$"),
        ("del config.clip.stride", r"^the config lacks clip\.stride: set it \(its default is 13\)$"),
        ("config = {}", r"^--config=own\.py:people: its get_config gives no ConfigDict, but \{\}$"),
        ("config.clip.heigth", r"^--config=own\.py:people: .*Did you mean \"height\""),
        ("height", r"^--config=own\.py:people: own\.py:6: NameError: name 'height' is not defined$"),
        ("(", r"^--config=own\.py:people: .*own\.py"),
    ],
)
def test_somebodys_own_config_file_is_held_against_the_declaration(parse, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(_OWN_FILE.format(line=line))
    with pytest.raises(UserError, match=message) as error:
        parse("--config=own.py:people", keys_of=lambda config: KEYS)
    assert "\n" not in command_line.one_line(error.value) and "Traceback" not in str(error.value)


def test_somebodys_own_config_file_may_name_parts_of_its_own(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(_OWN_FILE.format(line='config.text = {"name": "mine:load", "rate": 3}'))
    config = parse("--config=own.py:people", "--config.text.rate=5", keys_of=lambda config: KEYS)
    assert config.text.to_dict() == {"name": "mine:load", "rate": 5}


def test_help_prints_the_keys_of_the_config_that_is_named(capsys, monkeypatch):
    from sr_jax import sample, train

    def shown(module, *argv, **options):
        monkeypatch.setattr(sys, "argv", ["command", "--help", *argv])
        with pytest.raises(SystemExit) as stop:
            command_line.run(module.main, module.FLAGS, module.__doc__, **options)
        assert stop.value.code == 0
        return capsys.readouterr().out

    text = shown(train, "--config", "configs/stage_two.py:5b_i2v@v5p:2x2x4", keys_of=train.keys_of)
    assert "Keys of configs/stage_two.py:5b_i2v@v5p:2x2x4, each set as --config.KEY=VALUE:" in text
    assert "  mesh.fsdp = 16\n" in text and "  model.num_layers = 42\n" in text and "structure_text" not in text
    assert "  dtype = 'bfloat16'\n      Compute type. [float32 or bfloat16]\n" in text
    assert "With --config, --help prints the keys of that config." in shown(train, keys_of=train.keys_of)
    options = {"config": sample.CONFIG, "keys_of": lambda config: sample.KEYS}
    assert "Keys of configs/sample.py:people" in shown(sample, **options)


def test_a_value_that_cannot_be_is_told_before_anything_is_loaded(tmp_path):
    flags = [
        "--config=configs/prepare.py:people",
        "--config.clip.height=0",
        "--input=none",
        f"--output={tmp_path / 'o'}",
    ]
    command = [sys.executable, "-X", "importtime", "-m", "sr_jax.prepare", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    *imports, error = done.stderr.splitlines()
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert error == "error: config.clip.height is 0: it must be a whole number, at least 1 (In pixels)"
    assert not [line for line in imports if line.split("|")[-1].strip().partition(".")[0] in ("jax", "numpy", "cv2")]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_nothing_that_takes_seconds(name):
    command = [sys.executable, "-X", "importtime", "-m", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imports = {line.split("|")[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.stdout.strip() and "absl" in imports
    assert not imports & {"jax", "flax", "orbax", "numpy", "cv2", "transformers"}


def test_a_command_with_a_config_of_its_own_names_a_wrong_key():
    command = [sys.executable, "-m", "sr_jax.sample", "--config.sede=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no config key 'sede': did you mean 'seed'?")
    assert len(done.stderr.splitlines()) == 1


def test_run_turns_bad_input_into_one_line_and_exit_code_2(flag_values, capsys, monkeypatch):
    def main(args):
        raise UserError("nothing there:\n  look elsewhere")

    monkeypatch.setattr(sys, "argv", ["program", "--output=x"])
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, flag_values, "Does things.")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: nothing there: look elsewhere\n"


def test_run_leaves_defects_alone(flag_values, monkeypatch):
    def main(args):
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["program", "--output=x"])
    with pytest.raises(ZeroDivisionError):
        command_line.run(main, flag_values, "Does things.")


def test_an_output_that_cannot_be_written_is_told_before_teachers_are_fitted(tmp_path):
    (tmp_path / "file").touch()
    module = importlib.import_module("sr_jax.demo.fit_teachers.__main__")
    flag_values = module.FLAGS
    flag_values.unparse_flags()
    arguments = ["--config=configs/teachers.py:people", f"--videos={tmp_path}", f"--output={tmp_path / 'file' / 'new'}"]
    command_line.parse(flag_values, ["fit_teachers", *arguments])
    with pytest.raises(UserError, match=r"cannot write to .*file/new: .*file is not a folder"):
        module.main(flag_values)


_COMMANDS = ("evaluate", "prepare", "report", "sample", "train")
_DEMO_COMMANDS = ("demo.fit_teachers", "demo.people", "demo.pretrain", "demo.pretrained", "demo.real_clips")


@pytest.mark.parametrize("command", [*_COMMANDS, *_DEMO_COMMANDS])
def test_help(command, capsys, monkeypatch):
    module = importlib.import_module(f"sr_jax.{command}{'.__main__' * (command in _DEMO_COMMANDS)}")
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as stop:
        command_line.run(module.main, module.FLAGS, module.__doc__)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m sr_jax.{command}" in shown
    assert "\n  --" in shown


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError("Event loop is closed"), 0), (RuntimeError("another"), 1), (OSError("disk"), 1)]
)
def test_run_passes_over_writes_that_end_behind_a_failed_save_and_nothing_else(flag_values, monkeypatch, error, told):
    class Dying:
        def __del__(self):
            raise error

    def main(args):
        del args
        Dying()

    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    monkeypatch.setattr(sys, "argv", ["program", "--output=x"])
    command_line.run(main, flag_values, "Does things.")
    assert len(heard) == told
