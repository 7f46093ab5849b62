"""Numbers as sentences have them."""

from collections.abc import Sequence

import numpy as np

from opt_gym.judge.intervals import Interval

MINUS = "−"


def plain_number(value: float | None) -> str:
    """Three significant digits; "–" for what is not known."""
    if value is None or np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = float(f"{abs(value):.3g}")
    if size and not 1e-4 <= size < 1e5:
        text = f"{size:.2e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    elif size >= 100:
        text = f"{abs(value):,.0f}"
    else:
        decimals = 0 if size == 0 else int(max(2 - np.floor(np.log10(size)), 0))
        text = f"{size:.{decimals}f}"
    return f"{MINUS}{text}" if value < 0 else text


def signed(value: float | None) -> str:
    """The same with its sign."""
    text = plain_number(value)
    return f"+{text}" if value is not None and value > 0 else text


def interval(given: Interval) -> str:
    """[low, high], nothing where there is none."""
    if not np.isfinite([given.low, given.high]).all():
        return ""
    return f" [{signed(given.low)}, {signed(given.high)}]"


def p_value(value: float) -> str:
    """Of a test: "p = 0.02", or "p < 0.001"."""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def percent(share: float) -> str:
    """Of a share from 0 to 1."""
    return f"{100 * share:.0f} %"


def times(ratio: float) -> str:
    """A factor: "4.4 times"."""
    return f"{plain_number(ratio)} times"


def counted(number: int, what: str) -> str:
    """With an s where there are several."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def duration(seconds: float) -> str:
    """In the unit in which it is short."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
