"""Checks our search spaces and update rules against TaskSet's golden files.

A golden folder holds `optimizers/<space>.json`, {seed: published settings}, and
`optimizer_trajectories.json`: the weights that the original optimizers reach, step by step,
on one small quadratic. `envs_registry.parity` prints the results.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from envs_registry.parity.golden import CONFIG_TOLERANCE, Figure, difference
from opt_gym import plugins, policy
from opt_gym.evaluation.search_spaces import SAMPLERS, SPACES, sample
from opt_gym.records import Config, LearnedOptimizer, Signal

TRAJECTORY_TOLERANCE = 1e-3
BETA_TOLERANCE = 1e-12
"""β is 1 − x of a drawn x, whose rounding is a larger part of a small β."""

TRAINING_STEPS = 10_000
"""The number of steps that TaskSet's optimizers assume where they are not told."""

Run = dict[str, Any]


class OptimizerResult(NamedTuple):
    """What was found of one search space: its settings, and its optimizer's trajectories."""

    space: str
    configs: Figure = Figure()
    trajectories: Figure = Figure()

    def passed(self) -> bool:
        """Whether everything matched."""
        figures = (self.configs, self.trajectories)
        return all(figure.matched == figure.total for figure in figures)

    def __str__(self) -> str:
        line = (
            f"{self.space}: configs {self.configs}, trajectories {self.trajectories}, "
            f"worst relative error {self.trajectories.worst:.1e}"
        )
        return line if self.passed() else line + "  DIFFERS"


def check_optimizers(
    folder: Path, seeds: range | None = None
) -> list[OptimizerResult | str]:
    """A result per search space that has golden files, a line for the unknown ones.

    Args:
        folder: the golden folder; it may hold only some of the files, or none.
        seeds: only these; None: whatever the folder has.
    """
    paths = {path.stem: path for path in folder.glob("optimizers/*.json")}
    problem, runs = _golden_runs(folder, seeds)
    results = [
        OptimizerResult(
            space,
            _config_figure(space, paths.get(space), seeds),
            _trajectory_figure(space, problem, runs.get(space, [])),
        )
        for space in SAMPLERS
        if space in paths or space in runs
    ]
    unknown = sorted({*paths, *runs} - {*SAMPLERS})
    return [*results, *(f"{space}: not implemented" for space in unknown)]


def trajectory_errors(
    space: str, problem: dict[str, Any], runs: Sequence[Run]
) -> list[float]:
    """The largest relative error of every run's weights, over all steps and weights.

    All runs of a space are one program, θ being an argument.

    Args:
        space: whose optimizer it is.
        problem: c, t and x0 of the loss ½ Σ c (x − t)², each [d].
        runs: golden ones, at least one: config, start_step, kwargs and x, [steps, d].
    """
    ours = SPACES[space]
    optimizer = plugins.build("architecture", ours.architecture, ours.options)
    initial = optimizer.init_theta(jax.random.key(0))
    rows = [{**initial, **ours.theta(run["config"])} for run in runs]
    theta = {k: jnp.asarray([row[k] for row in rows], jnp.float32) for k in initial}
    start = jnp.asarray([run["start_step"] for run in runs], jnp.int32)
    lengths = [run["kwargs"].get("training_steps", TRAINING_STEPS) for run in runs]
    horizon = jnp.asarray(lengths, jnp.int32)
    c, t, x0 = (jnp.asarray(problem[k], jnp.float32) for k in ("c", "t", "x0"))
    num_steps = max(len(run["x"]) for run in runs)

    def gradient(x: Array) -> Array:
        return c * (x - t)

    def trajectory(theta: PyTree, start: Any, horizon: Any) -> Array:
        return _descend(optimizer, theta, gradient, x0, start, horizon, num_steps)

    trajectories = np.asarray(jax.jit(jax.vmap(trajectory))(theta, start, horizon))
    return [
        _largest_error(np.asarray(run["x"], np.float32), reached)
        for run, reached in zip(runs, trajectories, strict=True)
    ]


def _largest_error(golden: np.ndarray, reached: np.ndarray) -> float:
    reached = reached[: len(golden)]
    with np.errstate(invalid="ignore"):  # inf − inf, where both diverged
        errors = np.abs(reached - golden) / np.maximum(np.abs(golden), 1e-30)
    return float(np.where(reached == golden, 0.0, errors).max())


def _descend(
    optimizer: LearnedOptimizer,
    theta: PyTree,
    gradient: Any,
    x0: Float[Array, " d"],
    start: Int[Array, ""],
    horizon: Int[Array, ""],
    num_steps: int,
) -> Float[Array, "steps d"]:
    """The weights after each step, the optimizer's count of steps beginning at `start`."""
    params = (x0,)
    zero, never = jnp.zeros(()), jnp.zeros((), bool)

    def step(carry: tuple, t: Any) -> tuple[tuple, Array]:
        params, memories = carry
        t = start + t
        grad = (gradient(params[0]),)
        signal = Signal(params, grad, zero, never, zero, never, t, horizon, (t,))
        memories, delta = policy.advance(optimizer, theta, memories, signal)
        params = (params[0] + delta[0],)
        return (params, memories), params[0]

    begin = params, policy.begin(optimizer, theta, params, ("kernel",))
    return jax.lax.scan(step, begin, jnp.arange(num_steps, dtype=jnp.int32))[1]


def _config_figure(space: str, path: Path | None, seeds: range | None) -> Figure:
    figure = Figure()
    golden = json.loads(path.read_text()) if path else {}
    for seed, config in golden.items():
        if seeds is None or int(seed) in seeds:
            error = _config_error(config, sample(space, int(seed)))
            figure = figure.add(error, CONFIG_TOLERANCE)
    return figure


def _config_error(golden: Config, ours: Config) -> float:
    """The largest difference; that of a β in units of its wider tolerance."""
    if golden.keys() != ours.keys():
        return math.inf
    errors = {key: difference(golden[key], ours[key]) for key in golden}
    for beta in errors.keys() & {"beta1", "beta2"}:
        errors[beta] *= CONFIG_TOLERANCE / BETA_TOLERANCE
    return max(errors.values())


def _trajectory_figure(
    space: str, problem: dict[str, Any], runs: Sequence[Run]
) -> Figure:
    figure = Figure()
    for error in trajectory_errors(space, problem, runs) if runs else []:
        figure = figure.add(error, TRAJECTORY_TOLERANCE)
    return figure


def _golden_runs(
    folder: Path, seeds: range | None
) -> tuple[dict[str, Any], dict[str, list[Run]]]:
    """The problem, and the golden runs on it by space; nothing where there is no file."""
    path = folder / "optimizer_trajectories.json"
    if not path.exists():
        return {}, {}
    content = json.loads(path.read_text())
    runs: dict[str, list[Run]] = {}
    for run in content["runs"]:
        space, _, seed = run["name"].rpartition("_seed")
        if seeds is None or int(seed) in seeds:
            runs.setdefault(space, []).append(run)
    return content["problem"], runs
