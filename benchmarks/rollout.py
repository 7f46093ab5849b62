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
from opt_gym.records import Task

STEPS, ROUNDS, LEARNING_RATE = 2000, 9, 0.003


def alone() -> dict[str, Any]:
    """Both, in this process."""
    return run()


def run() -> dict[str, Any]:
    """Both on one device, calls in turn; ratio is our time over the plain loop's."""
    task = opt_gym.make_task(_pes.task(64))
    ours, theirs = _ours(task), _plain(task)
    np.testing.assert_allclose(ours(), theirs(), rtol=2e-2)  # the same training
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


def _ours(task: Task) -> Callable[[], float]:
    adam = learned.make("adam", learning_rate=LEARNING_RATE)
    theta = adam.init_theta(jax.random.key(0))
    env = opt_gym.make(
        task, learned_optimizer=adam, data="embedded", normalizer=_pes.NORMALIZER
    )
    data = opt_gym.load_data(env)

    @jax.jit
    def rollout(key: Any, data: Any) -> Any:
        state = opt_gym.start(key, env, adam, theta, data, STEPS)
        _, out = opt_gym.unroll(env, adam, theta, data, state, STEPS)
        return out.loss[-100:].mean()

    return lambda: float(rollout(jax.random.key(1), data))


def _plain(task: Task) -> Callable[[], float]:
    """What one would write by hand: value_and_grad, optax.adam, a scan."""
    adam = optax.adam(LEARNING_RATE)
    train = task.load_data("embedded")["train"]
    inputs = jnp.asarray(train.images.reshape(len(train.images), -1), jnp.float32) / 255
    targets = jax.nn.one_hot(train.labels, 10)
    params, _ = task.init(jax.random.key(1), {})

    def loss_fn(params: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2 = params
        logits = jax.nn.relu(x @ w1 + b1) @ w2 + b2
        return -(jax.nn.log_softmax(logits) * y).sum(-1).mean()

    @jax.jit
    def rollout(params: Any, key: Any, x: Any, y: Any) -> Any:
        def body(carry: Any, _: None) -> Any:
            params, state, key = carry
            key, k_batch = jax.random.split(key)
            index = jax.random.randint(k_batch, (128,), 0, x.shape[0])
            loss, grad = jax.value_and_grad(loss_fn)(params, x[index], y[index])
            updates, state = adam.update(grad, state, params)
            return (optax.apply_updates(params, updates), state, key), loss

        carry = (params, adam.init(params), key)
        return jax.lax.scan(body, carry, None, length=STEPS)[1][-100:].mean()

    return lambda: float(rollout(params, jax.random.key(2), inputs, targets))
