"""`python -m benchmarks` lists; `python -m benchmarks NAME --json` prints one JSON line."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import opt_gym


def names() -> list[str]:
    """The benchmarks: files of this folder that do not begin with `_`."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def main() -> None:
    """Lists the benchmarks, or runs one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=names())
    parser.add_argument(
        "--json", action="store_true", help="one JSON line, nothing else"
    )
    parser.add_argument(
        "--alone", action="store_true", help="only ours, in this process, no baseline"
    )
    arguments = parser.parse_args()
    if arguments.name is None:
        for name in names():
            module = importlib.import_module(f"benchmarks.{name}")
            print(f"{name:16s} {(module.__doc__ or '').splitlines()[0]}")
        return
    opt_gym.use_all_cores()
    module = importlib.import_module(f"benchmarks.{arguments.name}")
    result = module.alone() if arguments.alone else module.run()
    result = {"benchmark": arguments.name, **result}
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(
            f"{key:32s} {value:,.4g}"
            if isinstance(value, float)
            else f"{key:32s} {value}"
        )


if __name__ == "__main__":
    sys.exit(main())
