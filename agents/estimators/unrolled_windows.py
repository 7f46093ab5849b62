"""K inner steps as one value, and backprop through them in bounded memory."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from opt_gym.episode import unroll
from opt_gym.plugins import unknown
from opt_gym.records import Data, Env, LearnedOptimizer, StepOut, UnrollState

PLAIN_STEPS = 64
"""Up to so many steps every state is kept (each step is recomputed once). Longer windows are
cut into about √K segments of √K steps, which are recomputed twice: memory grows as √K."""


AGGREGATIONS = ("mean", "final")
"""What of an episode counts: its mean, or the mean over its last window."""


def check_aggregation(aggregation: str) -> None:
    """Raises ValueError for an unknown one."""
    if aggregation not in AGGREGATIONS:
        raise ValueError(unknown("aggregation", aggregation, list(AGGREGATIONS)))


def run_window(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    data: Data,
    state: UnrollState,
    num_steps: int,
    remat: bool = False,
) -> tuple[Float[Array, ""], UnrollState, Float[Array, ""], Any]:
    """K inner steps.

    Returns:
        (mean normalized loss without the clip, for backprop: the clip's gradient is zero
        exactly where training diverges; state after them; mean ℓ̃; whether it has diverged).
    """

    def steps(state: UnrollState, num: int) -> tuple[UnrollState, StepOut]:
        return unroll(env, learned_optimizer, theta, data, state, num, remat=remat)

    if remat and num_steps > PLAIN_STEPS:
        state, out = _in_segments(steps, state, num_steps)
    else:
        state, out = steps(state, num_steps)
    span = env.normalizer.initial - env.normalizer.best
    unclipped = (jnp.mean(out.loss) - env.normalizer.best) / span
    return unclipped, state, jnp.mean(out.cost), out.terminated[-1]


def value_and_slope(
    run: Callable[..., tuple], at: Float[Array, " d"]
) -> tuple[Float[Array, " d"], tuple]:
    """(gradient of a window's mean loss at flat θ, (state, mean ℓ̃, dead)).

    All NaN where some of it or the loss is not finite: an unroll that diverged says nothing
    of use.
    """
    gradient = jax.value_and_grad(lambda x: _value_first(run(x, True)), has_aux=True)
    (value, rest), slope = gradient(at)
    finite = jnp.all(jnp.isfinite(slope)) & jnp.isfinite(value)
    return jnp.where(finite, slope, jnp.nan), jax.lax.stop_gradient(rest)


def _value_first(parts: tuple) -> tuple[Any, tuple]:
    return parts[0], parts[1:]


def _in_segments(
    steps: Callable[[UnrollState, int], tuple[UnrollState, StepOut]],
    state: UnrollState,
    num_steps: int,
) -> tuple[UnrollState, StepOut]:
    """`steps(state, num_steps)` with memory for about 2√K states."""
    length = _segment(num_steps)
    count, rest = divmod(num_steps, length)
    one = jax.checkpoint(lambda state, _: steps(state, length))
    state, out = jax.lax.scan(one, state, None, length=count)
    out = jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), out)
    if rest:
        state, last = jax.checkpoint(lambda state: steps(state, rest))(state)
        out = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, last)
    return state, out


def _segment(num_steps: int) -> int:
    """The divisor of K nearest to √K, or √K itself where none is near: a rest is compiled."""
    root = math.isqrt(num_steps)
    divisors = [n for n in range(root // 2, 2 * root + 1) if num_steps % n == 0]
    return min(divisors, key=lambda n: abs(n - root), default=root)
