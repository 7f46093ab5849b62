"""The report: optimizers on a suite, beside the archive's: a page, pictures, tables.

    from opt_gym.report import Entrant, RunSettings, Suite, judge, write

Names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opt_gym.report.assembly import Outcome, judge
    from opt_gym.report.entrants import Entrant, from_optax_text, from_python_file
    from opt_gym.report.running import RunSettings
    from opt_gym.report.suites import Suite
    from opt_gym.report.verdict import Judged, judged
    from opt_gym.report.writing import write

_HOME_OF = {
    "Entrant": "entrants",
    "from_optax_text": "entrants",
    "from_python_file": "entrants",
    "Suite": "suites",
    "RunSettings": "running",
    "judge": "assembly",
    "Outcome": "assembly",
    "judged": "verdict",
    "Judged": "verdict",
    "write": "writing",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOME_OF[name]}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
