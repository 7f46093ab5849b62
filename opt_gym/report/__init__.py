"""The report: optimizers on a suite, beside the archive's: a page, pictures, tables.

    from opt_gym.report import Entrant, RunSettings, Suite, judge, write

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from opt_gym.lazy_names import lazy_names as _lazy_names

if TYPE_CHECKING:
    from opt_gym.report.assembly import Outcome, judge
    from opt_gym.report.entrants import Entrant, from_optax_text, from_python_file
    from opt_gym.report.running import RunSettings
    from opt_gym.report.suites import Suite
    from opt_gym.report.verdict import Judged, judged
    from opt_gym.report.writing import write

__all__ = [  # noqa: RUF022 — in the order they are used
    "Entrant",
    "from_optax_text",
    "from_python_file",
    "Suite",
    "RunSettings",
    "judge",
    "Outcome",
    "judged",
    "Judged",
    "write",
]


__getattr__, __dir__ = _lazy_names(
    globals(),
    {
        "assembly": ("Outcome", "judge"),
        "entrants": ("Entrant", "from_optax_text", "from_python_file"),
        "running": ("RunSettings",),
        "suites": ("Suite",),
        "verdict": ("Judged", "judged"),
        "writing": ("write",),
    },
)
