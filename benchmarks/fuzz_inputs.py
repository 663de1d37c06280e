"""Tries bad input of many kinds for minutes: nothing but one clear line may come of it, and nothing wrong be taken.

  python -m benchmarks.fuzz_inputs --minutes 2 [PART ...]

Each part (see tests/fuzz) is tried for that long, its properties one after the other; without parts, all of them are.
What does not hold ends the run with the smallest example that was found, and exit code 1.
"""

import argparse
import json
import time
from pathlib import Path

from tests.fuzz.base import PARTS, properties, try_for

RESULT = Path(__file__).parent / "results" / "fuzz_inputs.json"


def main() -> None:
    """Tries the parts, and writes how many examples held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all when none is given")
    parser.add_argument("--minutes", type=float, default=2.0, help="for each part")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the examples; another one each time")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"no part {part!r}: choose of {', '.join(PARTS)}")
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for part in options.parts or PARTS:
        held = {}
        items = properties(part)
        for item in items:
            held[item.name] = try_for(item, 60 * options.minutes / len(items), options.seed)
            print(f"{part}: {item.name}: held for {held[item.name]} examples", flush=True)
        result[part] = {"minutes": options.minutes, "seed": options.seed, "examples": held}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
