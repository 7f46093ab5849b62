"""The best hyperparameters of a hand-designed optimizer, out of a list of trials.

A trial is a few entries of θ: of one of TaskSet's search spaces ("nadamw_grid"), of Adam's
14 learning rates ("adam_lr"), or drawn from a box. In a round every trial that is left runs
the same episodes of one task, P trials an outer step; the next round is the next task's.
A trial's cost is its mean over complete rounds, so that all were tried on the same. With
`keep` < 1 only the best share of the trials goes on after each pass over the tasks
(successive halving).

`opt_gym.evaluation.search` is for reports: one task, fixed seeds, cached, every trial. This
one is an outer-trainer: many tasks, new episodes every round, resumable, θ at any time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from agents.estimators import populations
from agents.estimators.trainer_record import outer_trainer
from agents.records import Horizon, OuterTrainer, Report, TrainerTraits, longest
from agents.task_mixes import TaskMix
from opt_gym import plugins
from opt_gym.checks import check_between
from opt_gym.evaluation.baselines import SPACES
from opt_gym.evaluation.search_spaces import SearchSpace, log_uniform_box
from opt_gym.plugins import Spec, unknown
from opt_gym.records import Data, LearnedOptimizer

MOST_TRIALS = 100
"""Where `num_trials` is not given, the first so many at most."""


class SearchState(NamedTuple):
    """What is known of N trials, best first as far as `alive`.

    Shapes: theta is θ's; key [], of all rounds; order [N], trials, of which the first
    `alive` [] are left; done [], of these, tried in this round; round [], from 0; total [N],
    a trial's costs summed over complete rounds; current [N], its cost in this round, inf
    where it was not tried.
    """

    theta: PyTree
    key: Any
    order: Any
    alive: Any
    done: Any
    round: Any
    total: Any
    current: Any


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    space: str | None = None,
    box: Mapping[str, Sequence[float]] | None = None,
    num_trials: int | None = None,
    population: int = 16,
    num_episodes: int = 1,
    keep: float = 1.0,
    trunc_length: int = 50,
    horizon: Horizon = 1000,
    aggregation: str = "mean",
) -> OuterTrainer:
    """The outer-trainer "hyperparameter_search".

    Args:
        mix: the tasks; a round takes its next ones.
        learned_optimizer: of the space's architecture and options. What of θ a trial leaves
            out stays as in the θ that training starts from.
        space: the name of a search space; this or `box`.
        box: by entry of θ, (low, high) of a log-uniform draw.
        num_trials: the first so many of the space; by default all, at most 100.
        population: P, trials of an outer step.
        num_episodes: of every trial in a round.
        keep: the share of trials that is left after each pass over the tasks.
        trunc_length: K, the inner steps of a compiled window.
        horizon: a length, or (low, high) of a log-uniform one; rounded up to multiples of K.
        aggregation: what counts: the "mean" over an episode, or the "final" loss (the mean
            over the last K steps).

    Raises:
        ValueError: an unknown space, one of another architecture, entries that θ does not
            have, or a setting out of its range.
    """
    entries = _hyperparameters(learned_optimizer)
    searched = _space(space, box, learned_optimizer, entries)
    count = min(searched.num_trials, MOST_TRIALS) if num_trials is None else num_trials
    if not 1 <= count <= searched.num_trials:
        raise ValueError(
            f"num_trials must be 1 to {searched.num_trials}, got {num_trials}"
        )
    check_between("keep", keep, 0.0, 1.0, closed="right")
    trials = [searched.trial(number) for number in range(count)]
    settings: dict[str, Any] = {
        "population": population,
        "num_episodes": num_episodes,
        "trunc_length": trunc_length,
        "horizon": horizon,
        "aggregation": aggregation,
    }
    evaluate = populations.evaluator(mix, learned_optimizer, **settings)

    def theta_of(base: PyTree, numbers: np.ndarray) -> PyTree:
        """θ of some trials, with a leading axis."""
        rows = [{**base, **trials[number]} for number in numbers]
        return {k: np.array([row[k] for row in rows], np.float32) for k in base}

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, outer_step: int = 0
    ) -> SearchState:
        return SearchState(
            theta=jax.tree.map(np.asarray, theta),
            key=key,
            order=np.arange(count, dtype=np.int32),
            alive=np.int32(count),
            done=np.int32(0),
            round=np.int32(0),
            total=np.zeros(count, np.float32),
            current=np.full(count, np.inf, np.float32),
        )

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: SearchState
    ) -> tuple[SearchState, Report]:
        state = _on_host(state)
        numbers = state.order[state.done : state.alive][:population]
        thetas = theta_of(state.theta, np.resize(numbers, population))
        k_round = jax.random.fold_in(state.key, state.round)
        evaluated = evaluate(k_round, thetas, data, int(state.round))
        current = state.current.copy()
        current[numbers] = np.asarray(evaluated.costs)[: len(numbers)]
        done = np.int32(state.done + len(numbers))
        state = state._replace(current=current, done=done)
        if done == state.alive:
            state = _next_round(state, len(mix.envs), keep)
        costs = state.total / state.round if state.round else state.current
        return state, populations.report(evaluated, costs[_best(state)])

    def theta(state: SearchState) -> PyTree:
        state = _on_host(state)
        best = theta_of(state.theta, np.array([_best(state)]))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), best)

    return outer_trainer(
        "hyperparameter_search",
        {"hyperparameter_search": {**settings, "trials": trials, "keep": keep}},
        mix,
        learned_optimizer,
        init=init,
        step=step,
        theta=theta,
        horizon=longest(horizon),
    )


def _next_round(state: SearchState, num_tasks: int, keep: float) -> SearchState:
    """The trials' new standing, and fewer of them where a pass over the tasks is complete."""
    left = state.order[: state.alive]
    order, total = state.order.copy(), state.total.copy()
    total[left] += state.current[left]
    order[: len(left)] = left[np.argsort(total[left], kind="stable")]
    rounds, alive = state.round + 1, len(left)
    if rounds % num_tasks == 0:
        alive = math.ceil(keep * alive)
    return state._replace(
        order=order,
        alive=np.int32(alive),
        done=np.int32(0),
        round=np.int32(rounds),
        total=total,
        current=np.full_like(state.current, np.inf),
    )


