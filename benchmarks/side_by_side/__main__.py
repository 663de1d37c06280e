r"""Measures sr_jax and PyTorch at the same work, on the accelerator of this machine or on its CPU.

  python -m benchmarks.side_by_side --output benchmarks/results/side_by_side --name cpu --layers 2 --frames 9 \
      --height 96 --width 160 --dtype float32 --text-layers 2 --depth-frames 4 --depth-input 140

Weights are random, sizes and types the same on both sides. All contestants of a part stay in memory and take turns run
by run; where two do not fit (training), they take turns process by process, `--turns` times. The first run of a process
is never counted. OUTPUT/NAME.json is written anew after every run; a contestant that fails leaves its error there, and
what is not done within `--seconds` is left out. The table for readers is made of all these files:

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
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.settings import PARTS, Settings
from benchmarks.side_by_side.turns import Turns

# Of the device, which XLA takes at once. Where two work together, each has less than half.
_ALONE, _TOGETHER = "0.96", "0.45"


def main() -> None:
    """Measures part after part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--name", required=True, help="of the file in it")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--contestants", nargs="+", help="of those parts; all when not given")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each contestant that are counted")
    parser.add_argument("--turns", type=int, default=2, help="processes of each contestant where two do not fit")
    parser.add_argument("--seconds", type=float, default=36_000.0, help="until it ends, measured or not")
    parser.add_argument("--cache", type=Path, help="folder of compiled programs")
    parser.add_argument("--xla-flags", default="", help="of sr_jax")
    parser.add_argument("--prepare", action="store_true", help="compile, and measure nothing")
    for field in dataclasses.fields(Settings):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default, help="see Settings"
        )
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    settings = Settings(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Settings)})
    path = arguments.output / f"{arguments.name}.json"
    result = {
        "machine": machine(),
        "settings": dataclasses.asdict(settings) | {"tokens": settings.tokens, "xla_flags": arguments.xla_flags},
        "parts": {},
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()

    def save() -> None:
        if arguments.prepare:
            return
        with lock:
            temporary = path.with_suffix(".partial")
            temporary.write_text(json.dumps(result, indent=2) + "\n")
            os.replace(temporary, path)

    with tempfile.TemporaryDirectory() as fresh:
        cache = arguments.cache or Path(fresh)
        parts = {name: _turns(name, arguments, settings, cache, deadline, save) for name in arguments.parts}
        if arguments.prepare:
            threads = [threading.Thread(target=turns.prepare) for turns in parts.values()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(json.dumps({name: turns.results for name, turns in parts.items()}), flush=True)
            return
        for name, turns in parts.items():
            result["parts"][name] = turns.results
            if time.monotonic() < deadline:
                _measure(name, turns, arguments)
            save()
            print(f"{path.stem}, {name}: {json.dumps(turns.results)}", flush=True)


def _turns(
    name: str, arguments: argparse.Namespace, settings: Settings, cache: Path, deadline: float, save: Any
) -> Turns:
    names = tuple(
        contestant
        for contestant in PARTS[name].contestants
        if arguments.contestants is None or contestant in arguments.contestants
    )
    ours = {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": _TOGETHER if PARTS[name].together else _ALONE,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {arguments.xla_flags}".strip(),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_TRACEBACK_FILTERING": "off",
    }
    if arguments.prepare:
        ours["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    theirs = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TOKENIZERS_PARALLELISM": "false"}
    environments = {contestant: theirs if contestant.startswith("pytorch") else ours for contestant in names}
    return Turns(
        name, names, json.dumps(dataclasses.asdict(settings)), environments=environments, deadline=deadline, save=save
    )


def _measure(name: str, turns: Turns, arguments: argparse.Namespace) -> None:
    if PARTS[name].together:
        turns.together(arguments.pairs)
    else:
        turns.apart(-(-arguments.pairs // arguments.turns), arguments.turns)


def machine() -> dict[str, Any]:
    """The host's processor."""
    models = {
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return {"cpu": ", ".join(sorted(models)), "cores": os.cpu_count(), "python": platform.python_version()}


if __name__ == "__main__":
    main()
