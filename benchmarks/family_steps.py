"""Training steps of every family's seed-0 task, against the same task in plain JAX by hand.

Two unrolls, one per device, as our programs run; SGD inside a scan. The loop by hand is the
same loop and runs the same way, so that a ratio is of the task's code. The convolutional
families run besides as a jitted step in a Python loop, on one device with XLA's threads.
"""

from typing import Any

from benchmarks import _families

ROUNDS, NUM_UNROLLS = 5, 2

STEPS = {
    "mlp": (1000, 1000),
    "mlp_ae": (1000, 1000),
    "mlp_vae": (300, 300),
    "conv_fc": (20, 2),
    "conv_pooling": (60, 4),
    "nvp": (40, 40),
    "maf": (40, 40),
    "char_rnn_language_model": (20, 20),
    "word_rnn_language_model": (2, 2),
    "rnn_text_classification": (200, 200),
    "quadratic": (5000, 5000),
    "losg_tasks": (10000, 10000),
}
"""Steps of ours and of the loop by hand: a fraction of a second each."""

STEPPED = ("conv_fc", "conv_pooling")
NUM_STEPPED = 30


def alone() -> dict[str, Any]:
    """Steps per second of ours, by family."""
    rates = {}
    for family, (steps, _) in STEPS.items():
        case = _families.seed_0(family)
        rate = _families.scanned(case, case.ours, steps, NUM_UNROLLS)
        rates[family] = max(rate() for _ in range(ROUNDS))
    return _families.rounded(rates)


def run() -> dict[str, Any]:
    """By family: rates, their ratio, and how far loss and gradients differ.

    Raises:
        RuntimeError: the two differ by more than 1e-4 somewhere.
    """
    return {family: _families.rounded(compare(family)) for family in STEPS}


def compare(family: str) -> dict[str, float]:
    """One row of the table; rates are training steps per second of the whole machine."""
    case = _families.seed_0(family)
    difference = _families.check_alike(case)
    ours, plain = STEPS[family]
    rates = {
        "ours": _families.scanned(case, case.ours, ours, NUM_UNROLLS),
        "plain": _families.scanned(case, case.plain, plain, NUM_UNROLLS),
    }
    if family in STEPPED:
        rates["ours_stepped"] = _families.stepped(case, case.ours, NUM_STEPPED)
        rates["plain_stepped"] = _families.stepped(case, case.plain, NUM_STEPPED)
    found = _families.best_in_turns(rates, ROUNDS)
    found["ratio"] = found["ours"] / found["plain"]
    if family in STEPPED:
        better = max(found["ours"], found["ours_stepped"])
        found["ratio_stepped"] = better / found["plain_stepped"]
    return {**found, "difference": difference}
