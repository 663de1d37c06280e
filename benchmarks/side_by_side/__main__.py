r"""Measures sr_jax and PyTorch at the same work, on the accelerator of this machine or on its CPU.

  python -m benchmarks.side_by_side --output benchmarks/results/side_by_side --name gpu
  python -m benchmarks.side_by_side --output benchmarks/results/side_by_side --name cpu --size cpu --parts t5 depth

Weights are random, sizes and types the same on both sides. All contestants of a part stay in memory and take turns run
by run; where two do not fit (training), they take turns process by process, `--turns` times. The first run of a process
is never counted, except where it is what is measured. OUTPUT/NAME/PART.json is written anew after every run of a part,
so that parts can be measured one by one; a contestant that fails leaves its error there, and what is not done within
`--seconds` is left out. The page for readers is made of all these files:

  python -m benchmarks.side_by_side.report

`--prepare` only compiles, for all contestants of all parts at once, into the compilation cache that `--cache` names;
without `--cache`, every call has a new one, so that the first process of a contestant starts cold.
"""

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.settings import AFRESH, APART, PARTS, SIZES, TOGETHER, Settings
from benchmarks.side_by_side.turns import CACHE, Save, Turns
from sr_jax import __version__

# Of the device, which XLA takes at once. Where two work together, each has less than half.
_ALONE, _TOGETHER = "0.96", "0.45"


def main() -> None:
    """Measures part after part."""
    arguments = _arguments()
    deadline = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as fresh:
        cache = arguments.cache or Path(fresh)
        if arguments.prepare:
            parts = {name: _turns(name, arguments, cache, deadline, lambda: None) for name in arguments.parts}
            threads = [threading.Thread(target=turns.prepare) for turns in parts.values()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(json.dumps({name: turns.results for name, turns in parts.items()}), flush=True)
            return
        for name in arguments.parts:
            _measure(name, arguments, cache, deadline)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results of all machines")
    parser.add_argument("--name", required=True, help="of the folder in it for those of this call")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--contestants", nargs="+", help="of those parts; all when not given")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each contestant that are counted")
    parser.add_argument("--turns", type=int, default=2, help="processes of each contestant where two do not fit")
    parser.add_argument("--seconds", type=float, default=36_000.0, help="until it ends, measured or not")
    parser.add_argument("--cache", type=Path, help="folder of compiled programs")
    parser.add_argument("--xla-flags", default="", help="of sr_jax")
    parser.add_argument("--prepare", action="store_true", help="compile, and measure nothing")
    parser.add_argument("--size", choices=SIZES, default="full", help="what the sizes are that are not given below")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), help="see Settings")
    arguments = parser.parse_args()
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    arguments.settings = dataclasses.replace(SIZES[arguments.size], **given)
    return arguments


def _measure(name: str, arguments: argparse.Namespace, cache: Path, deadline: float) -> None:
    """Measures a part, and writes its file whenever something new is known."""
    folder, settings = arguments.output / arguments.name, arguments.settings
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    result: dict[str, Any] = {
        "machine": machine(),
        "settings": dataclasses.asdict(settings) | {"tokens": settings.tokens, "xla_flags": arguments.xla_flags},
        "contestants": {},
    }

    def save() -> None:
        temporary = path.with_suffix(".partial")
        temporary.write_text(json.dumps(result, indent=2) + "\n")
        os.replace(temporary, path)

    turns = _turns(name, arguments, cache, deadline, save)
    result["contestants"] = turns.results
    if time.monotonic() < deadline:
        _take(turns, PARTS[name].turns, arguments)
    save()
    print(f"{path}: {json.dumps(turns.results)}", flush=True)


def _take(turns: Turns, how: str, arguments: argparse.Namespace) -> None:
    ways: dict[str, Callable[[], None]] = {
        TOGETHER: lambda: turns.together(arguments.pairs),
        APART: lambda: turns.apart(-(-arguments.pairs // arguments.turns), arguments.turns),
        AFRESH: lambda: turns.afresh(arguments.pairs, cached="cached"),
    }
    ways[how]()


def _turns(name: str, arguments: argparse.Namespace, cache: Path, deadline: float, save: Save) -> Turns:
    names = tuple(
        contestant
        for contestant in PARTS[name].contestants
        if arguments.contestants is None or contestant in arguments.contestants
    )
    ours = {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": _TOGETHER if PARTS[name].turns == TOGETHER else _ALONE,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {arguments.xla_flags}".strip(),
        CACHE: str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_TRACEBACK_FILTERING": "off",
    }
    if arguments.prepare:
        ours["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    theirs = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TOKENIZERS_PARALLELISM": "false"}
    environments = {contestant: theirs if contestant.startswith("pytorch") else ours for contestant in names}
    settings = json.dumps(dataclasses.asdict(arguments.settings))
    return Turns(name, names, settings, environments=environments, deadline=deadline, save=save)


def machine() -> dict[str, Any]:
    """The host's processor, and the software that measures."""
    models = {
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return {
        "cpu": ", ".join(sorted(models)),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sr_jax": __version__,
    }


if __name__ == "__main__":
    main()
