"""Inner steps a second of every estimator of the ES kind, in turn, against PES.

The benchmark `pes_mlp` says what PES does against a flat program; here each estimator runs the
same unrolls (64 x 20 steps, the MLP of 2019 on a 64-32-10 network), in one process, one outer
step after another, so that a slow moment of the machine meets all. `es` runs whole episodes of
1,000 steps.
"""

import statistics
from typing import Any

from benchmarks import _pes
from benchmarks._outer_steps import stepper

NAMES = ("pes", "es_single", "truncated_es", "es")
ROUNDS = 15


def alone() -> dict[str, Any]:
    """All of them; there is no baseline but PES."""
    return run()


def run() -> dict[str, Any]:
    """Median inner steps a second, and the median ratio to PES in the same round."""
    steppers = {name: stepper(*_pes.trainer(64, 64, name)) for name in NAMES}
    rates: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(ROUNDS):
        for name, step in steppers.items():
            rates[name].append(step().rate)
    result: dict[str, Any] = {}
    for name in NAMES:
        ratios = [a / b for a, b in zip(rates[name], rates["pes"], strict=True)]
        result[name] = statistics.median(rates[name])
        result[f"{name}_of_pes"] = statistics.median(ratios)
    return result
