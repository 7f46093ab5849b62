"""Seconds from a family's seed-0 name to its compiled training step, cold and cached.

One process a family and run, one after another. The first has an empty cache folder, the
second what the first left there. Imports and loading data are counted apart.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _families, _fresh


def alone() -> dict[str, Any]:
    """Both runs; there is no baseline."""
    return run()


def run() -> dict[str, Any]:
    """By family: cold and cached seconds, in parts, and the worst of both."""
    rows = {family: measure(family) for family in _families.PLAIN}
    worst = {
        f"worst_{kind}": max(row[kind] for row in rows.values())
        for kind in ("cold", "cached")
    }
    return {**{name: _families.rounded(row) for name, row in rows.items()}, **worst}


def measure(family: str) -> dict[str, float]:
    """One row: `cold` and `cached` are build and compile together.

    Beside them the data's loading, the imports of a second process, and its whole life.
    """
    name = f"{family}_family_seed0"
    with tempfile.TemporaryDirectory() as folder:
        cold, cached = (
            _fresh.in_a_process("compile", name, Path(folder)) for _ in range(2)
        )
    return {
        "cold": cold["build"] + cold["compile"],
        "cached": cached["build"] + cached["compile"],
        "cold_data": cold["data"],
        "cached_data": cached["data"],
        "imports": cached["start"] + cached["imports"],
        "cached_process": cached["process"],
    }
