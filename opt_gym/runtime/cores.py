"""Which cores this process may use."""

import os


def usable_cores() -> list[int]:
    """Their numbers; all of the machine's where the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
