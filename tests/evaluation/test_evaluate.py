"""Runs of an evaluation against what they must be."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
import opt_gym
from opt_gym.data.corruptions import Corruption
from opt_gym.env import normalized
from opt_gym.evaluation.evaluations import name_tasks
from opt_gym.evaluation.program import evaluation_steps
from opt_gym.evaluation.runs import EvaluationSettings
from opt_gym.records import Normalizer
from tests import toy
from tests.evaluation.made_up import TINY

NORMALIZER = Normalizer(2.3, 0.0, "given")


def test_curves_of_sgd_on_a_parabola_are_the_closed_form():
    both = opt_gym.evaluate(
        learned.make("sgd", learning_rate=0.1),
        {"parabola": toy.quadratic()},
        horizon=(40, 7),
        num_points=9,
        num_seeds=2,
        num_batches=2,
        normalizer=toy.NORMALIZER,
    )
    assert [one.horizon for one in both] == [40, 7]
    for found in both:
        horizon = found.horizon
        expected = np.stack([0.5 * 0.9 ** (2.0 * found.inner_steps)] * 2)
        for curves in (
            found.train_loss,
            found.valid_loss,
            found.test_loss,
            found.costs,
        ):
            np.testing.assert_allclose(curves, expected, rtol=1e-5)
        mean_cost = toy.outer_loss(0.1, horizon)
        np.testing.assert_allclose(found.mean_cost, mean_cost, rtol=1e-5)
        assert found.task == "parabola"
        assert found.inner_steps[-1] == horizon
        assert np.all(np.isnan(found.accuracy))
        assert not found.diverged.any()
        assert 0 < found.seconds[1] < found.seconds[-1] < 1


@pytest.mark.parametrize("decay", [None, "cosine"])
def test_adam_equals_a_plain_loop_on_the_replayed_batches(decay):
    (found,) = opt_gym.evaluate(
        learned.make("adam", learning_rate=0.01, decay=decay),
        TINY,
        horizon=12,
        num_seeds=3,
        num_points=4,
        data="embedded",
        normalizer=NORMALIZER,
    )
    task = opt_gym.make_task(TINY)
    data = task.load_data("embedded")
    rate = optax.cosine_decay_schedule(0.01, 12) if decay else 0.01
    transformation = optax.adam(rate)

    @jax.jit
    def plain_loop(key):
        episode = opt_gym.replay(task, data, key)

        def step(carry, t):
            params, state = carry
            gradient = jax.value_and_grad(task.loss, argnums=1, has_aux=True)
            (loss, _), grad = gradient(
                episode.loss_key(t), params, episode.instance, episode.batch(t)
            )
            updates, state = transformation.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), loss

        start = (episode.params, transformation.init(episode.params))
        return jax.lax.scan(step, start, jnp.arange(13))[1]

    for seed, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        costs = normalized(NORMALIZER, plain_loop(key))[1:]
        assert found.mean_cost[seed] == pytest.approx(float(costs.mean()), rel=1e-5)
    assert np.all((found.accuracy >= 0) & (found.accuracy <= 1))
    assert np.all(found.train_loss[:, -1] < found.train_loss[:, 0])


def test_a_diverging_variant_costs_two_and_leaves_the_others_alone():
    # |φ| grows by 2 a step at rate 3 and dies above 5, after step 3.
    task = {"fragile": toy.quadratic(dies_above=5.0)}
    settings = EvaluationSettings(
        horizon=10, num_points=11, num_seeds=2, normalizer=toy.NORMALIZER
    )._asdict()
    sgd = learned.make("sgd")
    rates = {"learning_rate": jnp.array([0.1, 3.0, 1e6])}
    good, bad, worst = opt_gym.evaluate(
        sgd, task, rates, variants=["0.1", "3", "1e6"], **settings
    )
    assert [one.optimizer for one in (good, bad, worst)] == [
        "sgd 0.1",
        "sgd 3",
        "sgd 1e6",
    ]
    assert bad.diverged.all()
    assert worst.diverged.all()
    assert not good.diverged.any()
    np.testing.assert_allclose(good.mean_cost, toy.outer_loss(0.1, 10), rtol=1e-5)
    # Losses 2 and 8 of steps 1 and 2 are clipped at 2 as well.
    np.testing.assert_array_equal(bad.mean_cost, 2.0)
    np.testing.assert_array_equal(worst.mean_cost, 2.0)
    assert np.all(np.isfinite(bad.costs))
    np.testing.assert_array_equal(bad.costs[:, -1], 2.0)
    np.testing.assert_allclose(bad.train_loss[:, :3], [[0.5, 2.0, 8.0]] * 2)


def test_noisy_losses_are_those_of_corrupted_inputs():
    (found,) = opt_gym.evaluate(
        learned.make("adam", learning_rate=0.01),
        {"tiny": TINY},
        objective="noisy",
        corruption=(Corruption("gaussian", 0.8),),
        horizon=300,
        num_points=2,
        num_seeds=2,
        data="embedded",
        normalizer=NORMALIZER,
    )
    assert found.objective_loss.shape == found.train_loss.shape
    assert np.all(found.objective_loss[:, -1] > found.train_loss[:, -1])
    np.testing.assert_allclose(
        found.costs, np.clip(found.objective_loss / 2.3, -2, 2), rtol=1e-6
    )


def test_an_optax_transformation_is_told_the_loss():
    def update(updates, state, params=None, *, value, **_):
        return jax.tree.map(lambda g: -0.1 * value * g, updates), state

    by_loss = optax.GradientTransformationExtraArgs(
        lambda params: (),
        update,  # pyright: ignore[reportArgumentType]
    )
    (found,) = opt_gym.evaluate(
        by_loss,
        {"parabola": toy.quadratic()},
        name="by loss",
        horizon=3,
        num_points=4,
        num_seeds=1,
        normalizer=toy.NORMALIZER,
    )
    x, losses = 1.0, []
    for _ in range(4):
        losses.append(0.5 * x * x)
        x -= 0.1 * losses[-1] * x
    assert found.optimizer == "by loss"
    np.testing.assert_allclose(found.train_loss[0], losses, rtol=1e-5)


def test_from_optax_keeps_the_types_of_a_state_with_python_numbers():
    def init(params):
        return {"count": 0}

    def update(updates, state, params=None):
        count = state["count"] + 1
        return jax.tree.map(lambda g: -g / count, updates), {"count": count}

    (found,) = opt_gym.evaluate(
        optax.GradientTransformation(init, update),
        {"parabola": toy.quadratic()},
        horizon=2,
        num_points=3,
        num_seeds=1,
        normalizer=toy.NORMALIZER,
    )
    np.testing.assert_allclose(found.train_loss[0], [0.5, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"expected an optax\.GradientTransformation"):
        opt_gym.from_optax(lambda x: x)  # type: ignore[arg-type]


@pytest.mark.parametrize("horizon", [1, 2, 7, 49, 50, 51, 100, 1000, 5000])
@pytest.mark.parametrize("spacing", ["log", "even"])
@pytest.mark.parametrize("num_points", [2, 3, 50])
def test_evaluation_steps(horizon, spacing, num_points):
    steps = evaluation_steps(horizon, num_points, spacing)
    assert len(steps) == min(num_points, horizon + 1)
    assert steps[0] == 0
    assert steps[-1] == horizon
    assert np.all(np.diff(steps) >= 1)
    if spacing == "log" and horizon >= 100 and num_points == 50:
        assert steps[1] == 1
        ratios = steps[-10:] / steps[-11:-1]
        assert ratios.max() / ratios.min() < 1.1
    if spacing == "even":
        assert np.ptp(np.diff(steps)) <= 1


def test_names_of_tasks():
    named = name_tasks(["OptTask-mlp-v0", "opt_gym:OptTask-quadratic-v0", TINY])
    assert list(named) == ["mlp", "quadratic", "small_mlp 2"]
    assert list(name_tasks("mlp")) == ["mlp"]
    assert list(name_tasks(TINY)) == ["small_mlp 0"]
    with pytest.raises(ValueError, match="'mlp' is listed twice"):
        name_tasks(["mlp", "OptTask-mlp-v0"])
    with pytest.raises(ValueError, match="at least one task"):
        name_tasks([])
    with pytest.raises(ValueError, match="at least one task"):
        name_tasks({})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be an integer >= 1, got 0"),
        ({"num_points": 1}, "num_points must be an integer >= 2, got 1"),
        ({"spacing": "lin"}, "unknown spacing: 'lin'"),
        ({"num_seeds": 0}, "num_seeds must be an integer >= 1, got 0"),
        ({"num_batches": 0}, "num_batches must be an integer >= 1, got 0"),
        *(
            ({"horizon": odd}, "horizon must be")
            for odd in (1.5, [], [2.5], "x", 2**31)
        ),
        ({"num_points": math.nan}, "num_points must be an integer >= 2, got nan"),
        ({"valid_every": 2**31}, "valid_every must be an integer"),
        ({"data": "x"}, "unknown data: 'x'"),
        ({"objective": "best"}, "unknown objective"),
        ({"variants": ["a", "b"]}, r"leading axis of 2.*shape \(\)"),
    ],
)
def test_bad_settings(settings, message):
    sgd = learned.make("sgd")
    with pytest.raises(ValueError, match=message):
        opt_gym.evaluate(sgd, {"parabola": toy.quadratic()}, **settings)


@pytest.mark.parametrize("horizon", [np.int64(3), np.array([2, 3]), (2, np.int32(3))])
def test_horizons_of_numpy(horizon):
    sgd = learned.make("sgd")
    task = {"parabola": toy.quadratic()}
    runs = opt_gym.evaluate(sgd, task, horizon=horizon, num_seeds=1)
    assert runs[-1].horizon == 3
