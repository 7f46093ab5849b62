"""One benchmark on the packages of two checkouts, in turn: what a change did to a figure.

Both are measured by this checkout's benchmark files, in a fresh process each time; who goes
first alternates, so that a slow moment of the machine meets both.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "envs_registry", "learned", "opt_gym")


class Spread(NamedTuple):
    """The median of the rounds, and the least and the greatest."""

    median: float
    least: float
    greatest: float


class Figure(NamedTuple):
    """A figure on both checkouts; ratio is here over there, round by round."""

    here: Spread
    there: Spread
    ratio: Spread


def compare(name: str, there: Path, rounds: int, options: Sequence[str]) -> Any:
    """By figure: `Figure` as plain JSON.

    Args:
        name: of the benchmark.
        there: the root of the other checkout; nothing is written into it.
        rounds: how often each is run.
        options: for `python -m benchmarks NAME`.

    Raises:
        ValueError: no round, or a folder that is no checkout.
        RuntimeError: a run failed; with what it said.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be >= 1, got {rounds}")
    trees = {"here": HERE, "there": there.resolve()}
    figures: dict[str, list[dict[str, float]]] = {"here": [], "there": []}
    with tempfile.TemporaryDirectory() as folder:
        # A copy: Python finds first what lies beside the program, here nothing else.
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / "benchmarks", Path(folder, "benchmarks"), ignore=ignored)
        for tree in trees.values():
            check_tree(tree, Path(folder))
        for number in range(rounds):
            for side in list(trees)[:: -1 if number % 2 else 1]:
                arguments = ("-m", "benchmarks", name, "--json", *options)
                printed = run(arguments, trees[side], Path(folder))
                result = json.loads(printed.splitlines()[-1])
                figures[side].append(dict(numbers(result)))
    rows = summary(figures["here"], figures["there"])
    as_json = {
        key: {field: spread._asdict() for field, spread in row._asdict().items()}
        for key, row in rows.items()
    }
    return {"against": str(there), "rounds": rounds, "figures": as_json}


def check_tree(tree: Path, folder: Path) -> None:
    """Raises ValueError unless our packages come from this tree."""
    names = ", ".join(PACKAGES)
    program = f"import {names}; print(*(p.__file__ for p in ({names})), sep='\\n')"
    missing = [name for name in PACKAGES if not (tree / name).is_dir()]
    if missing:
        raise ValueError(f"{tree} is no checkout of ours: it lacks {missing}")
    for file in run(("-c", program), tree, folder).splitlines():
        if not Path(file).is_relative_to(tree):
            raise ValueError(f"{file} was imported, not that of {tree}")


def run(arguments: Sequence[str], tree: Path, folder: Path) -> str:
    """What a Python process prints that imports a tree's packages.

    Raises:
        RuntimeError: it failed.
    """
    prototype = HERE.parent / "shared" / "bench" / "pes_prototype.py"
    environment = {
        "OPT_GYM_PES_PROTOTYPE": str(prototype),
        **os.environ,
        "PYTHONPATH": str(tree),
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{[*arguments]} in {tree} failed: {done.stderr[-2000:]}")
    return done.stdout


def numbers(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of all that a benchmark printed, nested ones as `row.column`."""
    for key, value in result.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, float):  # whole numbers are settings
            yield f"{prefix}{key}", value


def summary(
    here: Sequence[Mapping[str, float]], there: Sequence[Mapping[str, float]]
) -> dict[str, Figure]:
    """By figure that both have in every round, `Figure`."""
    common = [key for key in here[0] if all(key in row for row in (*here, *there))]
    rows = {}
    for key in common:
        ours, theirs = [row[key] for row in here], [row[key] for row in there]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b]
        rows[key] = Figure(*map(_spread, (ours, theirs, ratios or [float("nan")])))
    return rows


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def table(result: Mapping[str, Any]) -> str:
    """A line a figure: medians with least and greatest, here, there and their ratio."""
    lines = [f"{'':40s} {'here':>34s} {'there':>34s} {'ratio':>28s}"]
    for key, row in result["figures"].items():
        cells = [
            f"{x['median']:,.4g} [{x['least']:,.4g}, {x['greatest']:,.4g}]"
            for x in row.values()
        ]
        lines.append(f"{key:40s} {cells[0]:>34s} {cells[1]:>34s} {cells[2]:>28s}")
    return "\n".join(lines)
