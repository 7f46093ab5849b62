"""What each part of the optimizer `general`, and of the recipe that trains it, is worth.

    python -m examples.ablations
    python -m examples.ablations as_it_is rates_stand_still --budget 0.2

Every row is the first phase of `examples/bundle.py general` as it was before these rows were
known (`TRIED`), with one thing changed, outer-trained for the same number of outer steps from
the same seed, and measured on tiny twins that no training list has: once with loss and horizon
told ("told"), once with neither, as a bare `step()` has it ("untold"). A folder a row in
`runs/ablations` holds `run.json`, `log.csv` and θ; `ablations.csv` holds what is measured. A
row that is there is not run again.
"""

import csv
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

import learned
import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS
from examples.bundle import RECIPES, TINY, Phase, train_phase
from opt_gym.evaluation.comparison import Summary, compare
from opt_gym.plugins import unknown
from opt_gym.runtime.files import cache_folder

ARCHITECTURE = "general"
HORIZON = 1000
NUM_SEEDS = 2
DEVELOPMENT = BENCHMARK_SETS[f"{TINY}/development"]
UNTOLD = {"reads_loss": False, "reads_horizon": False}

TRIED: Phase = {
    "hide_loss": 0.3,
    "hide_horizon": 0.5,
    "options": {"bend": "0.05", "last_tenth": "0.2"},
}
"""What the recipe had when these were run, and has no longer: see results/general.md."""

CHANGES: dict[str, Phase] = {
    "as_it_is": {},
    "rates_stand_still": {"architecture_options": {"searching": "false"}},
    "only_adams_direction": {"architecture_options": {"num_directions": "1"}},
    "eight_hidden": {"architecture_options": {"hidden": "8"}},
    "plain_mean": {"options": {"bend": "0", "last_tenth": "0"}},
    "not_balanced": {"options": {"balanced": "false"}},
    "always_told": {"hide_loss": 0.0, "hide_horizon": 0.0},
    "8_tasks_4_pairs": {"tasks_per_step": 8, "options": {"num_pairs": "4"}},
    "other_scales": {"reparameterise": ["none", "global"], "tasks_per_step": 32},
    "half_rate": {"learning_rate": 2e-3},
    "loss_hidden_in_half": {"hide_loss": 0.5},
    "never_told": {
        "hide_loss": 0.0,
        "hide_horizon": 0.0,
        "architecture_options": {"reads_loss": "false", "reads_horizon": "false"},
    },
}
"""By name: keywords of `opt-gym train`; dicts are merged with the recipe's."""


class Row(NamedTuple):
    """What is measured of one θ; losses are normalized, lower is better."""

    change: str
    told: str
    mean: float
    iqm: float
    final: float
    diverged: int
    runs: int


def main(
    changes: Annotated[list[str], tyro.conf.Positional] = [*CHANGES],  # noqa: B006
    out: Path = Path("runs/ablations"),
    budget: float = 0.5,
    seed: int = 0,
) -> None:
    """Trains and measures.

    Args:
        changes: which rows.
        out: folder; a training that was cut off there goes on from its checkpoint.
        budget: core-hours of each.
        seed: of every outer-training.
    """
    for change in changes:
        if change not in CHANGES:
            raise SystemExit(unknown("change", change, list(CHANGES)))
    opt_gym.use_all_cores()
    table = out / "ablations.csv"
    for change in changes:
        rows = read(table)
        if not any(row.change == change for row in rows):
            rows += measure(change, train(out / change, change, budget, seed))
            write(table, rows)
    print(table.read_text())


def train(folder: Path, change: str, budget: float, seed: int) -> Path:
    """The recipe's first phase with one change, for all of the budget; where θ is."""
    phases = RECIPES[ARCHITECTURE].shortened(budget).phases
    outer_steps = sum(phase["outer_steps"] for phase in phases)
    tried = merged(merged(phases[0], TRIED), CHANGES[change])
    phase = tried | {"outer_steps": outer_steps}
    return train_phase(folder, ARCHITECTURE, phase, seed, None)


def merged(phase: Phase, change: Phase) -> Phase:
    """The phase with a change."""
    return phase | {
        key: phase.get(key, {}) | value if isinstance(value, dict) else value
        for key, value in change.items()
    }


def measure(change: str, path: Path) -> list[Row]:
    """θ on the development list, told and untold."""
    optimizer, theta = learned.load(path)
    untold = learned.make(ARCHITECTURE, **{**optimizer.config, **UNTOLD})
    manners = {"told": optimizer, "untold": untold}
    return [
        row_of(change, told, summary_of(one, theta)) for told, one in manners.items()
    ]


def summary_of(optimizer: Any, theta: Any) -> Summary:
    """On the development list."""
    runs = opt_gym.evaluate(
        optimizer,
        DEVELOPMENT,
        theta,
        horizon=HORIZON,
        num_seeds=NUM_SEEDS,
        data="embedded",
        cache=cache_folder() / "evaluations",
        timed=False,
    )
    return compare(runs)[0]


def row_of(change: str, told: str, s: Summary) -> Row:
    """A row of the table."""
    return Row(
        change,
        told,
        mean=round(s.mean_cost.value, 4),
        iqm=round(s.iqm_cost.value, 4),
        final=round(s.final_cost, 4),
        diverged=s.num_diverged,
        runs=s.num_runs,
    )


def read(table: Path) -> list[Row]:
    """The rows that are there."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return [Row(**row) for row in csv.DictReader(file)]  # type: ignore[arg-type]


def write(table: Path, rows: list[Row]) -> None:
    """All rows."""
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([Row._fields, *rows])


if __name__ == "__main__":
    tyro.cli(main)
