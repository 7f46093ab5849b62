"""Several optimizers on one model, in a given time: what `compare_on` does in both frameworks.

Every optimizer begins at the same weights and sees the same batches in the same order, several
times over in other orders. How many steps there are is found out first, so that all of them get
the same number, and learned ones and schedules are told it as their horizon.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from learned.how_they_fared import (
    LOST_AT_END,
    Contest,
    Entry,
    Remembered,
    mean_of_finite,
    scores,
    sortable,
)
from learned.theta_file import GENERAL
from opt_gym.checks import check_positive, check_whole
from opt_gym.records import LearnedOptimizer


class Usual(NamedTuple):
    """AdamW as people try it: at a rate, which falls to 0 as a cosine or stays.

    weight_decay: None for the framework's own.
    """

    rate: float
    decays: bool = True
    weight_decay: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Keywords beside the rate."""
        return {} if self.weight_decay is None else {"weight_decay": self.weight_decay}

    @property
    def name(self) -> str:
        """In tables."""
        return f"adamw {self.rate:g}" + (" cosine" if self.decays else "")


USUAL = (Usual(1e-3, False), *(Usual(rate) for rate in (3e-4, 1e-3, 3e-3, 1e-2)))
"""What libraries begin with, and what people try."""

LEARNED = GENERAL
"""The bundled θ that is compared by default."""


def with_usual(
    optimizers: dict[str, Any], usual: Iterable[Usual] = USUAL
) -> dict[str, Any]:
    """These optimizers by name, and AdamW beside them."""
    return optimizers | {one.name: one for one in usual}


_MAX_BATCHES = 1000
_MAX_VALID_BATCHES = 20
_PROBE_STEPS = 5
_MAX_STEPS = 100_000
_SHARE = 0.85
"""Of the time that is left after the probes; the rest is for what they did not see."""

LOST_IN_A_ROW = 50
"""Losses that are not finite; fewer are bad batches, which guards and learned steps survive."""

BatchAt = Callable[[int, int], Any]
"""(seed, step) -> batch."""


class OptimizerContestant(NamedTuple):
    """One optimizer on its own copy of the model.

    begin: () -> None; weights and optimizer as they were at first.
    step: batch -> loss, a float, on the batch before the update.
    loss_on: batch -> loss, a float, and nothing is learned.
    remembered: () -> what the optimizer's state says.
    """

    begin: Callable[[], None]
    step: Callable[[Any], float]
    loss_on: Callable[[Any], float]
    remembered: Callable[[], Remembered]


def run(
    make: dict[str, Callable[[int], OptimizerContestant]],
    batch_at: BatchAt,
    budget_s: float,
    num_seeds: int,
    valid_batches: Sequence[Any] = (),
) -> Contest:
    """Runs all of them.

    Args:
        make: by name, (number of steps) -> a contestant.
        batch_at: what they learn.
        budget_s: seconds for everything, compilation included.
        num_seeds: runs of each.
        valid_batches: what is measured after the last step.

    Raises:
        ValueError: no optimizer, a number that is not above 0, or a budget that is too short
            for ten steps of each.
    """
    if not make:
        raise ValueError("optimizers is empty: there is nothing to compare")
    check_positive("budget_s", budget_s)
    check_whole("num_seeds", num_seeds, 1)
    began = time.perf_counter()
    probe = [batch_at(0, step) for step in range(_PROBE_STEPS)]
    seconds = {
        name: _probe(maker(_PROBE_STEPS), probe, valid_batches)
        for name, maker in make.items()
    }
    left = budget_s - 2 * (time.perf_counter() - began)  # they compile once more
    a_step = num_seeds * sum(seconds.values())
    num_steps = min(_MAX_STEPS, int(_SHARE * left / a_step))
    if num_steps < 10:
        raise ValueError(
            f"budget_s={budget_s:g} is too short for {num_seeds} x 10 steps of {len(make)} "
            f"optimizers: one of each takes {sum(seconds.values()):.3g} s after "
            f"{_words(began)} of compilation"
        )
    entries = [
        _enter(name, maker(num_steps), batch_at, (num_seeds, num_steps), valid_batches)
        for name, maker in make.items()
    ]
    is_validated = len(valid_batches) > 0
    ranked = sorted(entries, key=lambda e: sortable(np.mean(scores(e, is_validated))))
    return Contest(tuple(ranked), num_steps, is_validated)


