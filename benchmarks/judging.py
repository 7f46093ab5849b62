"""Seconds of `opt-gym report` for one entrant of `nominal`'s size: cold, then warm."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENTRANT = "nominal"
"""The architecture: as large as the bundled θ of medium size, and no θ has a look."""

ROWS = {
    "small": ("small", "5"),
    "forty": ("taskset-small-v1", "1"),
}
"""By name: suite and seeds."""

COMMAND = "import sys; from opt_gym.cli import main; sys.exit(main(sys.argv[1:]))"


def alone(only: str = "") -> dict[str, float]:
    """There is no baseline."""
    return run(only)


def run(only: str = "") -> dict[str, float]:
    """Seconds of the whole command, with nothing compiled before, and with all of it.

    Args:
        only: of the rows those whose name contains this.
    """
    found = {}
    for name, (suite, seeds) in ROWS.items():
        if only in name:
            with tempfile.TemporaryDirectory() as folder:
                for kind in ("cold", "warm"):
                    found[f"{name}_{kind}"] = seconds(suite, seeds, Path(folder))
    return found


def seconds(suite: str, seeds: str, folder: Path) -> float:
    """Of one report; programs are kept in the folder, runs are not.

    Raises:
        RuntimeError: the command failed; with what it said.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["OPT_GYM_CACHE"] = str(folder / "cache")
    words = ["report", ENTRANT, "--suite", suite, "--num-seeds", seeds, "--no-cache"]
    words += ["--data", "embedded", "--out", str(folder / "report")]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"report of {suite} failed: {done.stderr[-2000:]}")
    return time.monotonic() - began
