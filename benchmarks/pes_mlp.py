"""PES with everything on a 64-32-10 MLP, 64 unrolls x 20 steps, against a flat prototype.

`--scale 256 1024 4096` takes that many unrolls instead, ours alone: the way to see what an
accelerator makes of them, where all of them are one `vmap`.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks import _pes
from benchmarks._scales import number_of

PIXELS, UNROLLS = 64, 64


def alone(scale: Sequence[str] = ()) -> dict[str, Any]:
    """Ours, in this process."""
    if scale:
        return {
            f"inner_steps_per_s at {size} unrolls": _pes.steps_per_second(
                PIXELS, number_of(size)
            )
            for size in scale
        }
    return {"inner_steps_per_s": _pes.steps_per_second(PIXELS, UNROLLS)}


def run(scale: Sequence[str] = ()) -> dict[str, Any]:
    """Ours and the prototype in turn, each in a process of its own."""
    return alone(scale) if scale else _pes.compare(PIXELS, UNROLLS)
