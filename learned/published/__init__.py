"""Other people's θ: the files of published learned optimizers, read into our architectures.

    optimizer, theta = learned.load_published("theta.state")
    learned.save("celo.safetensors", optimizer, theta)

Celo, Celo-Adam, Celo2, VeLO and the optimizers of learned_optimization as Flax writes them,
and what PyLO has as safetensors; see `published_formats.FORMATS`.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from learned.published.published_files import read_leaves
from learned.published.published_formats import convert
from opt_gym import policy
from opt_gym.records import Config, LearnedOptimizer


def load_published(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    trained_horizon: int | None = None,
    **settings: Any,
) -> tuple[LearnedOptimizer, PyTree]:
    """The learned optimizer and θ of a file that others published. No pickle is loaded.

    Every format is tested on files that the public code wrote, and gives its updates; on a
    published θ itself only "celo" and "celo_adam" were tried.

    Args:
        path: msgpack of Flax (`theta.state`, a checkpoint of learned_optimization), a
            .safetensors file, or a folder of these.
        format: one of `opt-gym list formats`; by default the first that its leaves fit. A
            file of μLO and one of ELO look alike: format="pylo_elo" is the second.
        trained_horizon: what its clock is to stop at; None for no limit.
        settings: of the architecture, for what a file does not say, such as
            bugged_lstm_state=True for the published VeLO.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a pickle, a damaged file, an unknown format, leaves that do not fit
            (which are missing, unexpected or of another shape), weights that are not finite,
            or a setting that the architecture does not have.
    """
    found = read_published(path, format, settings)
    return policy.trained_for(found.learned_optimizer, trained_horizon), found.theta


class Published(NamedTuple):
    """A θ of others: the format it was in, and what it is here."""

    format: str
    learned_optimizer: LearnedOptimizer
    theta: PyTree


def read_published(
    path: str | os.PathLike[str], format: str | None, settings: Config
) -> Published:
    """`load_published`, with the format that was found."""
    leaves = read_leaves(Path(path))
    try:
        name, made, theta = convert(leaves, format, settings)
        return Published(name, made, policy.as_theta(made, theta))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
