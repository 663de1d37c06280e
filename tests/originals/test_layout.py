import ast
from collections.abc import Iterator
from pathlib import Path

from tests.originals.recording import MAX_BYTES, RECORDS

ORIGINALS = Path(__file__).parent
TESTS = ORIGINALS.parent
MAX_TOTAL_BYTES = 5_000_000
# What is, or imports, PyTorch. The tokenizers of transformers do without it, so that package is not among them.
NEED_TORCH = ("torch", "diffusers", "peft", "accelerate", "safetensors.torch", "torchmetrics")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names of what is imported; `from a import b` gives `a.b`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """A module's nodes, but for what is inside functions."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from run_at_import(child)


def is_part_of(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def everyday_files() -> list[Path]:
    files = [path for path in TESTS.rglob("*.py") if not path.is_relative_to(ORIGINALS)]
    assert len(files) > 100
    return [*files, *ORIGINALS.glob("test_*.py"), ORIGINALS / "recording.py"]


def test_records_are_small():
    sizes = {path.name: path.stat().st_size for path in RECORDS.glob("*.npz")}
    assert max(sizes.values()) <= MAX_BYTES
    assert sum(sizes.values()) <= MAX_TOTAL_BYTES


def test_every_record_is_of_a_function_that_is_there():
    for path in RECORDS.iterdir():
        module, function, ending = path.name.split(".")
        names = {node.name for node in parsed(ORIGINALS / f"{module}.py").body if isinstance(node, ast.FunctionDef)}
        assert function in names and ending == "npz", path.name


def test_no_everyday_module_imports_pytorch():
    found = {
        path.relative_to(TESTS).as_posix(): names
        for path in everyday_files()
        if (names := [name for name in imported(run_at_import(parsed(path))) if is_part_of(name, NEED_TORCH)])
    }
    assert not found


def test_originals_are_called_through_the_fixture_alone():
    allowed = ("tests.originals.recording",)
    for path in everyday_files():
        for name in imported(ast.walk(parsed(path))):
            assert not is_part_of(name, ("tests.originals",)) or is_part_of(name, allowed), (path.name, name)


def test_imports_are_found_where_they_run():
    source = """
import torch.nn
from diffusers import a, b
try:
    import peft
except ImportError:
    pass
class A:
    from safetensors.torch import c
    def method(self):
        import torch
def function():
    import torch
import torchless
from safetensors import d
"""
    names = list(imported(run_at_import(ast.parse(source))))
    assert [name for name in names if is_part_of(name, NEED_TORCH)] == [
        *("torch.nn", "diffusers.a", "diffusers.b", "peft", "safetensors.torch.c")
    ]
    assert names[-2:] == ["torchless", "safetensors.d"]
