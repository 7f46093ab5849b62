"""Unrolls with Adam as the policy, against a hand-written jitted scan of the same training."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import learned
import opt_gym
from benchmarks import _pes
from opt_gym.records import Data, Env, LearnedOptimizer, Task

STEPS, ROUNDS, LEARNING_RATE = 2000, 9, 0.003
CHECKED, TOLERANCE = 20, 1e-5
"""So many first losses agree so well; later a rounding in the last digit grows to percents."""

ADAM = optax.adam(LEARNING_RATE)


def alone() -> dict[str, Any]:
    """Both, in this process."""
    return run()


def run() -> dict[str, Any]:
    """Both on one device, calls in turn; ratio is our time over the plain loop's.

    Raises:
        RuntimeError: with the same weights and batches the two do not train alike.
    """
    task = opt_gym.make_task(_pes.task(64))
    adam = learned.make("adam", learning_rate=LEARNING_RATE)
    env = opt_gym.make(
        task, learned_optimizer=adam, data="embedded", normalizer=_pes.NORMALIZER
    )
    data = opt_gym.load_data(env)
    check_alike(env, adam, data)
    ours, theirs = _ours(env, adam, data), _plain(task)
    for call in (ours, theirs):
        call()  # compiles
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        for name, call in (("ours", ours), ("plain", theirs)):
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(times["ours"], times["plain"], strict=True)]
    return {
        "inner_steps_per_s": STEPS / statistics.median(times["ours"]),
        "baseline_inner_steps_per_s": STEPS / statistics.median(times["plain"]),
        "ratio": statistics.median(ratios),
    }


def check_alike(env: Env, adam: LearnedOptimizer, data: Data) -> float:
    """The largest relative difference of the first losses, same weights and batches.

    Raises:
        RuntimeError: it is above the tolerance.
    """
    key, theta = jax.random.key(1), adam.init_theta(jax.random.key(0))
    state = opt_gym.start(key, env, adam, theta, data, STEPS)
    _, out = opt_gym.unroll(env, adam, theta, data, state, CHECKED)
    replayed = opt_gym.replay(env.task, data, key)
    params, state, losses = replayed.params, ADAM.init(replayed.params), []
    for t in range(CHECKED + 1):
        batch = replayed.batch(t)
        x = batch.inputs.reshape(len(batch.inputs), -1)
        y = jax.nn.one_hot(batch.targets, 10)
        params, state, loss = _plain_step(params, state, x, y)
        losses.append(loss)
    # An environment's first loss is that after one step, on the next batch.
    worst = float(np.max(np.abs(np.asarray(out.loss) / np.asarray(losses[1:]) - 1)))
    if not worst <= TOLERANCE:
        raise RuntimeError(f"losses of the first {CHECKED} steps differ by {worst:.2g}")
    return worst


def _ours(env: Env, adam: LearnedOptimizer, data: Data) -> Callable[[], float]:
    theta = adam.init_theta(jax.random.key(0))

    @jax.jit
    def rollout(key: Any, data: Any) -> Any:
        state = opt_gym.start(key, env, adam, theta, data, STEPS)
        _, out = opt_gym.unroll(env, adam, theta, data, state, STEPS)
        return out.loss[-100:].mean()

    return lambda: float(rollout(jax.random.key(1), data))


def _plain_step(params: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """What one would write by hand: value_and_grad, optax.adam."""

    def loss_fn(params: Any) -> Any:
        w1, b1, w2, b2 = params
        logits = jax.nn.relu(x @ w1 + b1) @ w2 + b2
        return -(jax.nn.log_softmax(logits) * y).sum(-1).mean()

    loss, grad = jax.value_and_grad(loss_fn)(params)
    updates, state = ADAM.update(grad, state, params)
    return optax.apply_updates(params, updates), state, loss


def _plain(task: Task) -> Callable[[], float]:
    """A scan of `_plain_step`, with batches of its own."""
    train = task.load_data("embedded")["train"]
    inputs = jnp.asarray(train.images.reshape(len(train.images), -1), jnp.float32) / 255
    targets = jax.nn.one_hot(train.labels, 10)
    params, _ = task.init(jax.random.key(1), {})

    @jax.jit
    def rollout(params: Any, key: Any, x: Any, y: Any) -> Any:
        def body(carry: Any, _: None) -> Any:
            params, state, key = carry
            key, k_batch = jax.random.split(key)
            index = jax.random.randint(k_batch, (128,), 0, x.shape[0])
            params, state, loss = _plain_step(params, state, x[index], y[index])
            return (params, state, key), loss

        carry = (params, ADAM.init(params), key)
        return jax.lax.scan(body, carry, None, length=STEPS)[1][-100:].mean()

    return lambda: float(rollout(params, jax.random.key(2), inputs, targets))
