"""The records of outer-training: what estimates a gradient of θ, and what improves θ with it.

As in `opt_gym.records`: NamedTuples of pure functions, keys first, data always an argument.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from opt_gym import policy
from opt_gym.checks import check_between, check_not_negative, check_whole
from opt_gym.env import num_weights
from opt_gym.plugins import Spec
from opt_gym.records import Config, Data, Env, LearnedOptimizer

Horizon = int | tuple[int, int]

_LONGEST = 2**30
"""Of a horizon: rounded up to windows it still is an int32."""


class Lengths(NamedTuple):
    """How long episodes last: log-uniform in [low, high], rounded up to multiples of K.

    Attributes:
        low, high: a constant where they are the same.
        trunc_length: K, so that an episode ends only between two windows.
        curriculum: outer steps over which the upper bound grows, log-linearly, from low to
            high; 0 for high at once.
    """

    low: int
    high: int
    trunc_length: int
    curriculum: int = 0

    @property
    def num_windows(self) -> int:
        """Of the longest episode."""
        return math.ceil(self.high / self.trunc_length)

    def upper(self, outer_step: int) -> float:
        """The upper bound at `outer_step`, of which the first is 0."""
        if outer_step >= self.curriculum:
            return float(self.high)
        return self.low * (self.high / self.low) ** (outer_step / self.curriculum)

    def draw(self, key: PRNGKeyArray, upper: Array | float) -> Int[Array, ""]:
        """One length [] from low to `upper`, drawn with `key`, rounded up; traceable."""
        k = self.trunc_length
        if self.low == self.high:
            return jnp.int32(k * self.num_windows)
        low = math.log(self.low)
        length = jnp.exp(low + jax.random.uniform(key) * (jnp.log(upper) - low))
        # The small slack keeps exp(log(100)) = 100.00001 from becoming 150.
        return k * jnp.maximum(jnp.ceil(length / k - 1e-4).astype(jnp.int32), 1)

    def mean(self, upper: float) -> float:
        """The mean of `draw` up to `upper`, exactly."""
        low, k = self.low, self.trunc_length
        if upper - low < 1e-6 * low:
            return float(k * math.ceil(low / k))
        total = 0.0
        for windows in range(math.ceil(low / k), math.ceil(upper / k) + 1):
            inside = min(windows * k, upper) / max((windows - 1) * k, low)
            total += windows * k * math.log(inside)
        return total / math.log(upper / low)

    def staggered(
        self, length: Int[Array, ""], index: Int[Array, ""], num: int
    ) -> Int[Array, ""]:
        """K·⌈(index+1)/num · length/K⌉: first episodes are really short, each by another share.

        Slots then do not reset all at once.
        """
        count = (index.astype(jnp.int32) + 1) * (length // self.trunc_length)
        return self.trunc_length * ((count + num - 1) // num)


def lengths_of(horizon: Horizon, trunc_length: int, curriculum: int = 0) -> Lengths:
    """The distribution that a trainer's settings mean.

    Raises:
        ValueError: a horizon that is not >= 1 or 1 <= low <= high, trunc_length < 1,
            curriculum < 0, or one with a constant horizon; what is no integer.
    """
    check_whole("trunc_length", trunc_length, 1)
    check_whole("curriculum", curriculum, 0)
    bounds = tuple(horizon) if isinstance(horizon, Sequence) else (horizon, horizon)
    whole = len(bounds) == 2 and all(isinstance(bound, int) for bound in bounds)
    if not (whole and 1 <= bounds[0] <= bounds[1] <= _LONGEST):
        raise ValueError(
            "horizon must be an integer >= 1, or two with 1 <= low <= high <= 2^30, got "
            f"{horizon!r}"
        )
    low, high = bounds[0], bounds[-1]
    if curriculum and low == high:
        raise ValueError(
            f"a curriculum needs a horizon (low, high) to grow in, got {horizon}"
        )
    return Lengths(low, high, trunc_length, curriculum)


def longest(horizon: Horizon) -> int:
    """The longest horizon that a trainer's setting means."""
    return max(horizon) if isinstance(horizon, Sequence) else horizon


