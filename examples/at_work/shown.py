"""What every example compares, and what it does with its contest."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from learned.contest import LEARNED, Usual, with_usual
from learned.how_they_fared import Contest
from opt_gym.runtime.files import write_atomically, write_table

RATES = (3e-4, 1e-3, 3e-3)
WEIGHT_DECAY = 0.01
OPTIMIZERS = with_usual(
    {LEARNED: LEARNED}, (Usual(rate, weight_decay=WEIGHT_DECAY) for rate in RATES)
)


class Row(NamedTuple):
    """One optimizer; losses are of each run."""

    optimizer: str
    seconds_per_step: str
    final_losses: str
    valid_losses: str
    num_steps: int


def show(out: Path, contest: Contest) -> Contest:
    """Prints the table; writes it, the picture, and a line an optimizer, in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    text = contest.table()
    write_atomically(out / "table.txt", (text + "\n").encode())
    contest.plot(out / "losses.png")
    rows = [
        Row(
            entry.name,
            f"{entry.seconds_per_step:.4g}",
            _listed(entry.final_losses),
            _listed(entry.valid_losses),
            contest.num_steps,
        )
        for entry in contest.entries
    ]
    write_table(out / "runs.csv", Row._fields, rows)
    print(text)
    return contest


def _listed(losses: Any) -> str:
    return json.dumps([float(f"{loss:.4g}") for loss in losses])
