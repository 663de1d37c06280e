"""launch/smoke.sh and launch/notebook.sh: they run what there is, in an order in which each finds what it reads."""

import importlib
import sys

import pytest

from sr_jax import command_line, convert


def _commands(sandbox) -> list[list[str]]:
    """The commands of sr_jax that were run: name and arguments."""
    calls = [call[2:] for call in sandbox.calls("python") if call[1] == "-m" and call[2].startswith("sr_jax.")]
    return [[call[0].removeprefix("sr_jax."), *call[1:]] for call in calls]


def _parse(monkeypatch, name, arguments):
    """Holds arguments against the flags of a command, whose flags of config keys are made from what is typed."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    if name == "convert":
        _, flags, argv = convert.choose(sys.argv)
        command_line.parse(flags, argv)
    else:
        module = importlib.import_module(f"sr_jax.{name}{'.__main__' if name.startswith('demo.') else ''}")
        module = importlib.reload(module)
        command_line.parse(module.FLAGS, sys.argv, keys_of=getattr(module, "keys_of", None))


def test_every_stage_is_run_once_at_the_size_smoke(sandbox, monkeypatch):
    done = sandbox.run("smoke.sh", OUTPUT="out")
    assert done.returncode == 0, done.stderr
    assert "Everything ran" in done.stdout
    commands = _commands(sandbox)
    names = [name for name, *_ in commands]
    assert names == ["demo.people"] * 2 + ["demo.fit_teachers"] * 2 + ["prepare"] + ["train"] * 4 + [
        "sample", "evaluate", "convert",
    ]  # fmt: skip
    for name, *arguments in commands:
        _parse(monkeypatch, name, arguments)
        if "--config" in arguments:
            assert arguments[arguments.index("--config") + 1].endswith(":smoke"), name
    # A second time there is nothing to do.
    before = len(_commands(sandbox))
    assert sandbox.run("smoke.sh", OUTPUT="out").returncode == 0
    assert len(_commands(sandbox)) == before


def test_what_a_step_reads_was_written_by_one_before(sandbox):
    assert sandbox.run("smoke.sh", OUTPUT="out").returncode == 0
    written = set()
    for name, *arguments in _commands(sandbox):
        options = " ".join(arguments).replace("=", " ").split()
        places = [word for word in options if word.startswith("out/")]
        flags = [options[options.index(place) - 1] for place in places]
        for flag, place in zip(flags, places, strict=True):
            if flag not in ("--output", "--workdir"):
                assert any(place.startswith(folder) for folder in written), f"{name} reads {place}"
        written |= {place for flag, place in zip(flags, places, strict=True) if flag in ("--output", "--workdir")}


@pytest.mark.parametrize("named", [[], ["notebooks/mine.ipynb"]])
def test_a_notebook_is_run_on_a_copy(sandbox, named):
    folder = sandbox.folder / "notebooks"
    folder.mkdir()
    for name in ("semantic_repa_colab", "mine"):
        (folder / f"{name}.ipynb").write_text(name)
    done = sandbox.run("notebook.sh", *named, OUTPUT="out")
    assert done.returncode == 0, done.stderr
    name = "mine" if named else "semantic_repa_colab"
    execute, convert_it = (call[1:] for call in sandbox.calls("python")[-2:])
    assert execute == ["-m", "nbconvert", "--to", "notebook", "--inplace", "--execute", f"out/{name}.ipynb"]
    assert convert_it == ["-m", "nbconvert", "--to", "html", "--coalesce-streams", f"out/{name}.ipynb"]
    assert (sandbox.folder / f"out/{name}.ipynb").read_text() == name
    assert sandbox.environment("python")["JAX_COMPILATION_CACHE_DIR"] == str(sandbox.folder / "out/compile_cache")
    assert f"out/{name}.html" in done.stdout


@pytest.mark.parametrize(
    ("script", "argument", "message"),
    [
        ("notebook.sh", "none.ipynb", "error: no notebook none.ipynb"),
        ("notebook.sh", "--fast", "error: unknown option --fast: name a notebook, or nothing"),
        ("smoke.sh", "--fast", "error: unknown option --fast: there are none but --help"),
    ],
)
def test_what_there_is_not_is_one_line(sandbox, script, argument, message):
    done = sandbox.run(script, argument)
    assert (done.returncode, done.stderr, sandbox.calls()) == (2, f"{message}\n", [])