def _best(state: SearchState) -> int:
    """The best trial of the complete rounds; in the first round the best of those tried."""
    return int(state.order[0] if state.round else np.argmin(state.current))


def _on_host(state: SearchState) -> SearchState:
    """Bookkeeping is numpy's; a checkpoint gives it back on the device."""
    key, rest = state.key, state._replace(key=None)
    return jax.tree.map(np.asarray, rest)._replace(key=key)


def _space(
    space: str | None,
    box: Mapping[str, Sequence[float]] | None,
    learned_optimizer: LearnedOptimizer,
    entries: Sequence[str],
) -> SearchSpace:
    name, config = learned_optimizer.name, learned_optimizer.config
    if (space is None) == (box is None):
        own = [title for title, listed in SPACES.items() if listed.architecture == name]
        raise ValueError(
            f"give either a space (of {name!r}: {', '.join(own) or 'none'}) or a box, "
            f"got space={space!r}, box={box!r}"
        )
    if box is not None:
        for entry in box:
            if entry not in entries:
                what = f"hyperparameter of {name!r}"
                raise ValueError(unknown(what, entry, list(entries)))
        return log_uniform_box(name, box)
    if space not in SPACES:
        raise ValueError(unknown("search space", space, list(SPACES)))
    named = SPACES[space]
    made_for = plugins.build("architecture", named.architecture, named.options)
    # What is not in θ; the rest of a config is where θ starts.
    options = {
        key: made_for.config[key] for key in made_for.config if key not in entries
    }
    if named.architecture != name or any(config[k] != v for k, v in options.items()):
        raise ValueError(
            f"the space {space!r} is one of {named.architecture!r} {named.options}, not "
            f"of {name!r} {config}"
        )
    return named


def _hyperparameters(learned_optimizer: LearnedOptimizer) -> list[str]:
    theta = jax.eval_shape(learned_optimizer.init_theta, jax.random.key(0))
    if not isinstance(theta, dict) or any(
        leaf.shape for leaf in jax.tree.leaves(theta)
    ):
        raise ValueError(
            "hyperparameter_search is for optimizers whose θ is a dict of numbers, not for "
            f"{learned_optimizer.name!r}"
        )
    return list(theta)


SPEC = Spec(
    kind="trainer",
    name="hyperparameter_search",
    make=make,
    source="Bergstra & Bengio 2012, JMLR 13; Metz et al. 2020, arXiv 2002.11887 (spaces); "
    "Jamieson & Talwalkar 2016, arXiv 1502.07943 (successive halving)",
    traits=TrainerTraits(architecture="adam", settings={"space": "adam_lr"}),
)
