"""What holds for the package as a whole: which way it imports, and who knows the name of a backbone."""

import ast
import re
from pathlib import Path

from importlinter.cli import lint_imports

_ROOT = Path(__file__).parents[1]
_PACKAGE = _ROOT / "sr_jax"
# Where CogVideoX may be named: its own folder. (The configs, which are of released models, are no part of this.)
_OWN = _PACKAGE / "backbones" / "cogvideox"


def test_imports_go_one_way(monkeypatch, tmp_path):
    monkeypatch.chdir(_ROOT)
    monkeypatch.syspath_prepend(str(_ROOT))
    assert lint_imports(cache_dir=str(tmp_path)) == 0


def _docstrings(tree: ast.Module) -> set[ast.AST]:
    """Strings that stand alone: docstrings of modules, classes, functions and names."""
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _named(path: Path) -> list[str]:
    """Identifiers, imports and strings of a file that name CogVideoX; docstrings and comments may."""
    tree = ast.parse(path.read_text())
    passed_over, found = _docstrings(tree), []
    for node in ast.walk(tree):
        words = [value for value in vars(node).values() if isinstance(value, str)]
        if isinstance(node, ast.Constant) and (node in passed_over or not isinstance(node.value, str)):
            continue
        found += [f"{path.relative_to(_ROOT)}: {word[:60]}" for word in words if re.search("cogvideo", word, re.I)]
    return found


def test_only_its_own_folder_knows_cogvideox():
    files = [path for path in _PACKAGE.rglob("*.py") if not path.is_relative_to(_OWN)]
    assert len(files) > 100
    assert [word for path in files for word in _named(path)] == []
