"""One episode, two ways: `start` and `unroll`, or `replay`.

The first run policy and environment in one scan; `replay` hands the same weights, batches
and keys to a plain training loop.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from opt_gym.answers import answer
from opt_gym.env import check_told, split_reset_key, stream_keys
from opt_gym.numerics import with_fixed_numerics
from opt_gym.records import Data, Env, LearnedOptimizer, StepOut, Task, UnrollState

PLAIN_STEPS = 64
"""Up to so many steps `unroll(remat=True)` keeps every state (each step is recomputed once).
Longer ones are cut into about √K segments of √K steps, which are recomputed twice: memory
grows as √K."""


@with_fixed_numerics
def start(
    key: PRNGKeyArray,
    env: Env,
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    data: Data,
    horizon: Int[Array, ""] | int,
) -> UnrollState:
    """Resets the environment and the learned optimizer's carry.

    Args:
        key: what an episode draws follows from it: φ, ψ and the batches.
        env, learned_optimizer: one made for the other, by `make(..., learned_optimizer=...)`.
        theta: θ, as `init_theta` of the learned optimizer gives it.
        data: of the environment, by `load_data`.
        horizon: inner steps until the episode is truncated.

    Raises:
        ValueError: the environment shows other features, or takes other actions, than the
            learned optimizer's.
    """
    check_compatible(env, learned_optimizer)
    state = env.reset(key, data, jnp.asarray(horizon, jnp.int32))
    carry = learned_optimizer.init(theta, state.params, env.task.roles)
    return UnrollState(state, carry)


@with_fixed_numerics
def unroll(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    data: Data,
    state: UnrollState,
    num_steps: int,
    *,
    remat: bool = False,
) -> tuple[UnrollState, StepOut]:
    """num_steps inner steps.

    Args:
        env, learned_optimizer, theta, data, state: what `start` was given and gave.
        num_steps: how many.
        remat: for who takes gradients: keep only the state of every step, and compute the
            rest again on the way back (on CPU this is faster, too); beyond 64 steps, only
            that of about every √num_steps-th.

    Returns:
        The state after them, and a StepOut whose fields have a leading axis [num_steps].

    Raises:
        ValueError: as `start`; num_steps < 1.
    """
    check_compatible(env, learned_optimizer)
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")

    def body(state: UnrollState, _: None) -> tuple[UnrollState, StepOut]:
        # `observe` at the top of the body: an observation in the scan's carry costs 10 %.
        signal, observation = env.observe(state.env)
        carry, action = answer(
            learned_optimizer, theta, state.carry, signal, observation
        )
        env_state, out = env.step(data, state.env, action)
        return UnrollState(env_state, carry), out

    body = jax.checkpoint(body, prevent_cse=False) if remat else body

    def steps(state: UnrollState, num: int) -> tuple[UnrollState, StepOut]:
        return jax.lax.scan(body, state, None, length=num)

    if remat and num_steps > PLAIN_STEPS:
        return _in_segments(steps, state, num_steps)
    return steps(state, num_steps)


def _in_segments(
    steps: Callable[[UnrollState, int], tuple[UnrollState, StepOut]],
    state: UnrollState,
    num_steps: int,
) -> tuple[UnrollState, StepOut]:
    """`steps(state, num_steps)` with memory for about 2√K states."""
    length = _segment(num_steps)
    count, rest = divmod(num_steps, length)
    segment = jax.checkpoint(lambda state, _: steps(state, length))
    state, out = jax.lax.scan(segment, state, None, length=count)
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


def check_compatible(env: Env, learned_optimizer: LearnedOptimizer) -> None:
    """Raises ValueError unless env has the learned optimizer's features and action map.

    So it does where env hides what the learned optimizer needs.
    """
    check_told(repr(learned_optimizer.name), learned_optimizer.needs, env.settings)
    pairs: list[tuple[str, Any, Any]] = [
        ("features", env.features, learned_optimizer.features),
        ("action map", env.action_map, learned_optimizer.action_map),
    ]
    for what, has, wants in pairs:
        if not _are_alike(has, wants):
            raise ValueError(
                f"this environment's {what} are {_shown(has)}, but the learned optimizer "
                f"{learned_optimizer.name!r} was made for {_shown(wants)}: make the "
                "environment with opt_gym.make(..., learned_optimizer=...)"
            )


def _are_alike(has: Any, wants: Any) -> bool:
    """By name and config; records that nobody named are alike where their functions are."""
    named = has.name or wants.name
    return (
        (has.name, has.config) == (wants.name, wants.config) if named else has == wants
    )


def _shown(record: Any) -> str:
    return f"{record.name!r} {record.config}" if record.name else "other, unnamed ones"


class Replay(NamedTuple):
    """The initial weights, the instance, and per inner step t the batch and the loss key.

    The loop that an episode of the same key runs:

        for t in range(horizon):
            loss, grad = value_and_grad(task.loss)(loss_key(t), params, instance, batch(t))
            params = task.constrain(params + update(grad))
    """

    params: PyTree
    instance: PyTree
    batch: Callable[[Int[Array, ""] | int], Any]
    loss_key: Callable[[Int[Array, ""] | int], PRNGKeyArray]


@with_fixed_numerics
def replay(task: Task, data: Data, key: PRNGKeyArray) -> Replay:
    """What the episode with this reset key sees, for a loop without the environment.

    Args:
        task, data: those of the environment.
        key: what `start` was given.
    """
    k_init, k_stream = split_reset_key(key)
    params, instance = task.init(k_init, data)

    def batch(t: Int[Array, ""] | int) -> Any:
        return task.sample_batch(
            stream_keys(k_stream, t).batch, data, instance, "train"
        )

    def loss_key(t: Int[Array, ""] | int) -> PRNGKeyArray:
        return stream_keys(k_stream, t).loss

    return Replay(params, instance, batch, loss_key)
