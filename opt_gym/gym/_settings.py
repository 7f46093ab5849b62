"""The keywords of the environments, checked."""

import copy
from typing import Any, NamedTuple

import numpy as np

from opt_gym.checks import check_choice, check_positive, check_whole
from opt_gym.data.catalog import SOURCES
from opt_gym.data.corruptions import Corruption
from opt_gym.records import Config, Features, Normalizer, Task

ACTION_SCALE = 0.01
HORIZON = 1000
REWARDS = ("mean", "final")
OUTPUTS = ("numpy", "jax")
BATCHINGS = ("vmap", "map")
RENDER_MODES = ("rgb_array",)
LARGEST_HORIZON = 2**24
"""Inner steps travel to the host as float32, which counts exactly up to here."""


class OptEnvSettings(NamedTuple):
    """What both constructors take; `OptEnv` says what each keyword means."""

    task: str | Config | Task
    task_seed: int | None = None
    horizon: int = HORIZON
    features: str | Features = "mlp"
    action: str = "update"
    action_scale: float = ACTION_SCALE
    reward: str = "mean"
    objective: str = "train"
    corruption: str | tuple[Corruption, ...] = "training"
    data: str = "auto"
    normalizer: Normalizer | None = None
    output: str = "numpy"
    level: str = "parameter"
    controls: str = "sgd"
    render_mode: str | None = None


def checked(settings: OptEnvSettings) -> OptEnvSettings:
    """The settings, if they can be.

    What `opt_gym.make` checks (task, features, action, objective, corruption) is left to it.

    Raises:
        ValueError: a value that cannot be, by name.
    """
    check_whole("horizon", settings.horizon, 1, LARGEST_HORIZON)
    if settings.task_seed is not None:
        check_whole("task_seed", settings.task_seed, 0)
    check_action_scale(settings.action_scale)
    for name, value, known in (
        ("reward", settings.reward, REWARDS),
        ("output", settings.output, OUTPUTS),
        ("data", settings.data, SOURCES),
        ("render_mode", settings.render_mode, (None, *RENDER_MODES)),
    ):
        check_choice(name, value, known)
    _check_action_keywords(settings)
    return settings._replace(
        task=copy.deepcopy(settings.task),  # a config that the user goes on editing
        horizon=int(settings.horizon),
        action_scale=float(settings.action_scale),
    )


def check_action_scale(value: Any) -> None:
    """Raises ValueError unless it is a number > 0 that float32 holds."""
    check_positive("action_scale", value)
    held = np.finfo(np.float32)
    low, high = float(held.tiny), float(held.max)
    if not low <= value <= high:
        raise ValueError(
            f"action_scale must be in [{low:.3g}, {high:.3g}], which float32 holds, "
            f"got {value!r}"
        )


def one_horizon(horizon: int | None, max_episode_steps: int | None) -> int:
    """The horizon, by either name; None, and -1 of the second, say nothing.

    Raises:
        ValueError: two that differ, or none that can be.
    """
    if max_episode_steps in (None, -1):
        return HORIZON if horizon is None else horizon
    check_whole("max_episode_steps", max_episode_steps, 1, LARGEST_HORIZON)
    if horizon is None:
        return max_episode_steps
    check_whole("horizon", horizon, 1, LARGEST_HORIZON)
    if horizon != max_episode_steps:
        raise ValueError(
            f"horizon={horizon} and max_episode_steps={max_episode_steps} name one thing: "
            f"give max_episode_steps={horizon}, which replaces a spec's"
        )
    return max_episode_steps


def with_task_seed(settings: OptEnvSettings, value: Any) -> OptEnvSettings:
    """The settings with another task seed.

    Raises:
        ValueError: it is no integer >= 0.
    """
    if getattr(value, "shape", None) == ():
        value = value.item()
    check_whole("task_seed", value, 0)
    return settings._replace(task_seed=int(value))


def _check_action_keywords(settings: OptEnvSettings) -> None:
    if settings.action != "hyperparameters":
        for name in ("level", "controls"):
            value = getattr(settings, name)
            if value != OptEnvSettings._field_defaults[name]:
                raise ValueError(
                    f"{name}={value!r} is for action='hyperparameters', "
                    f"but action is {settings.action!r}"
                )
    if settings.action != "update" and settings.action_scale != ACTION_SCALE:
        raise ValueError(
            f"action_scale={settings.action_scale!r} is for action='update'; "
            f"{settings.action!r} has constants of its own"
        )
