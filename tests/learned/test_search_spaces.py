"""TaskSet's search spaces and its list: the published numbers, and any other seed."""

import hashlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
from opt_gym.evaluation import opt_list_order, search_spaces
from opt_gym.evaluation.search_spaces import SAMPLERS, SPACES, sample
from tests.learned import golden


def assert_same(config, published):
    assert list(config) == list(published)
    for key, value in published.items():
        assert type(config[key]) is type(value)
        rtol = 1e-12 if key.startswith("beta") else 1e-13
        np.testing.assert_allclose(config[key], value, rtol=rtol)


@pytest.mark.parametrize("name", SAMPLERS)
def test_published_settings(name):
    published = golden.read(f"{name}.json")
    assert len(published) >= 60
    for seed, config in published.items():
        assert_same(sample(name, int(seed)), config)


def test_adam4p_and_adam8p_share_their_first_draws():
    for seed in (0, 999, 123_456):
        four, eight = sample("adam4p_wide_grid", seed), sample("adam8p_wide_grid", seed)
        assert four == {key: eight[key] for key in four}


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_seed_lies_within_the_bounds(name):
    for seed in (1000, 5000, 2**31):
        config = sample(name, seed)
        assert config == sample(name, seed)
        assert 1e-8 <= config["learning_rate"] <= 10
        for beta in ("beta1", "beta2"):
            assert 0 <= config.get(beta, 0.5) < 1
        assert 1e-6 <= config.get("exponential_decay", 1e-4) <= 1e-3


def test_a_third_of_nadamw_has_either_decay():
    configs = [sample("nadamw_grid", seed) for seed in range(600)]
    adamw = np.array([c["adamw_weight_decay"] > 0 for c in configs])
    l2 = np.array([c["l2_weight_decay"] > 0 for c in configs])
    assert np.all(adamw | l2)
    for kind in (adamw & ~l2, l2 & ~adamw, adamw & l2):
        assert 0.27 < kind.mean() < 0.40


def test_the_grids_of_learning_rates():
    for name in ("adam_lr_grid", "adagrad_lr_grid"):
        space = SPACES[name]
        rates = [space.sample(i)["learning_rate"] for i in range(space.num_trials)]
        np.testing.assert_allclose(np.log10(rates), np.arange(-7, 1.1, 0.5), atol=1e-12)


def test_theta_holds_one_minus_beta_as_the_original_computes_it():
    beta = {"learning_rate": 1.0, "beta1": 0.5, "beta2": 1 - 1.05e-6, "epsilon": 0.1}
    decays = {"linear_decay": 0.1, "exponential_decay": 0.2}
    tf_adam = SPACES["adam4p_wide_grid"].theta(beta)
    adam8p = SPACES["adam6p_wide_grid"].theta({**beta, **decays})
    # Float32 has no number nearer to one than 2^-24 below: 18 of them are 1.0729e-6.
    assert tf_adam["one_minus_b2"] == 18 * 2.0**-24
    assert adam8p["one_minus_b2"] == pytest.approx(1.05e-6, rel=1e-9)
    assert SPACES["adam1p_wide_grid"].trial(0)["one_minus_b1"] == 1 - float(
        np.float32(0.9)
    )


def test_spaces_fit_their_architectures():
    for name, space in SPACES.items():
        assert space.title == name
        optimizer = learned.make(space.architecture, **space.options)
        assert set(space.trial(0)) <= set(optimizer.config)
        assert optimizer.config.get("faithful", False) is bool(space.options)
    assert "nadamw_grid_corrected" in SPACES
    assert "opt_list_corrected" in SPACES
    assert SPACES["adam6p_wide_grid"].options == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample("adam2p", 0), "unknown space 'adam2p'.*adam1p_wide_grid"),
        (lambda: sample("nadamw_grid", -1), "seed of 'nadamw_grid' must be 0 to"),
        (lambda: sample("nadamw_grid", 2**32), "must be 0 to 4294952937, got"),
        (lambda: SPACES["opt_list"].trial(1000), "trial must be 0 to 999.*got 1000"),
        (lambda: SPACES["adam_lr_grid"].trial(-1), "trial must be 0 to 16.*got -1"),
    ],
)
def test_what_there_is_not(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_published_order_is_pinned():
    seeds = opt_list_order.SEEDS
    assert sorted(seeds) == list(range(1000))
    assert seeds[:3] == (251, 611, 799)
    digest = hashlib.sha256(" ".join(map(str, seeds)).encode()).hexdigest()
    assert digest[:16] == "a24169413ce0d71d"


def test_the_list_is_the_published_one():
    published = golden.read("opt_list.json")
    assert len(published) == len(opt_list_order.SEEDS) == 1000
    for number, entry in enumerate(published):
        assert entry.pop("name") == f"nadamw_grid_seed{opt_list_order.SEEDS[number]}"
        config = SPACES["opt_list"].sample(number)
        assert config.keys() == entry.keys()
        # A β is 1 − x, where x may differ in its last digit.
        for key, value in entry.items():
            np.testing.assert_allclose(config[key], value, rtol=1e-12)


def one_step(tx: Any, params):
    state = tx.init(params)
    updates, state = tx.update(params, state, params)  # the gradient of ½ φ²
    return np.asarray(optax.apply_updates(params, updates))


def test_opt_list_gives_optax_transformations():
    """One step of the first three, against the rule worked out by hand."""
    params = jnp.asarray([1.0, -2.0, 0.5])
    found = learned.opt_list(3, num_steps=100)
    assert len(found) == 3
    for tx, seed in zip(found, (251, 611, 799), strict=True):
        c = sample("nadamw_grid", seed)
        x = np.asarray(params, np.float64)
        b1, b2 = c["beta1"], c["beta2"]
        g = x - c["l2_weight_decay"] * x
        m, v = (1 - b1) * g, (1 - b2) * g * g
        # At the first step a warm-up has the rate 0, however short it is.
        rate = 0.0 if c["warmup_fraction"] else c["learning_rate"]
        rate *= np.sqrt(1 - b2) / (1 - b1)
        step = m / (np.sqrt(v) + c["epsilon"]) + c["adamw_weight_decay"] * x
        np.testing.assert_allclose(one_step(tx, params), x - rate * step, rtol=1e-4)


def test_the_corrected_list_differs_where_the_original_has_a_fault():
    """At the first step that is l2 or Nesterov; with a warm-up nothing moves there."""
    params = jnp.asarray([1.0, -2.0, 0.5])
    seeds = opt_list_order.SEEDS[:10]
    configs = [sample("nadamw_grid", seed) for seed in seeds]
    differs = [
        bool(c["l2_weight_decay"] or c["use_nesterov"]) and not c["warmup_fraction"]
        for c in configs
    ]
    assert {True, False} == set(differs)
    faithful = learned.opt_list(10, num_steps=100)
    corrected = learned.opt_list(10, num_steps=100, faithful=False)
    found = [
        not np.allclose(one_step(a, params), one_step(b, params), rtol=1e-6, atol=0)
        for a, b in zip(faithful, corrected, strict=True)
    ]
    assert found == differs


def test_how_long_the_list_is():
    assert len(learned.opt_list(num_steps=10)) == 1000
    for k in (0, 1001):
        with pytest.raises(ValueError, match=f"k must be 1 to 1000, got {k}"):
            learned.opt_list(k, num_steps=10)
    with pytest.raises(ValueError, match="num_steps must be >= 1, got 0"):
        learned.opt_list(1, num_steps=0)
    assert search_spaces.MAX_TRIALS == 2000
