"""How good is an optimizer: runs, baselines, comparisons, tables and pictures.

    from opt_gym.evaluation import EvaluationSettings, compare, evaluate

Names are imported when they are first used; the files here import one another by their own
names.
"""

from typing import TYPE_CHECKING

from opt_gym.lazy_names import lazy_names as _lazy_names

if TYPE_CHECKING:
    from opt_gym.evaluation.baselines import (
        GLOBAL_ADAM,
        PER_TASK_ADAM,
        SPACES,
        Baseline,
        evaluate_baselines,
        parse_baseline,
    )
    from opt_gym.evaluation.comparison import (
        Interval,
        Summary,
        compare,
        format_summaries,
        format_tasks,
    )
    from opt_gym.evaluation.curves import write_csv
    from opt_gym.evaluation.evaluations import evaluate, evaluator, name_tasks
    from opt_gym.evaluation.measure_normalizers import Measurement, measure
    from opt_gym.evaluation.plots import plot_comparison
    from opt_gym.evaluation.runs import EvaluationSettings, Runs
    from opt_gym.evaluation.search_spaces import SearchSpace, log_uniform_box

__all__ = [  # noqa: RUF022 — in the order they are used
    "evaluate",
    "evaluator",
    "name_tasks",
    "EvaluationSettings",
    "Runs",
    "Baseline",
    "GLOBAL_ADAM",
    "PER_TASK_ADAM",
    "SPACES",
    "SearchSpace",
    "log_uniform_box",
    "parse_baseline",
    "evaluate_baselines",
    "compare",
    "Summary",
    "Interval",
    "format_summaries",
    "format_tasks",
    "write_csv",
    "plot_comparison",
    "measure",
    "Measurement",
]


__getattr__, __dir__ = _lazy_names(
    globals(),
    {
        "baselines": (
            "GLOBAL_ADAM",
            "PER_TASK_ADAM",
            "SPACES",
            "Baseline",
            "evaluate_baselines",
            "parse_baseline",
        ),
        "comparison": (
            "Interval",
            "Summary",
            "compare",
            "format_summaries",
            "format_tasks",
        ),
        "curves": ("write_csv",),
        "evaluations": ("evaluate", "evaluator", "name_tasks"),
        "measure_normalizers": ("Measurement", "measure"),
        "plots": ("plot_comparison",),
        "runs": ("EvaluationSettings", "Runs"),
        "search_spaces": ("SearchSpace", "log_uniform_box"),
    },
)
