"""Truncated backprop through the MLP of 2019, beside the flat PES prototype; and its memory."""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

import agents
import learned
import opt_gym
from benchmarks import _pes
from benchmarks._outer_steps import stepper

NUM_PROBLEMS, TRUNC_LENGTH = 8, 20


def environment(second_derivatives: bool) -> tuple[Any, Any]:
    """(learned optimizer, env): the network that the PES benchmarks train, 2,410 weights."""
    optimizer = learned.make("mlp")
    env = opt_gym.make(
        _pes.task(64),
        learned_optimizer=optimizer,
        data="embedded",
        normalizer=_pes.NORMALIZER,
        second_derivatives=second_derivatives,
    )
    return optimizer, env


def steps_per_second(second_derivatives: bool, repeats: int = 30) -> dict[str, float]:
    """Inner steps a second, and seconds to the first update."""
    began = time.perf_counter()
    optimizer, env = environment(second_derivatives)
    trainer = agents.make(
        "backprop",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(3e-4),
        num_problems=NUM_PROBLEMS,
        trunc_length=TRUNC_LENGTH,
        horizon=1000,
    )
    step = stepper(trainer, (opt_gym.load_data(env),), before=1)
    first = time.perf_counter() - began
    step()  # warm
    rate = statistics.median(step().rate for _ in range(repeats))
    return {"inner_steps_per_s": rate, "first_update_s": first}


def temporary_bytes(length: int, second_derivatives: bool = True) -> int:
    """What backprop through an unroll of so many steps needs beside its arguments."""
    optimizer, env = environment(second_derivatives)
    data = opt_gym.load_data(env)

    def loss(theta: Any, key: Any, data: Any) -> Any:
        state = opt_gym.start(key, env, optimizer, theta, data, length)
        state, out = opt_gym.unroll(
            env, optimizer, theta, data, state, length, remat=True
        )
        return jnp.mean(out.loss)

    theta = optimizer.init_theta(jax.random.key(0))
    compiled = jax.jit(jax.grad(loss)).lower(theta, jax.random.key(0), data).compile()
    found = compiled.memory_analysis()
    return int(found.temp_size_in_bytes) if found else 0


def alone() -> dict[str, Any]:
    """Inner steps a second and seconds to the first update, without second derivatives."""
    return steps_per_second(second_derivatives=False)


def run() -> dict[str, Any]:
    """All figures; the prototype's in the same minute."""
    result: dict[str, Any] = {}
    for second in (False, True):
        found = steps_per_second(second)
        label = "with" if second else "without"
        result[f"{label}_second_derivatives"] = found
        if _pes.PROTOTYPE.exists():
            shard = _pes.prototype(64, 64)
            found["of_prototype_shard"] = found["inner_steps_per_s"] / shard
    sizes = {length: temporary_bytes(length) for length in (64, 256, 1024)}
    result["temporary_bytes"] = sizes
    result["memory_1024_over_64"] = sizes[1024] / sizes[64]
    return result
