"""Pages and config docstrings: every command is one that this project takes, every name exists, every link leads on."""

import ast
import functools
import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from sr_jax import command_line
from sr_jax.errors import UserError
from tests.documentation import CONFIGS, PAGES, ROOT, Command, blocks, commands

_PACKAGES = ("demo.people", "demo.real_clips", "demo.fit_teachers")
# What --config is where a command line, or the part of one that a page shows, has none.
_DEFAULTS = {
    "train": "configs/stage_two.py:5b_i2v",
    "prepare": "configs/prepare.py:cogvideox",
    "sample": "configs/sample.py:people",
    "evaluate": "configs/evaluate.py:people",
}
_COMMANDS = list(commands())


def _parse(monkeypatch, command: Command, name: str, arguments: list[str]):
    """Holds arguments against the flags and config keys of a command of sr_jax, as that command does."""
    # Anew: parsing leaves values in flags.
    module = runpy.run_module(f"sr_jax.{name}{'.__main__' if name in _PACKAGES else ''}", run_name="looked_at")
    flags = module["FLAGS"] if "FLAGS" in module else module[arguments.pop(0).upper()]
    config = _DEFAULTS.get(name)
    named = next((arguments[i + 1] for i, word in enumerate(arguments) if word == "--config"), config)
    if named and not (ROOT / named.partition(":")[0]).exists():
        # A config of the reader's own.
        arguments = [word for word in arguments if word != named and not word.startswith("--config")]
    missing = command.partial or "--help" in arguments
    arguments = [word for word in arguments if word != "--help"]
    # Flags of config keys are made from what was typed.
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        command_line.parse(flags, sys.argv, config=config, keys_of=module.get("keys_of"))
    except UserError as error:
        assert missing and "must have a value other than None" in str(error), f"{command}: {error}"


def _benchmark(command: Command, name: str, arguments: list[str]):
    path = ROOT / f"{name.replace('.', '/')}.py"
    folder = path.with_suffix("")
    files = [path] if path.exists() else sorted(folder.glob("*.py"))
    assert files, f"{command}: no module {name}"
    text = "".join(file.read_text() for file in files)
    for word in arguments:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in text, f"{command}: {name} has no {word}"


def _python(monkeypatch, command: Command, words: tuple[str, ...]):
    assert words[:2] == ("python", "-m"), f"{command}: only modules are run"
    name, arguments = words[2], list(words[3:])
    if name.startswith("sr_jax."):
        _parse(monkeypatch, command, name.removeprefix("sr_jax."), arguments)
    else:
        assert name.startswith("benchmarks."), f"{command}: no command of this project"
        _benchmark(command, name, arguments)


def _launcher(monkeypatch, command: Command, words: list[str]):
    script, arguments = words[0], words[1:]
    assert (ROOT / script).is_file(), f"{command}: there is no {script}"
    if script == "launch/test.sh" and "--help" not in arguments:
        arguments = arguments[:1] if arguments[:1] in (["--parity"], ["--live"]) else []
    asked = [["--help"], *([[arguments[0], "--help"]] if arguments[:1] in (["tpu"], ["gpu"]) else [])]
    text = "".join(_help(script, *options) for options in asked)
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, training = arguments[:cut], arguments[cut + 1 :]
        if training != ["TRAIN_FLAGS"]:
            _parse(monkeypatch, command, "train", training)
    for word in arguments:
        if word.startswith("--"):
            assert re.search(rf"(?<![\w-]){re.escape(word.partition('=')[0])}(?![\w-])", text), f"{command}: no {word}"


@functools.cache
def _help(script: str, *options: str) -> str:
    done = subprocess.run(
        ["bash", str(ROOT / script), *options], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{script} {options}: {done.stderr}"
    return done.stdout


def _pip(command: Command, words: list[str]):
    extras = set(re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE))
    for word in words:
        for extra in re.findall(r"\[(.*)\]", word):
            assert set(extra.split(",")) <= extras, f"{command}: setup.py has the extras {extras}"
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file(), command


def test_there_is_something_to_check():
    assert len(_COMMANDS) > 80
    assert {command.place for command in _COMMANDS} >= {"README.md", "docs/training.md", "configs/stage_two.py"}


@pytest.mark.parametrize("command", _COMMANDS, ids=str)
def test_a_command_is_one_that_this_project_takes(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = command.words
    if words[0] == "python":
        _python(monkeypatch, command, words)
    elif words[0] == "bash":
        _launcher(monkeypatch, command, list(words[1:]))
    elif words[0] == "sbatch":
        script = next(i for i, word in enumerate(words) if word.startswith("launch/"))
        _launcher(monkeypatch, command, [words[script]])
        assert words[script + 1 :] in ((), ("TRAIN_FLAGS",)), f"{command}: nothing checks its flags"
    elif words[0] == "pip":
        _pip(command, list(words))
    else:
        assert words[:2] == ("git", "clone") or words == ("cd", "sr_jax"), f"{command}: nothing checks it"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_blocks_of_python_compile_and_import_what_there_is(page):
    for text in blocks(page, "python"):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_lead_on(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in _anchors(path), f"{page.name} links to {target}: it has {_anchors(path)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_and_keys_that_are_named_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for name in re.findall(r"`((?:sr_jax|tests|benchmarks|launch|configs|docs)/[\w./]+)`", text):
        assert "NAME" in name or (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), f"{page.name}: {name}"


def test_every_config_says_how_it_is_run_and_what_it_costs():
    for path in CONFIGS:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        if "def get_config" in path.read_text():
            for word in ("python -m sr_jax.", "Hardware:", "Time:", "Memory:", "Comes out:"):
                assert word in text, f"{path.name} does not say {word}"


def _messages() -> str:
    """All strings of the package, with … for what is put in; and the launch scripts."""
    found = []
    for path in (ROOT / "sr_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join([*found, *(path.read_text() for path in (ROOT / "launch").glob("*.sh"))])


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code():
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    said = _messages()
    for row in rows:
        for part in row.split("…"):
            assert part.strip() in said, f"no message has {part!r}"


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140