class Counted(NamedTuple):
    """What an inner step counts in the outer-loss that evolution follows.

    bend: 0: its ℓ̃; else asinh(ℓ̃/bend)/asinh(1/bend): 1 where ℓ̃ is 1, and a logarithm above
    bend, so that to halve a small loss is worth as much as to halve a large one; last_tenth:
    the share of the mean over the last tenth of an episode beside the mean over all of it.
    """

    bend: float = 0.0
    last_tenth: float = 0.0

    def mean(
        self, costs: Float[Array, " k"], t: Int[Array, " k"], horizon: Int[Array, ""]
    ) -> Float[Array, ""]:
        """Of a window's steps; over an episode the weights are 1 on average.

        Args:
            costs: ℓ̃ of each step.
            t: updates done after each, from 1.
            horizon: of the episode.
        """
        if self.bend:
            costs = jnp.arcsinh(costs / self.bend) / math.asinh(1.0 / self.bend)
        if self.last_tenth:
            length = jnp.maximum(horizon // 10, 1)  # first episodes may be short
            is_last, share = t > horizon - length, horizon / length
            costs *= 1.0 - self.last_tenth + self.last_tenth * share * is_last
        return jnp.mean(costs)


def counted_as(bend: float, last_tenth: float, horizon: Horizon) -> Counted:
    """What a trainer's settings mean for episodes of `horizon`.

    Raises:
        ValueError: bend < 0, last_tenth outside of [0, 1], or one of episodes below 10 steps.
    """
    check_not_negative(bend=bend)
    check_between("last_tenth", last_tenth, 0.0, 1.0)
    shortest = min(horizon) if isinstance(horizon, Sequence) else horizon
    if last_tenth and shortest < 10:
        raise ValueError(f"episodes of {shortest} steps have no last_tenth")
    return Counted(bend, last_tenth)


AGGREGATIONS = ("mean", "final")
"""What of an episode counts: its mean, or the mean over its last window."""


class Estimate(NamedTuple):
    """A gradient of the outer-loss with respect to θ, and what it cost.

    Shapes: grad like θ; the rest scalars. outer_loss: the mean ℓ̃ of the steps looked at, for
    "final" NaN where no episode ended; variance: of one particle's gradient, averaged over
    θ's coordinates (NaN for a single one's); dropped: particles with a dead half, which is
    charged, or whose gradient is not finite and left out; inner_steps: executed, both halves
    counted.
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
    """One of several tasks' `reports`: counts add up, the rest is averaged."""
    sums = Report(*(sum(values) for values in zip(*reports, strict=True)))
    means = Report(*(total / len(reports) for total in sums))
    return means._replace(
        dropped=sums.dropped, inner_steps=sums.inner_steps, skipped=sums.skipped
    )


def traits_of(spec: Spec) -> "TrainerTraits":
    """What the `spec` of an outer-trainer says of it; the usual where it says nothing."""
    return TrainerTraits() if spec.traits is None else spec.traits


class Init(Protocol):
    """(key, data, θ, outer_step) -> a state before that outer step; see `OuterTrainer`.

    Args:
        key: of what is drawn.
        data: of every environment, in their order.
        theta: the θ to go on from.
        outer_step: the one to come; the first is 0.
    """

    def __call__(
        self,
        key: PRNGKeyArray,
        data: tuple[Data, ...],
        theta: PyTree,
        outer_step: int = 0,
    ) -> Any:
        """A state for `data` and `theta`, drawn with `key`, before `outer_step`."""
        ...


class OuterTrainer(NamedTuple):
    """Anything that improves θ step by step.

    Attributes:
        name: of the plug-in.
        config: JSON that identifies the run (a checkpoint is refused by another one).
        envs: the tasks, as many as there are data.
        learned_optimizer: whose θ.
        init: (key, data, θ, outer_step=0) -> s, a pytree of arrays, with the structure and
            shapes of that step: a resumed run reads a checkpoint into it.
        step: (key, data, s) -> (s, Report); composes jitted programs, is not jitted itself.
        theta: s -> θ.
        parts: of `step`, where it follows gradients: for who runs them elsewhere.
        horizon: of its longest episode, which θ is then trained for; None if it does not say.
    """

    name: str
    config: Config
    envs: tuple[Env, ...]
    learned_optimizer: LearnedOptimizer
    init: Init
    step: Callable[[PRNGKeyArray, tuple[Data, ...], Any], tuple[Any, Report]]
    theta: Callable[[Any], PyTree]
    parts: "GradientParts | None" = None
    horizon: int | None = None

    @property
    def trained_optimizer(self) -> LearnedOptimizer:
        """The learned optimizer for who uses its θ: it knows what that was trained for.

        The one that is trained here looks at all times that episodes have.
        """
        sizes = (
            num_weights(env.task, env.task.load_data(env.settings.data))
            for env in self.envs
        )
        return policy.trained_for(self.learned_optimizer, self.horizon, max(sizes))


class TrainerTraits(NamedTuple):
    """What is to be known of an outer-trainer before it is made: `Spec.traits`.

    Attributes:
        updates_per_step: (its settings, tasks an outer step takes) -> how often an outer step
            calls the outer optimizer: how long a schedule of it is to be.
        architecture: the one it trains in comparisons of trainers, None for any.
        architecture_options: what it needs of that in comparisons.
        settings: its own in comparisons, beside those that all get who have them.
    """

    updates_per_step: Callable[[Mapping[str, Any], int], int] = lambda settings, tasks: (
        1
    )
    architecture: str | None = None
    architecture_options: Config = {}  # noqa: RUF012 (nobody writes into a record)
    settings: Config = {}  # noqa: RUF012


class Call(NamedTuple):
    """One task's share of an outer step: what its estimator is given but the data.

    task: its place in the mix; key, theta, state, outer_step: as `GradientEstimator.step` is
    given them, state None where it is to be begun.
    """

    task: int
    key: PRNGKeyArray
    theta: PyTree
    state: Any
    outer_step: int


class Runner(NamedTuple):
    """Who has the tasks of an outer step.

    Who has the data, or the states, somewhere else leaves them alone.

    Attributes:
        begin: (data, call without a state) -> the estimator's state.
        run: (data, calls) -> (the estimator's new state, its estimate) of each.
    """

    begin: Callable[[tuple[Data, ...], Call], Any]
    run: Callable[[tuple[Data, ...], list[Call]], list[tuple[Any, Estimate]]]


class GradientParts(NamedTuple):
    """An outer-trainer in two: one task's estimates, and all that is around them.

    Attributes:
        begin: (data of the task, call without a state) -> the estimator's state.
        estimate: (data of the task, call) -> (the estimator's state, Estimate).
        run_by: who has the tasks -> `init` and `step` of an `OuterTrainer`.
    """

    begin: Callable[[Data, Call], Any]
    estimate: Callable[[Data, Call], tuple[Any, Estimate]]
    run_by: Callable[[Runner], tuple[Init, Callable[..., tuple[Any, Report]]]]


class Progress(NamedTuple):
    """What a callback sees after an outer step.

    outer_step counts from 1, up to outer_steps, those planned in all; report holds Python
    numbers; seconds since the loop began; trainer, and its state after the step.
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
    reports: of this call's steps; seconds: of this call; interrupted: by Ctrl-C or SIGTERM;
    learned_optimizer: of θ, as `learned.load` gives it back: for `learned.save`, `to_optax`;
    signal: that interrupted it, 0 for none.
    """

    theta: PyTree
    state: PyTree
    outer_step: int
    reports: list[Report]
    seconds: float
    interrupted: bool
    learned_optimizer: LearnedOptimizer
    signal: int = 0
