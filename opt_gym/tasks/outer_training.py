"""Training a learned optimizer, as a task: φ are the weights θ of a small one."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from numpy.random import RandomState

from opt_gym import plugins, policy
from opt_gym.plugins import Spec
from opt_gym.records import Batch, Config, Data, LearnedOptimizer, Signal, Task
from opt_gym.tasks.building import config_checks, layers, samplers
from opt_gym.tasks.building.model import no_data

FAMILY = "outer_training"
KEYS = (
    *("architecture", "settings", "estimator", "num_steps", "num_unrolls"),
    *("inputs", "hidden", "batch_size"),
)
OPTIONAL = ("sigma",)
ESTIMATORS = ("backprop", "es")
SIGMA = 0.01
WORST = 4.0
"""What an unroll costs at most, in units of its first loss."""

SMALL_ARCHITECTURES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mlp", {"hidden": 8, "step_multiplier": 0.01}),
    ("adafactor_mlp", {"step_multiplier": 0.01}),
    ("nominal", {"hidden": 4}),
    ("lstm", {"scale": 0.03}),
)
"""What configs are drawn from: some with random outputs at the start, one that is Adam."""


def sample_config(seed: int) -> Config:
    """A config of our own: unrolls of 5-40 steps of nets of 4-16 units, 2-8 at a time."""
    rng = RandomState(seed)
    architecture, settings = samplers.pick(rng, SMALL_ARCHITECTURES)
    estimator = samplers.pick(rng, ESTIMATORS)
    return {
        "architecture": architecture,
        "settings": dict(settings),
        "estimator": estimator,
        "num_steps": samplers.log_int(rng, 5, 40),
        "num_unrolls": samplers.pick(rng, (2, 4, 8)),
        "inputs": samplers.pick(rng, (2, 4, 8)),
        "hidden": samplers.log_int(rng, 4, 16),
        "batch_size": samplers.log_int(rng, 8, 64),
        **({"sigma": SIGMA} if estimator == "es" else {}),
    }


def build(config: Config) -> Task:
    """loss(θ) = the mean over `num_unrolls` unrolls and their steps of loss_t / loss_0.

    An unroll trains a net `inputs` -> `hidden` -> 1 (tanh) for `num_steps` steps of the
    `architecture` on a teacher of the same form, both drawn anew, as every batch is; it
    counts at most 4. Its gradient is "backprop"'s through all steps, or "es", an estimate
    with one antithetic pair an unroll, ε(L₊ − L₋)/(2σ²), where the loss is the mean of both.
    φ are the leaves of θ. There is no data.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    Source: ours; the outer-loss of Metz et al. 2019, arXiv 1810.10180, made small.
    """
    config = _checked(config)
    with config_checks.inside(FAMILY):
        optimizer: LearnedOptimizer = plugins.build(
            "architecture", config["architecture"], config["settings"]
        )
    outline = policy.theta_like(optimizer)
    like = jax.tree.structure(outline)

    def init(key: PRNGKeyArray, data: Data) -> tuple[tuple[Array, ...], Any]:
        return tuple(jax.tree.leaves(optimizer.init_theta(key))), ()

    def mean_loss(key: PRNGKeyArray, theta: PyTree) -> Float[Array, ""]:
        keys = jax.random.split(key, config["num_unrolls"])
        return jnp.mean(jax.vmap(lambda k: unroll(k, optimizer, theta, config))(keys))

    def loss(
        key: PRNGKeyArray, params: tuple[Array, ...], instance: Any, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        theta = jax.tree.unflatten(like, params)
        if config["estimator"] == "backprop":
            return mean_loss(key, theta), {}
        return evolved(key, theta, optimizer, config), {}

    return Task(
        config={"family": FAMILY, **config},
        batch_size=config["num_unrolls"],
        dataset="none",
        input_kind="none",
        loss_floor=0.0,
        roles=tuple(
            "kernel" if leaf.ndim > 1 else "bias" for leaf in jax.tree.leaves(outline)
        ),
        load_data=no_data,
        init=init,
        sample_batch=lambda key, data, instance, split: Batch(None, None),
        loss=loss,
        constrain=lambda params: params,
    )


def evolved(
    key: PRNGKeyArray, theta: PyTree, optimizer: LearnedOptimizer, config: Config
) -> Float[Array, ""]:
    """The mean loss of antithetic pairs, whose derivative is their estimate of the gradient.

    Args:
        key: of unrolls and perturbations.
        theta: θ.
        optimizer, config: of the task.
    """
    sigma, fixed = config["sigma"], jax.lax.stop_gradient(theta)

    def pair(key: PRNGKeyArray) -> tuple[Array, PyTree]:
        k_unroll, k_noise = jax.random.split(key)
        leaves, like = jax.tree.flatten(fixed)
        keys = jax.random.split(k_noise, len(leaves))
        noise = [
            sigma * jax.random.normal(k, leaf.shape)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        above, below = (
            unroll(
                k_unroll,
                optimizer,
                jax.tree.unflatten(
                    like, [x + sign * e for x, e in zip(leaves, noise, strict=True)]
                ),
                config,
            )
            for sign in (1.0, -1.0)
        )
        slope = (above - below) / (2.0 * sigma**2)
        estimate = jax.tree.unflatten(like, [slope * e for e in noise])
        return 0.5 * (above + below), estimate

    values, estimates = jax.vmap(pair)(jax.random.split(key, config["num_unrolls"]))
    products = jax.tree.map(
        lambda estimate, leaf: jnp.sum(jnp.mean(estimate, axis=0) * leaf),
        estimates,
        theta,
    )
    along = sum(jax.tree.leaves(products))
    return jax.lax.stop_gradient(jnp.mean(values) - along) + along


def unroll(
    key: PRNGKeyArray, optimizer: LearnedOptimizer, theta: PyTree, config: Config
) -> Float[Array, ""]:
    """Mean over steps of min(loss_t / loss_0, 4).

    Args:
        key: of teacher, start and batches.
        optimizer, theta: that train.
        config: of the task.
    """
    inputs, hidden = config["inputs"], config["hidden"]
    k_teacher, k_start, k_batches = jax.random.split(key, 3)
    teacher, start = (net(k, inputs, hidden) for k in (k_teacher, k_start))

    def loss_of(params: tuple[Array, ...], x: Array) -> Array:
        wanted, given = (layers.mlp(p, x, jnp.tanh) for p in (teacher, params))
        return jnp.mean((given - wanted) ** 2)

    def step(carried: Any, drawn: tuple[Array, Array]) -> tuple[Any, Array]:
        (params, memories), (t, k) = carried, drawn
        x = jax.random.normal(k, (config["batch_size"], inputs))
        loss, grad = jax.value_and_grad(loss_of)(params, x)
        told = jnp.ones((), bool)
        signal = Signal(
            params=params,
            grad=grad,
            loss=loss,
            has_loss=told,
            valid_loss=jnp.zeros(()),
            has_valid=~told,
            t=t,
            horizon=jnp.asarray(config["num_steps"]),
            ages=(t,) * len(params),
        )
        memories, deltas = policy.advance(optimizer, theta, memories, signal)
        return (jax.tree.map(jnp.add, params, deltas), memories), loss

    roles = ("kernel", "bias") * (len(start) // 2)
    memories = policy.begin(optimizer, theta, start, roles)
    times = jnp.arange(config["num_steps"])
    keys = jax.random.split(k_batches, config["num_steps"])
    _, losses = jax.lax.scan(step, (start, memories), (times, keys))
    shares = losses / jnp.maximum(jax.lax.stop_gradient(losses[0]), 1e-12)
    # NaN, too, is worse than anything.
    return jnp.mean(jnp.where(shares <= WORST, shares, WORST))


def net(key: PRNGKeyArray, inputs: int, hidden: int) -> tuple[Array, ...]:
    """Weights of a net inputs -> hidden -> 1.

    Args:
        key: of the draw, N(0, 1/fan_in).
        inputs, hidden: sizes.
    """
    k_first, k_last = jax.random.split(key)
    return (
        jax.random.normal(k_first, (inputs, hidden)) / math.sqrt(inputs),
        jnp.zeros(hidden),
        jax.random.normal(k_last, (hidden, 1)) / math.sqrt(hidden),
        jnp.zeros(1),
    )


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS, OPTIONAL)
    names = plugins.names("architecture")
    config_checks.check_choice(FAMILY, "architecture", config["architecture"], names)
    settings = config["settings"]
    is_dict = isinstance(settings, dict)
    config_checks.check(FAMILY, "settings", settings, is_dict, "a dict")
    config_checks.check_choice(FAMILY, "estimator", config["estimator"], ESTIMATORS)
    for key in ("num_steps", "num_unrolls", "inputs", "hidden", "batch_size"):
        config_checks.check_int(FAMILY, key, config[key], 1)
    has_sigma, evolves = "sigma" in config, config["estimator"] == "es"
    expected = "given with the estimator es, and only there"
    config_checks.check(
        FAMILY, "sigma", config.get("sigma"), has_sigma == evolves, expected
    )
    if has_sigma:
        config_checks.check_positive(FAMILY, "sigma", config["sigma"])
    return config


SPEC = Spec(
    kind="task",
    name=FAMILY,
    make=build,
    sample_config=sample_config,
    source="ours; after Metz et al. 2019, arXiv 1810.10180",
)
