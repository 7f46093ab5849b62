"""What every example does with its contest."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optax

from learned.contest import LEARNED, Usual
from learned.how_they_fared import Contest
from opt_gym.runtime.files import write_atomically

RATES = (3e-4, 1e-3, 3e-3)
WEIGHT_DECAY = 0.01
TORCH_OPTIMIZERS: dict[str, Any] = {LEARNED: LEARNED} | {
    usual.name: usual for usual in map(Usual, RATES)
}
"""In torch AdamW decays weights by .01 where nobody says otherwise."""


def _adamw(rate: float) -> Callable[[int], optax.GradientTransformation]:
    def make(num_steps: int) -> optax.GradientTransformation:
        falling = optax.cosine_decay_schedule(rate, num_steps)
        return optax.adamw(falling, weight_decay=WEIGHT_DECAY)

    return make


OPTAX_OPTIMIZERS: dict[str, Any] = {LEARNED: LEARNED} | {
    Usual(rate).name: _adamw(rate) for rate in RATES
}


def show(out: Path, contest: Contest) -> Contest:
    """Prints the table; writes it, the picture, and a line an optimizer, in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    text = contest.table()
    write_atomically(out / "table.txt", (text + "\n").encode())
    contest.plot(out / "losses.png")
    with (out / "runs.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(
            [
                "optimizer",
                "seconds_per_step",
                "final_losses",
                "valid_losses",
                "num_steps",
            ]
        )
        for entry in contest.entries:
            of_seeds = (entry.final_losses, entry.valid_losses)
            lines.writerow(
                [
                    entry.name,
                    f"{entry.seconds_per_step:.4g}",
                    *(json.dumps([float(f"{x:.4g}") for x in one]) for one in of_seeds),
                    contest.num_steps,
                ]
            )
    print(text)
    return contest
