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

from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

import learned
import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS
from examples.bundle import RECIPES, TINY, Phase, trained
from examples.studies import completed, printed, scores_on
from opt_gym.plugins import unknown

ARCHITECTURE = "general"
DEVELOPMENT = BENCHMARK_SETS[f"{TINY}/development"]
UNTOLD = {"reads_loss": False, "reads_horizon": False}

TRIED: Phase = {
    "tasks": [*BENCHMARK_SETS[f"{TINY}/train"][::3]],
    "hide_loss": 0.3,
    "hide_horizon": 0.5,
    "options": {"bend": "0.05", "last_tenth": "0.2"},
}
"""What the recipe had when these were run, and has no longer: see results/general.md."""

OUTER_STEPS_AN_HOUR = 666

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

    def rows(change: str) -> list[Row]:
        return measure(change, train(out / change, change, budget, seed))

    keys = [(change,) for change in changes]
    print(printed(completed(out / "ablations.csv", Row, keys, rows)))


def train(folder: Path, change: str, budget: float, seed: int) -> Path:
    """The recipe's first phase with one change, for all of the budget; where θ is."""
    phase = merged(merged(RECIPES[ARCHITECTURE].phases[0], TRIED), CHANGES[change])
    phase |= {"outer_steps": round(OUTER_STEPS_AN_HOUR * budget)}
    return trained(folder, ARCHITECTURE, phase, seed, None)


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
        Row(change, told, *scores_on((one, theta), DEVELOPMENT))
        for told, one in manners.items()
    ]


if __name__ == "__main__":
    tyro.cli(main)
