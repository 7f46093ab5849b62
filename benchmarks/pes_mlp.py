"""PES with everything on a 64-32-10 MLP, 64 unrolls x 20 steps, against a flat prototype."""

from typing import Any

from benchmarks import _pes

PIXELS, UNROLLS = 64, 64


def alone() -> dict[str, Any]:
    """Ours, in this process."""
    return {"inner_steps_per_s": _pes.steps_per_second(PIXELS, UNROLLS)}


def run() -> dict[str, Any]:
    """Ours and the prototype in turn, each in a process of its own."""
    return _pes.compare(PIXELS, UNROLLS)
