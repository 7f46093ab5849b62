"""TaskSet's update rules: the original's trajectories, plain loops, and optax's rules."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
from learned.architectures.nadamw import schedule
from opt_gym.evaluation.search_spaces import SAMPLERS, SPACES
from tests.learned import golden, taskset_rules

CURVATURE = np.array([0.3, 0.9, 0.2, 1.5], np.float32)
OPTIMUM = np.array([-0.4, -2.0, 1.4, 0.1], np.float32)
START = np.array([0.5, 0.7, -0.3, 0.0], np.float32)


def trajectories(
    optimizer, theta, *, horizon, first: Any = 0, num_steps=20, problem=None
):
    """The weights after each step of the optax transformations of a stacked θ."""
    curvature, optimum, start = problem or (CURVATURE, OPTIMUM, START)

    def one(theta, first):
        tx: Any = learned.to_optax(optimizer, theta, horizon=horizon)

        def step(carry, _):
            params, state = carry
            grad = curvature * (params - optimum)
            updates, state = tx.update(grad, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        begin = jnp.asarray(start)
        state = tx.init(begin)._replace(t=first)
        return jax.lax.scan(step, (begin, state), length=num_steps)[1]

    theta = {k: jnp.asarray(v, jnp.float32) for k, v in theta.items()}
    count = len(theta["learning_rate"])
    first = jnp.broadcast_to(jnp.asarray(first, jnp.int32), (count,))
    return np.asarray(jax.jit(jax.vmap(one))(theta, first))


def stacked(optimizer, rows):
    """θ with a leading axis from its entries, the rest being the optimizer's own."""
    initial = {k: float(v) for k, v in optimizer.init_theta(jax.random.key(0)).items()}
    return {k: [row.get(k, value) for row in rows] for k, value in initial.items()}


def of_space(name):
    space = SPACES[name]
    return learned.make(space.architecture, **space.options), space


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_original_s_trajectories(name):
    content = golden.read("optimizer_trajectories.json")
    problem = [np.array(content["problem"][k], np.float32) for k in ("c", "t", "x0")]
    runs = [r for r in content["runs"] if r["name"].rpartition("_seed")[0] == name]
    assert len(runs) >= 20
    optimizer, space = of_space(name)
    expected = np.array([run["x"] for run in runs])
    found = trajectories(
        optimizer,
        stacked(optimizer, [space.theta(run["config"]) for run in runs]),
        horizon=runs[0]["kwargs"].get("training_steps", 10_000),
        first=[run["start_step"] for run in runs],
        num_steps=expected.shape[1],
        problem=problem,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)


NADAMW = {
    "learning_rate": 0.1,
    "one_minus_b1": 0.1,
    "one_minus_b2": 0.01,
    "epsilon": 1e-3,
    "use_nesterov": 1.0,
    "adamw_weight_decay": 0.03,
    "l2_weight_decay": 0.05,
    "warmup_fraction": 0.3,
    "min_learning_rate_mult": 0.2,
    "constant_fraction": 0.1,
}
ADAM8P = {
    "learning_rate": 0.1,
    "one_minus_b1": 0.2,
    "one_minus_b2": 1e-5,
    "epsilon": 1e-4,
    "l1": 0.02,
    "l2": 0.03,
    "linear_decay": 1e-5,
    "exponential_decay": 3e-4,
}


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize(("name", "theta"), [("nadamw", NADAMW), ("adam8p", ADAM8P)])
def test_rules_are_the_plain_loops(name, theta, faithful):
    """Over 30 steps of 40, so that every part of a schedule is passed."""
    plain = {**theta, "learning_rate": 0.02}
    optimizer = learned.make(name, faithful=faithful)
    found = trajectories(
        optimizer, stacked(optimizer, [theta, plain]), horizon=40, num_steps=30
    )
    for reached, own in zip(found, (theta, plain), strict=True):
        rule = getattr(taskset_rules, name)(own, 40, faithful)
        expected = taskset_rules.loop(
            rule, lambda x: CURVATURE * (x - OPTIMUM), START, 30
        )
        np.testing.assert_allclose(reached, expected, rtol=1e-3, atol=1e-5)


def test_each_fault_of_nadamw_is_in_the_faithful_form_alone():
    """Where a setting touches none of the three faults, both forms are one."""
    harmless = {
        **NADAMW,
        "use_nesterov": 0.0,
        "l2_weight_decay": 0.0,
        "warmup_fraction": 0.1,
    }
    touched = ("use_nesterov", "l2_weight_decay", "warmup_fraction")
    rows = [harmless, *({**harmless, key: NADAMW[key]} for key in touched)]
    found = [
        trajectories(optimizer, stacked(optimizer, rows), horizon=40)
        for optimizer in (learned.make("nadamw", faithful=f) for f in (True, False))
    ]
    differences = np.abs(found[0] - found[1]).max((1, 2))
    assert differences[0] == 0.0
    assert np.all(differences[1:] > 1e-3)


def follow(tx, num_steps=12):
    """The weights after each step of an optax transformation."""

    def step(carry, _):
        params, state = carry
        grad = jnp.asarray(CURVATURE) * (params - OPTIMUM)
        updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    begin = jnp.asarray(START)
    return jax.jit(
        lambda: jax.lax.scan(step, (begin, tx.init(begin)), length=num_steps)[1]
    )()


