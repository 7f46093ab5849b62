"""K inner steps as one value, and backprop through them in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from opt_gym.episode import unroll
from opt_gym.records import Data, Env, LearnedOptimizer, StepOut, UnrollState

PLAIN_STEPS = 64
"""Up to so many steps every state is kept (each step is recomputed once). Longer windows are
cut into about √K segments of √K steps, which are recomputed twice: memory grows as √K."""


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

    segment = _segment(num_steps) if remat else num_steps
    if segment == num_steps:
        state, out = steps(state, num_steps)
    else:
        one = jax.checkpoint(lambda state, _: steps(state, segment))
        state, out = jax.lax.scan(one, state, None, length=num_steps // segment)
    span = env.normalizer.initial - env.normalizer.best
    unclipped = (jnp.mean(out.loss) - env.normalizer.best) / span
    dead = out.terminated.reshape(-1)[-1]
    return unclipped, state, jnp.mean(out.cost), dead


def value_and_slope(
    run: Callable[..., tuple], at: Float[Array, " d"]
) -> tuple[Float[Array, " d"], tuple]:
    """(gradient of a window's mean loss at flat θ, (state, mean ℓ̃, dead)).

    All NaN where some of it is not finite: an unroll that diverged says nothing of use.
    """
    slope, rest = jax.grad(lambda flat: _value_first(run(flat, True)), has_aux=True)(at)
    finite = jnp.all(jnp.isfinite(slope))
    return jnp.where(finite, slope, jnp.nan), jax.lax.stop_gradient(rest)


def _value_first(parts: tuple) -> tuple[Any, tuple]:
    return parts[0], parts[1:]


def _segment(num_steps: int) -> int:
    """The divisor of K nearest to √K, K itself where K is small."""
    if num_steps <= PLAIN_STEPS:
        return num_steps
    divisors = [n for n in range(1, num_steps + 1) if num_steps % n == 0]
    return min(divisors, key=lambda n: abs(n - num_steps**0.5))
