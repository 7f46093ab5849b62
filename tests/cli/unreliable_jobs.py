"""Jobs for worker processes; alone, so that a worker has little to import."""

import os
import time


def act(job, report):
    """What a job does here: it waits, dies, fails or answers with its core."""
    report(f"began {job}")
    if job == "die":
        os._exit(3)
    if job == "wait":
        time.sleep(60)
    if job == "fail":
        raise KeyError("no such thing")
    return sorted(os.sched_getaffinity(0))


def double_or_fail(job, report):
    if isinstance(job, str):
        raise ValueError(f"{job!r} is no number")
    return 2 * job
