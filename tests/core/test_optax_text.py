"""optax optimizers as text, against optax itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import opt_gym
from opt_gym.adapters.foreign import from_optax
from opt_gym.adapters.optax_text import SCHEDULES, from_text, rate_factor
from tests import toy

SETTINGS = {"horizon": 20, "num_seeds": 2, "num_points": 3, "timed": False}


def losses(optimizer):
    (run,) = opt_gym.evaluate(
        optimizer,
        {"parabola": toy.quadratic(3, noise=0.1)},
        normalizer=toy.NORMALIZER,
        **SETTINGS,
    )
    return run


@pytest.mark.parametrize(
    ("text", "optimizer"),
    [
        ("adam(3e-2)", optax.adam(3e-2)),
        (
            "adamw(learning_rate=3e-2, weight_decay=1e-1)",
            optax.adamw(3e-2, weight_decay=0.1),
        ),
        (
            "sgd(cosine 0.1,momentum=0.9,nesterov=True)",
            optax.sgd(
                optax.cosine_decay_schedule(0.1, 20), momentum=0.9, nesterov=True
            ),
        ),
        ("prodigy", contrib.prodigy()),
        ("mechanize(adamw(constant 1.0))", contrib.mechanize(optax.adamw(1.0))),
    ],
)
def test_it_is_what_optax_makes(text, optimizer):
    mine, theirs = losses(from_text(text)), losses(optimizer)
    np.testing.assert_allclose(mine.step_losses, theirs.step_losses, rtol=1e-5)
    assert mine.optimizer == text


def test_an_average_is_measured_where_it_is_kept():
    mine = losses(from_text("schedule_free_adamw(3e-2)"))
    made = contrib.schedule_free_adamw(3e-2)
    hooked = losses(from_optax(made, evaluated=contrib.schedule_free_eval_params))
    trained = losses(made)
    np.testing.assert_allclose(mine.train_loss, hooked.train_loss, rtol=1e-5)
    np.testing.assert_allclose(mine.step_losses, trained.step_losses, rtol=1e-5)
    assert np.all(mine.train_loss[:, -1] != trained.train_loss[:, -1])
    np.testing.assert_array_equal(mine.train_loss[:, 0], trained.train_loss[:, 0])


def test_schedules_by_hand():
    at = jnp.array([0, 49, 99, 525, 1000])
    numbers = {
        name: np.asarray(rate_factor(at, 1000, *shape))
        for name, shape in SCHEDULES.items()
    }
    half = 0.5 * (1 + np.cos(np.pi * at / 1000))
    after = 0.5 * (1 + np.cos(np.pi * np.array([0, 0, 49 / 950, 0.5, 1.0])))
    np.testing.assert_allclose(numbers["constant"], 1.0)
    np.testing.assert_allclose(numbers["cosine"], half, atol=1e-6)
    np.testing.assert_allclose(numbers["warmup"], [0.02, 1, 1, 1, 1])
    rising = np.array([0.02, 1, 1, 1, 1])
    np.testing.assert_allclose(numbers["warmup_cosine"], rising * after, atol=1e-6)


def test_rates_are_one_program():
    policy = from_text("adam(cosine 1e-2)")
    theta = policy.init_theta(jax.random.key(0))
    assert {k: float(v) for k, v in theta.items()} == pytest.approx(
        {"learning_rate": 1e-2, "decayed": 1.0, "rising": 0.0}
    )
    rows = {k: jnp.stack([v, v]) for k, v in theta.items()}
    rows["decayed"] = jnp.array([1.0, 0.0])
    found = opt_gym.evaluate(
        policy,
        {"parabola": toy.quadratic()},
        rows,
        variants=("cosine", "constant"),
        normalizer=toy.NORMALIZER,
        **SETTINGS,
    )
    constant = losses_of_constant = opt_gym.evaluate(
        optax.adam(1e-2),
        {"parabola": toy.quadratic()},
        normalizer=toy.NORMALIZER,
        **SETTINGS,
    )[0]
    np.testing.assert_allclose(found[1].step_losses, constant.step_losses, rtol=1e-5)
    assert losses_of_constant.mean_cost[0] < found[0].mean_cost[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adamx(1e-3)", "did you mean 'adam"),
        ("adam(", "expected optax:name"),
        ("adam(1e-3, 1, 2, 3, 4, 5, 6, 7, 8)", "too many positional arguments"),
        ("adam(1e-3, momentum=3)", "unexpected keyword argument 'momentum'"),
        ("adam", "missing a required argument: 'learning_rate'"),
        ("adam(cosine fast)", "expected optax:name"),
        ("adam(cosine 1 2)", "expected optax:name"),
        ("adam(learning_rate=fast)", "cannot read 'fast' as a value"),
        ("__import__('os')", "unknown optimizer of optax"),
        ("adam.__class__", "cannot read"),
        ("3e-3", "names no optimizer"),
        ("", "expected optax:name"),
        ("lbfgs", "missing 1 required keyword-only argument: 'value_fn'"),
        ("adam('1e-3')", "TypeError"),
        ("apply_updates(1.0, 2.0)", "expected an optax.GradientTransformation"),
    ],
)
def test_what_cannot_be_is_named(text, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        from_text(text)
