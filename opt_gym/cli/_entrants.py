"""What a user may write for an optimizer: a θ file, a name, optax's, a Python file."""

from functools import partial
from pathlib import Path
from typing import Any

from opt_gym.report.entrants import (
    OPTAX,
    Entrant,
    from_optax_text,
    from_python_file,
)


def entrant(text: str) -> Entrant:
    """The entrant that a word of the command line stands for.

    Raises:
        ValueError: nothing of the kind, or a file that is damaged.
    """
    import learned
    from learned.theta_file import bundled_names
    from opt_gym.plugins import unknown

    path = Path(text)
    if text.startswith(OPTAX):
        return from_optax_text(text)
    if path.suffix == ".py":
        if not path.exists():
            raise ValueError(f"there is no file {text}")
        return from_python_file(path)
    if path.exists() or text in bundled_names():
        return _of_theta(text)
    if text in learned.names():
        about = "an architecture with its initial θ"
        return Entrant(text, partial(_of_architecture, text), about)
    known = [*bundled_names(), *learned.names(), f"{OPTAX}adamw(1e-3)"]
    raise ValueError(
        unknown(
            "θ file, bundled name, architecture, optimizer of optax or .py file",
            text,
            known,
        )
    )


def _of_theta(text: str) -> Entrant:
    from learned import theta_file

    policy, theta = theta_file.load(text)
    training = theta_file.read_header(text).get("training") or {}
    bundled = text in theta_file.bundled_names()
    where = "bundled" if bundled else "a θ file"
    horizon = policy.trained_horizon
    return Entrant(
        name=text if bundled else Path(text).stem,
        make=partial(theta_file.load, text if bundled else Path(text).resolve()),
        about=f"{policy.name}, {where}"
        + (f", trained for {horizon:,} steps" if horizon else ""),
        digest=theta_file.digest(policy, theta),
        training=training,
    )


def _of_architecture(name: str) -> tuple[Any, None]:
    import learned

    return learned.make(name), None