def kept(batches: Any) -> BatchAt:
    """(seed, step) -> batch, the same for everyone.

    Args:
        batches: a function of the step, which later seeds have from step 100,000 on; a
            sequence, again from its start where it ends, which later seeds have in other
            orders; or an iterable, of which the first 1,000 are kept.

    Raises:
        ValueError: there is none.
    """
    if _is_function(batches):
        return lambda seed, step: batches(seed * _MAX_STEPS + step)
    held = _first(batches, _MAX_BATCHES)
    if not len(held):
        raise ValueError("batches is empty")
    orders: dict[tuple[int, int], Any] = {}

    def at(seed: int, step: int) -> Any:
        epoch, place = divmod(step, len(held))
        if seed == 0:
            return held[place]
        if (seed, epoch) not in orders:
            orders[seed, epoch] = np.random.default_rng((seed, epoch)).permutation(
                len(held)
            )
        return held[orders[seed, epoch][place]]

    return at


def kept_for_validation(batches: Any) -> Sequence[Any]:
    """The first 20 of them; none for None.

    Args:
        batches: a function of the number, a sequence or an iterable.

    Raises:
        ValueError: there is none.
    """
    if batches is None:
        return ()
    if _is_function(batches):
        return [batches(number) for number in range(_MAX_VALID_BATCHES)]
    held = _first(batches, _MAX_VALID_BATCHES)[:_MAX_VALID_BATCHES]
    if not len(held):
        raise ValueError("valid_batches is empty")
    return held


def _is_function(batches: Any) -> bool:
    return callable(batches) and not isinstance(batches, Sequence)


def _first(batches: Any, most: int) -> Sequence[Any]:
    return batches if isinstance(batches, Sequence) else list(islice(batches, most))


def decay_for(learned_optimizer: LearnedOptimizer, num_steps: int) -> str | None:
    """The decay "cosine" for a run that is longer than those θ was trained for.

    None for what is told the horizon where it is known, and decays by itself.
    """
    trained = learned_optimizer.trained_horizon
    is_beyond = trained is not None and num_steps > trained
    return (
        "cosine" if is_beyond and "horizon" not in learned_optimizer.welcomes else None
    )


def _probe(
    contestant: OptimizerContestant,
    batches: Sequence[Any],
    valid_batches: Sequence[Any],
) -> float:
    contestant.begin()
    contestant.step(batches[0])  # compiles
    for batch in valid_batches[:1]:
        contestant.loss_on(batch)
    times = []
    for batch in batches[1:]:
        began = time.perf_counter()
        contestant.step(batch)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _enter(
    name: str,
    contestant: OptimizerContestant,
    batch_at: BatchAt,
    shape: tuple[int, int],
    valid_batches: Sequence[Any],
) -> Entry:
    losses, times = np.full(shape, math.nan), []
    valid_losses = np.full(shape[0], math.nan)
    remembered: list[Remembered] = []
    for seed in range(shape[0]):
        contestant.begin()
        lost = 0
        for step in range(shape[1]):
            batch, began = batch_at(seed, step), time.perf_counter()
            losses[seed, step] = contestant.step(batch)
            times.append(time.perf_counter() - began)
            lost = 0 if math.isfinite(losses[seed, step]) else lost + 1
            if lost == LOST_IN_A_ROW:
                break
        remembered.append(contestant.remembered())
        if len(valid_batches) and lost < LOST_AT_END:
            valid_losses[seed] = np.mean([*map(contestant.loss_on, valid_batches)])
    last = losses[:, -max(1, shape[1] // 10) :]
    return Entry(
        name,
        losses,
        np.array([*map(mean_of_finite, last)]),
        valid_losses,
        float(np.median(times)),
        tuple(remembered),
    )


def _words(began: float) -> str:
    return f"{time.perf_counter() - began:.3g} s"