def to_optax(name, horizon=None, **config):
    optimizer = learned.make(name, **config)
    theta = optimizer.init_theta(jax.random.key(0))
    return learned.to_optax(optimizer, theta, horizon=horizon)


def cosine(count):
    """A rate of 0.05 that is constant for 2 of 20 steps and falls to a tenth."""
    share = jnp.maximum(count - 2, 0) / 18
    return 0.05 * (0.9 * (0.5 + 0.5 * jnp.cos(jnp.pi * share)) + 0.1)


TINY = 1e-30  # An ε that does not count is the same inside and outside of a correction.
COSINE: dict[str, Any] = {
    "horizon": 20,
    "learning_rate": 0.05,
    "epsilon": TINY,
    "constant_fraction": 0.1,
    "min_learning_rate_mult": 0.1,
}


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (
            to_optax("tf_adam", learning_rate=0.05, epsilon=TINY),
            optax.adam(0.05, eps=TINY),
        ),
        (
            to_optax("adagrad", learning_rate=0.3, initial_accumulator_value=0.2),
            optax.adagrad(0.3, initial_accumulator_value=0.2, eps=0.0),
        ),
        (
            to_optax("adam8p", 20, learning_rate=0.05, epsilon=0.01, l2=0.1),
            optax.chain(
                optax.add_decayed_weights(0.2),
                optax.adam(0.05, eps=0.01, eps_root=1e-10),
            ),
        ),
        (
            to_optax("nadamw", use_nesterov=0.0, l2_weight_decay=0.1, **COSINE),
            optax.chain(optax.add_decayed_weights(0.1), optax.adam(cosine, eps=TINY)),
        ),
        # Without memory there is no bias, so that weight decay and Nesterov's step agree.
        (
            to_optax(
                "nadamw",
                one_minus_b1=1.0,
                one_minus_b2=1.0,
                adamw_weight_decay=0.3,
                **COSINE,
            ),
            optax.nadamw(cosine, b1=0.0, b2=0.0, eps=TINY, weight_decay=0.3),
        ),
    ],
    ids=["tf_adam", "adagrad", "adam8p", "nadamw-l2", "nadamw-decay"],
)
def test_where_they_coincide_with_optax(ours, reference):
    np.testing.assert_allclose(follow(ours), follow(reference), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("warmup", "constant", "t", "corrected", "faithful"),
    [
        (0.0, 0.2, 0, 1.0, 1.0),
        (0.0, 0.2, 20, 1.0, 1.0),
        (0.0, 0.2, 60, 0.55, 0.55),  # half way from 1 to 0.1
        (0.0, 0.2, 100, 0.1, 0.1),
        (0.0, 0.2, 150, 0.1, 0.1),
        (0.1, 0.2, 5, 0.25, 0.5),  # until 20, or until 10
        (0.1, 0.2, 10, 0.5, 1.0),
        (0.1, 0.2, 60, 0.55, 0.55),
        (0.5, 0.0, 25, 0.5, 0.1 + 0.9 * (0.5 + 0.5 * np.cos(np.pi / 4))),
        (0.0, 1.0, 99, 1.0, 1.0),  # no cosine at all
        (0.0, 1.0, 100, 1.0, 1.0),
    ],
)
def test_the_schedule_by_hand(warmup, constant, t, corrected, faithful):
    theta = {
        "learning_rate": jnp.float32(2.0),
        "warmup_fraction": jnp.float32(warmup),
        "constant_fraction": jnp.float32(constant),
        "min_learning_rate_mult": jnp.float32(0.1),
    }
    rates = [schedule(theta, t, 100, faithful=f) for f in (False, True)]
    np.testing.assert_allclose(rates, [2 * corrected, 2 * faithful], rtol=1e-5)


def test_decays_of_adam8p_are_stretched_to_the_run():
    """Half way through 100 steps: 1 − 5,000 · 1e-4 = 0.5; faithful: 1 − 50 · 1e-4."""
    steps = {}
    for faithful in (False, True):
        optimizer = learned.make("adam8p", linear_decay=1e-4, faithful=faithful)
        theta = stacked(optimizer, [{}])
        (found,) = trajectories(optimizer, theta, horizon=100, first=50, num_steps=1)
        steps[faithful] = np.abs(found[0] - START)
    np.testing.assert_allclose(steps[False], 0.001 * 0.5, rtol=1e-3)
    np.testing.assert_allclose(steps[True], 0.001 * 0.995, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("nadamw", {"warmup_fraction": 1.5}, r"warmup_fraction must be in \[0, 1\]"),
        ("nadamw", {"constant_fraction": -1}, r"constant_fraction .*got -1"),
        (
            "adagrad",
            {"initial_accumulator_value": 0.0},
            "must be a number > 0, got 0.0",
        ),
    ],
)
def test_settings_that_cannot_be(name, config, message):
    with pytest.raises(ValueError, match=message):
        learned.make(name, **config)


@pytest.mark.parametrize("name", ["nadamw", "adam8p"])
def test_a_schedule_needs_the_number_of_steps(name):
    optimizer = learned.make(name)
    theta = optimizer.init_theta(jax.random.key(0))
    with pytest.raises(ValueError, match=f"'{name}' needs horizon="):
        learned.to_optax(optimizer, theta)
