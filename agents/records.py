"""The records of outer-training: what estimates a gradient of θ, and what improves θ with it.

As in `opt_gym.records`: NamedTuples of pure functions, keys first, data always an argument.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from opt_gym.records import Config, Data, Env, LearnedOptimizer


class Estimate(NamedTuple):
    """A gradient of the outer-loss with respect to θ, and what it cost.

    Shapes: grad like θ; the rest scalars. variance: of one particle's gradient, averaged
    over θ's coordinates (NaN for a single one's); dropped: particles with a dead half, which
    is charged, or whose gradient is not finite and left out; inner_steps: executed, both
    halves counted.
    """

    grad: PyTree
    outer_loss: Float[Array, ""]
    variance: Float[Array, ""]
    dropped: Int[Array, ""]
    inner_steps: Int[Array, ""]


class GradientEstimator(NamedTuple):
    """A gradient of one environment's outer-loss.

    Attributes:
        init: (key, data, θ) -> s, a pytree of arrays.
        step: (key, data, θ, s, outer_step) -> (s, Estimate); outer_step is a Python int.
        num_windows: steps that the longest episode takes.
    """

    init: Callable[[PRNGKeyArray, Data, PyTree], Any]
    step: Callable[[PRNGKeyArray, Data, PyTree, Any, int], tuple[Any, Estimate]]
    num_windows: int = 1


class Report(NamedTuple):
    """What one outer step tells the loop: scalars, on the host or on the device.

    outer_loss, variance, dropped, inner_steps: as those of `Estimate`; grad_norm: of what
    the outer optimizer was given; skipped: gradients of a task (of PPO: of a minibatch) that
    were not finite and were left out.
    """

    outer_loss: Any
    grad_norm: Any
    variance: Any
    dropped: Any
    inner_steps: Any
    skipped: Any = 0.0


def merged_reports(reports: Sequence[Report]) -> Report:
    """One report of several tasks: counts add up, the rest is averaged."""
    sums = Report(*(sum(values) for values in zip(*reports, strict=True)))
    means = Report(*(total / len(reports) for total in sums))
    return means._replace(
        dropped=sums.dropped, inner_steps=sums.inner_steps, skipped=sums.skipped
    )


class Init(Protocol):
    """(key, data, θ, outer_step) -> a state before that outer step; see `OuterTrainer`."""

    def __call__(  # noqa: D102
        self,
        key: PRNGKeyArray,
        data: tuple[Data, ...],
        theta: PyTree,
        outer_step: int = 0,
    ) -> Any: ...


class OuterTrainer(NamedTuple):
    """Anything that improves θ step by step.

    Attributes:
        config: JSON that identifies the run (a checkpoint is refused by another one).
        init: (key, data, θ, outer_step=0) -> s, a pytree of arrays, with the structure and
            shapes of that step: a resumed run reads a checkpoint into it.
        step: (key, data, s) -> (s, Report); composes jitted programs, is not jitted itself.
        theta: s -> θ.
        parts: of `step`, where it follows gradients: for who runs them elsewhere.
    """

    name: str
    config: Config
    envs: tuple[Env, ...]
    learned_optimizer: LearnedOptimizer
    init: Init
    step: Callable[[PRNGKeyArray, tuple[Data, ...], Any], tuple[Any, Report]]
    theta: Callable[[Any], PyTree]
    parts: "GradientParts | None" = None


class Call(NamedTuple):
    """One task's share of an outer step: what its estimator is given but the data."""

    task: int
    key: PRNGKeyArray
    theta: PyTree
    state: Any
    outer_step: int


RunCalls = Callable[[tuple[Data, ...], list[Call]], list[tuple[Any, Estimate]]]
"""(data, calls) -> (the estimator's state, its estimate) of each.

Who has the data where the estimates are made leaves that argument alone."""


class GradientParts(NamedTuple):
    """An outer step in two: one task's estimate, and all that is around the estimates.

    Attributes:
        estimate: (data of the task, call) -> (the estimator's state, Estimate).
        step_with: who makes the estimates -> an `OuterTrainer.step`.
    """

    estimate: Callable[[Data, Call], tuple[Any, Estimate]]
    step_with: Callable[[RunCalls], Callable[..., tuple[Any, Report]]]


class Progress(NamedTuple):
    """What a callback sees after an outer step.

    outer_step counts from 1; report holds Python numbers; seconds since the loop began.
    """

    outer_step: int
    outer_steps: int
    report: Report
    seconds: float
    trainer: OuterTrainer
    state: PyTree


Callback = Callable[[Progress], Any]
"""Called after every outer step. One that has a `begin` is told before the first how many
steps a resumed run has done; one that has a `close` is closed at the end."""


class TrainResult(NamedTuple):
    """How outer-training ended.

    theta: the trained weights; state: of the trainer; outer_step: steps done in all;
    reports: of this call's steps; seconds: of this call; interrupted: by Ctrl-C.
    """

    theta: PyTree
    state: PyTree
    outer_step: int
    reports: list[Report]
    seconds: float
    interrupted: bool
