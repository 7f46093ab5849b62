"""Tasks whose outer-gradient can be worked out by hand."""

import jax
import jax.numpy as jnp
import optax

import agents
import learned
import opt_gym
from opt_gym.records import Batch, Normalizer, Task

CURVATURE = 1.0
NORMALIZER = Normalizer(1.0, 0.0, "given")  # cost = loss


def quadratic(
    size: int = 1, *, dies_above: float = jnp.inf, noise: float = 0.0
) -> Task:
    """loss(φ) = ½ |φ|² from φ₀ = 1 (plus noise·z·φ); NaN where |φ| > dies_above."""

    def loss(key, params, instance, batch):
        (x,) = params
        value = 0.5 * CURVATURE * jnp.sum(x * x)
        value = value + noise * jax.random.normal(key) * jnp.sum(x)
        return jnp.where(jnp.max(jnp.abs(x)) > dies_above, jnp.nan, value), {}

    return Task(
        config={},
        batch_size=0,
        dataset="none",
        input_kind="none",
        loss_floor=0.0,
        roles=("kernel",),
        load_data=lambda source: {},
        init=lambda key, data: ((jnp.ones(size),), ()),
        sample_batch=lambda key, data, instance, split: Batch((), ()),
        loss=loss,
        constrain=lambda params: params,
    )


def sgd_env(task: Task, *, learning_rate: float = 0.1):
    """(env, learned optimizer, θ): SGD whose learning rate is θ."""
    optimizer = learned.make("sgd", learning_rate=learning_rate)
    env = opt_gym.make(
        task,
        learned_optimizer=optimizer,
        normalizer=NORMALIZER,
        second_derivatives=True,
    )
    return env, optimizer, optimizer.init_theta(jax.random.key(0))


def trainer_whose_tasks_take_turns(live: int = 1, *, num_pairs: int = 2):
    """(PES on quadratics of 2, 3, ... weights; their data), one more of them than are live.

    They change after outer steps 4, 8, ...; an outer step takes all that are live, and an
    episode has one or two windows.
    """
    envs = [sgd_env(quadratic(size, noise=0.1))[0] for size in range(2, live + 3)]
    trainer = agents.make(
        "pes",
        envs=agents.task_mix(envs, per_step=live, max_programs=live, refresh_every=4),
        learned_optimizer=sgd_env(quadratic())[1],
        outer_optimizer=optax.adam(1e-2),
        num_pairs=num_pairs,
        trunc_length=2,
        horizon=(2, 4),
        sigma=0.05,
    )
    return trainer, [{} for _ in envs]


def outer_loss(learning_rate, horizon: int):
    """mean_t ½ (1 − lr)^2t, t = 1 … T: the outer-loss of SGD on `quadratic()`, by hand."""
    steps = jnp.arange(1, horizon + 1)
    return jnp.mean(0.5 * (1 - learning_rate * CURVATURE) ** (2 * steps))


def outer_gradient(learning_rate: float, horizon: int) -> float:
    """Its derivative: mean_t −t (1 − lr)^(2t−1)."""
    steps = jnp.arange(1, horizon + 1)
    return float(jnp.mean(-steps * (1 - learning_rate * CURVATURE) ** (2 * steps - 1)))
