"""What the numbers of a report mean, as its page says it; docs/judging.md says more."""

from typing import NamedTuple

from opt_gym.judge.comparisons import WORSE
from opt_gym.judge.intervals import FEWEST_SEEDS


class Definition(NamedTuple):
    """A score, what it is, and links to where it is from: (words, address)."""

    name: str
    text: str
    sources: tuple[tuple[str, str], ...] = ()


DEFINITIONS = (
    Definition(
        "Normalized loss",
        "1 at the initial loss, 0 at the lowest that Adam reaches at any of 14 constant rates "
        "(means over seeds), clipped to ±2. Mean over every inner step of a run, and after "
        "the last step.",
        (("Metz 2019, talk at the Institute for Advanced Study", ""),),
    ),
    Definition(
        "Primary score",
        "The paired difference of the mean normalized loss to the one-trial baseline: one "
        "setting for all tasks, chosen on training tasks. Mean and interquartile mean over "
        "tasks.",
    ),
    Definition(
        "Co-primary score",
        "The same of the normalized loss after the last step, beside the best of 14 Adams "
        "with a cosine. All else is secondary.",
    ),
    Definition(
        "Interquartile mean, worst tenth",
        "The mean without the lowest and the highest quarter of tasks, which never stands "
        "alone, and the mean of the tenth of tasks with the highest numbers.",
        (("Agarwal et al. 2021", "https://arxiv.org/abs/2108.13264"),),
    ),
    Definition(
        "These tasks",
        "An interval that says how much depends on initial weights and batches: seeds are "
        "drawn anew within each task, and it is widened by √(k/(k − 1)) for k seeds. None "
        f"below {FEWEST_SEEDS} seeds.",
        (("Agarwal et al. 2021", "https://arxiv.org/abs/2108.13264"),),
    ),
    Definition(
        "Tasks like these",
        "An interval that says how much depends on which tasks were drawn: BCa over one "
        "number a task. The p-value flips the signs of the tasks' differences.",
        (
            (
                "Efron 1987",
                "https://doi.org/10.1080/01621459.1987.10478410",
            ),
        ),
    ),
    Definition(
        "Lost tasks",
        f"Tasks whose mean normalized loss is higher than the one-trial baseline's by more "
        f"than {WORSE:g}.",
    ),
    Definition(
        "Improves",
        "The probability that a run ends lower than one of the best Adam with a cosine, ties "
        "half; mean over tasks.",
        (("Agarwal et al. 2021", "https://arxiv.org/abs/2108.13264"),),
    ),
    Definition(
        "Speed-up",
        "Steps that Adam needs to the entrant's final loss, over the entrant's steps: the "
        "lower envelope of all rates. “>” where Adam's longest run does not get there. A "
        "median and shares, never a mean.",
        (("Metz et al. 2022, VeLO", "https://arxiv.org/abs/2211.09760"),),
    ),
    Definition(
        "Time to target",
        "Steps to the loss that the best of 14 Adams has at the end, over that Adam's own; a "
        "miss is ∞. The area is the mean height of the profile from 1x to 4x.",
        (
            ("Dahl et al. 2023, AlgoPerf", "https://arxiv.org/abs/2306.07179"),
            ("Dolan and Moré 2002", "https://doi.org/10.1007/s101070100263"),
        ),
    ),
    Definition(
        "Diverged",
        "A run with a loss or gradient that was not finite, or with a final normalized loss "
        "above 1.",
    ),
    Definition(
        "† In hindsight",
        "The setting was chosen for each task on the runs that are scored here.",
    ),
)

COVERAGE = (
    ("These tasks, mean", "20 tasks, 5 seeds", "94.5 %"),
    ("These tasks, interquartile mean", "20 tasks, 5 seeds", "95.7 %"),
    ("Tasks like these", "20 tasks", "91.7 %"),
    ("Tasks like these", "40 tasks", "92.7 %"),
)
"""How often a 95 % interval held what is true: tests/judge/test_intervals.py, 1,000 draws."""
