"""`python -m benchmarks` lists; `python -m benchmarks NAME --json` prints one JSON line.

`python -m benchmarks NAME --against CHECKOUT` runs it in turn on the packages of this
checkout and of another one, and prints medians and ratios of all figures.
"""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import opt_gym
from benchmarks import _two_trees


def names() -> list[str]:
    """The benchmarks: files of this folder that do not begin with `_`."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=names())
    parser.add_argument(
        "--json", action="store_true", help="one JSON line, nothing else"
    )
    parser.add_argument(
        "--alone", action="store_true", help="only ours, in this process, no baseline"
    )
    parser.add_argument(
        "--only", help="of the benchmark's rows those whose name contains this"
    )
    parser.add_argument(
        "--scale", nargs="+", help="instead of the usual size these: 10M 100M, or 4096"
    )
    parser.add_argument(
        "--against", type=Path, help="another checkout, measured in turn with this one"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="of --against: runs of each (default 5)"
    )
    return parser.parse_args()


def main() -> None:
    """Lists the benchmarks, or runs one."""
    arguments = parsed()
    if arguments.name is None:
        for name in names():
            module = importlib.import_module(f"benchmarks.{name}")
            print(f"{name:16s} {(module.__doc__ or '').splitlines()[0]}")
        return
    result = _against(arguments) if arguments.against else _run(arguments)
    result = {"benchmark": arguments.name, **result}
    if arguments.json:
        print(json.dumps(result))
        return
    if arguments.against:
        print(_two_trees.table(result))
        return
    for key, value in result.items():
        print(
            f"{key:32s} {value:,.4g}"
            if isinstance(value, float)
            else f"{key:32s} {value}"
        )


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    opt_gym.use_all_cores()
    module = importlib.import_module(f"benchmarks.{arguments.name}")
    measure = module.alone if arguments.alone else module.run
    asked = {key: getattr(arguments, key) for key in ("only", "scale")}
    asked = {key: value for key, value in asked.items() if value is not None}
    for key in asked:
        if key not in inspect.signature(measure).parameters:
            raise SystemExit(f"{arguments.name} has no --{key}")
    return measure(**asked)


def _against(arguments: argparse.Namespace) -> dict[str, Any]:
    options = ["--alone"] if arguments.alone else []
    options += [] if arguments.only is None else ["--only", arguments.only]
    options += [] if arguments.scale is None else ["--scale", *arguments.scale]
    return _two_trees.compare(
        arguments.name, arguments.against, arguments.rounds, options
    )


if __name__ == "__main__":
    sys.exit(main())
