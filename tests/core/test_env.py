"""The decision process: rewards, objectives, seeds, and the records' contract."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learned
import opt_gym
from opt_gym import plugins
from opt_gym.env import build, normalized, with_action_map
from opt_gym.episode import check_compatible
from opt_gym.records import Memory, Normalizer
from tests import toy

SMALL = {
    "family": "small_mlp",
    "layer_sizes": [8],
    "activation": "relu",
    "w_init": ["he_normal", None],
    "dataset": ["digits", {"bs": 8}, None],
    "center_data": False,
}


def small_env(**keywords):
    sgd = learned.make("sgd", learning_rate=0.1)
    env = opt_gym.make(SMALL, learned_optimizer=sgd, data="embedded", **keywords)
    return env, sgd, sgd.init_theta(jax.random.key(0))


def run(env, optimizer, theta, steps=5, seed=0, horizon=5):
    data = opt_gym.load_data(env)

    @jax.jit
    def episode(data):
        key = jax.random.key(seed)
        state = opt_gym.start(key, env, optimizer, theta, data, horizon)
        return state, opt_gym.unroll(env, optimizer, theta, data, state, steps)

    return episode(data)


def test_the_return_is_minus_the_outer_loss():
    env, optimizer, theta = small_env(normalizer=Normalizer(2.5, 0.5, "given"))
    _, (_, out) = run(env, optimizer, theta)
    np.testing.assert_allclose(out.cost, (out.loss - 0.5) / 2.0, rtol=1e-5)
    np.testing.assert_allclose(np.sum(out.reward), -np.mean(out.cost), rtol=1e-6)
    np.testing.assert_array_equal(out.truncated, [False] * 4 + [True])


def test_cost_is_clipped_and_two_where_the_loss_is_not_finite():
    normalizer = Normalizer(2.0, 1.0, "given")
    losses = jnp.array([1.0, 2.0, 1.5, 9.0, -9.0, jnp.nan, jnp.inf, -jnp.inf])
    found = jax.vmap(lambda loss: normalized(normalizer, loss))(losses)
    np.testing.assert_allclose(found, [0.0, 1.0, 0.5, 2.0, -2.0, 2.0, 2.0, 2.0])


def test_the_stored_gradient_is_that_of_the_batch():
    env, optimizer, theta = small_env()
    data = opt_gym.load_data(env)
    start, _ = run(env, optimizer, theta)
    replay = opt_gym.replay(env.task, data, jax.random.key(0))
    loss, grad = jax.value_and_grad(
        lambda p: env.task.loss(
            replay.loss_key(0), p, replay.instance, replay.batch(0)
        )[0]
    )(replay.params)
    np.testing.assert_allclose(start.env.loss, loss, rtol=1e-6)
    for ours, expected in zip(start.env.grad, grad, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_objectives_count_other_losses_of_the_same_training():
    results = {}
    for objective in ("train", "valid", "noisy"):
        env, optimizer, theta = small_env(
            objective=objective, normalizer=Normalizer(2.3, 0.0, "given")
        )
        results[objective] = run(env, optimizer, theta)[1]
    params = [state.env.params for state, _ in results.values()]
    for other in params[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params[0], other
        )
    losses = [np.asarray(out.loss) for _, out in results.values()]
    assert not np.allclose(losses[0], losses[1])
    assert not np.allclose(losses[0], losses[2])


def test_validation_losses_come_as_often_as_asked():
    env, optimizer, theta = small_env(valid_every=2)
    state, (end, _) = run(env, optimizer, theta, steps=4)
    assert bool(state.env.has_valid)
    assert bool(end.env.has_valid)
    _, (end, _) = run(env, optimizer, theta, steps=3)
    assert not bool(end.env.has_valid)
    assert float(end.env.valid_loss) > 0  # the last one is kept
    _, (end, _) = run(*small_env(), steps=1)
    assert not bool(end.env.has_valid)


def test_a_horizon_needs_no_new_program():
    env, optimizer, theta = small_env()
    data = opt_gym.load_data(env)
    traces = []

    @jax.jit
    def first(key, data, horizon):
        traces.append(1)
        return opt_gym.start(key, env, optimizer, theta, data, horizon).env.horizon

    assert [int(first(jax.random.key(0), data, jnp.int32(h))) for h in (3, 50)] == [
        3,
        50,
    ]
    assert len(traces) == 1


def test_second_derivatives_are_one_flag():
    task = toy.quadratic()
    gradients = {}
    for flag in (False, True):
        optimizer = learned.make("sgd", learning_rate=0.1)
        env = opt_gym.make(
            task,
            learned_optimizer=optimizer,
            normalizer=toy.NORMALIZER,
            second_derivatives=flag,
        )

        def cost(theta, env=env, optimizer=optimizer):
            state = opt_gym.start(jax.random.key(0), env, optimizer, theta, {}, 3)
            return opt_gym.unroll(env, optimizer, theta, {}, state, 3)[1].loss[-1]

        theta = optimizer.init_theta(jax.random.key(0))
        gradients[flag] = float(jax.grad(cost)(theta)["learning_rate"])
    lr, steps = 0.1, 3
    np.testing.assert_allclose(
        gradients[True], -steps * (1 - lr) ** (2 * steps - 1), rtol=1e-5
    )
    # Without: dφ_T/dlr = −Σ φ_t, as if the gradients were given numbers.
    phi = (1 - lr) ** np.arange(steps + 1)
    np.testing.assert_allclose(gradients[False], -phi[-1] * phi[:-1].sum(), rtol=1e-5)


def test_an_environment_of_other_features_is_refused():
    env, *_ = small_env()
    mlp = learned.make("mlp")
    with pytest.raises(ValueError, match=r"features are 'none' .* made for 'mlp'"):
        opt_gym.start(jax.random.key(0), env, mlp, {}, {}, 3)
    with pytest.raises(ValueError, match="num_steps must be >= 1, got 0"):
        opt_gym.unroll(env, learned.make("sgd"), {}, {}, None, 0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: opt_gym.make("OptTask-smal_mlp-v0"),
            "unknown task: 'OptTask-smal_mlp-v0'",
        ),
        (lambda: opt_gym.make({"layer_sizes": [3]}), "needs the key 'family'"),
        (lambda: opt_gym.make_task("quadratic"), "is a dict .* got 'quadratic'"),  # pyright: ignore[reportArgumentType]
        (lambda: opt_gym.make({**SMALL, "layers": 3}), "layers"),
        (lambda: opt_gym.make(SMALL, task_seed=3), "task_seed=3 picks a config"),
        (lambda: opt_gym.make("mlp_family_seed3", task_seed=4), "contradicts it"),
        (
            lambda: opt_gym.make("quadratic", task_seed=-1),
            "task_seed must be >= 0, got -1",
        ),
        (lambda: opt_gym.make("quadratic", features="mpl"), "did you mean 'mlp'"),
        (
            lambda: opt_gym.make("quadratic", objective="test"),
            "unknown objective: 'test'",
        ),
        (lambda: opt_gym.make("quadratic", objective="noisy"), "needs image inputs"),
        (lambda: opt_gym.make(SMALL, valid_every=-1, data="embedded"), "valid_every"),
        (
            lambda: opt_gym.make(SMALL, normalizer=Normalizer(1.0, 1.0, "given")),
            "initial > best",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("tensor", "shown"),
    [(jnp.zeros((0, 4)), r"float32 of shape \[0, 4\]"), (jnp.zeros(3, int), "int32")],
)
def test_what_a_task_trains_has_elements_that_are_floats(tensor, shown):
    made = small_env()[0]
    task = made.task._replace(init=lambda key, data: ({"w": tensor}, ()))
    env = build(task, made.features, made.action_map, made.normalizer)
    with pytest.raises(ValueError, match=rf"\['w'\] is {shown}"):
        env.reset(jax.random.key(0), {}, jnp.int32(3))


def test_records_that_nobody_named_are_told_apart():
    """By their functions: those of one architecture fit it, those of another do not."""
    adam = learned.make("adam")
    for part in ("features", "action_map"):
        record = getattr(adam, part)._replace(name="", config={})
        other = record._replace(init=lambda params: Memory())
        ours, theirs = (adam._replace(**{part: one}) for one in (record, other))
        task, given = toy.quadratic(), toy.NORMALIZER
        env = opt_gym.make(task, learned_optimizer=ours, normalizer=given)
        check_compatible(env, ours)
        check_compatible(env, ours._replace(**{part: record._replace()}))
        for wrong in (theirs, adam):
            with pytest.raises(ValueError, match="are other, unnamed ones"):
                check_compatible(env, wrong)


def test_an_environment_with_another_action_map_is_what_make_makes():
    settings = {"objective": "noisy", "corruption": "held_out", "valid_every": 2}
    env, sgd, _ = small_env(**settings)
    moved = with_action_map(env, plugins.build("action", "direction_magnitude"))
    expected = opt_gym.make(
        SMALL,
        features=sgd.features,
        action="direction_magnitude",
        data="embedded",
        **settings,
    )
    assert moved.config == expected.config
    assert moved.settings == env.settings == expected.settings
    assert moved.normalizer == env.normalizer
    assert with_action_map(moved, sgd.action_map).config == env.config


def test_ids_configs_and_seeds():
    anew = opt_gym.task_config("OptTask-quadratic-v0", 3)
    fixed = opt_gym.task_config("OptTask-quadratic_family_seed3-v0")
    assert anew["seed"] is None
    assert isinstance(fixed["seed"], int)
    assert {**anew, "seed": fixed["seed"]} == fixed
    assert opt_gym.task_config("opt_gym:OptTask-mlp-v0") == opt_gym.task_config(
        "mlp", 0
    )


def test_a_share_of_episodes_does_not_tell_the_loss_or_the_horizon():
    env, optimizer, theta = small_env(hide_loss=0.3, hide_horizon=0.6)
    data = opt_gym.load_data(env)
    keys = jax.random.split(jax.random.key(0), 200)

    @jax.jit
    def told(keys):
        def episode(key):
            state = opt_gym.start(key, env, optimizer, theta, data, 5)
            ends, _ = opt_gym.unroll(env, optimizer, theta, data, state, 3)
            return tuple(env.observe(each.env)[0] for each in (state, ends))

        return jax.lax.map(episode, keys)

    first, later = told(keys)
    for name, hidden in (("has_loss", 0.3), ("horizon", 0.6)):
        known, still = (np.asarray(getattr(s, name)) for s in (first, later))
        np.testing.assert_array_equal(known, still)  # one thing a whole episode
        assert abs(np.mean(known == 0) - hidden) < 0.12
    assert set(np.unique(first.horizon)) == {0, 5}
    assert np.all((np.asarray(first.loss) == 0) == ~np.asarray(first.has_loss))
    both = np.mean((np.asarray(first.horizon) == 0) & ~np.asarray(first.has_loss))
    assert abs(both - 0.18) < 0.1  # drawn by themselves


def test_what_is_hidden_from_an_optimizer_changes_nothing_else():
    plain, optimizer, theta = small_env()
    hidden, _, _ = small_env(hide_loss=1.0, hide_horizon=1.0)
    (_, (_, out)), (_, (_, same)) = (
        run(env, optimizer, theta) for env in (plain, hidden)
    )
    np.testing.assert_array_equal(out.loss, same.loss)
    np.testing.assert_array_equal(out.truncated, same.truncated)
    assert "hide_loss" not in plain.config
    assert hidden.config["hide_loss"] == 1.0


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"hide_loss": 1.5}, "hide_loss must be in [0, 1], got 1.5"),
        (
            {"features": "velo", "hide_horizon": 0.1},
            "features 'velo' cannot do without",
        ),
    ],
)
def test_what_cannot_be_hidden(keywords, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        opt_gym.make(SMALL, data="embedded", **keywords)


def test_nor_what_an_architecture_needs_beside_its_features():
    scheduled = learned.make("nadamw")
    env = opt_gym.make(
        SMALL, learned_optimizer=scheduled, data="embedded", hide_horizon=0.5
    )
    with pytest.raises(ValueError, match="but 'nadamw' cannot do without it"):
        check_compatible(env, scheduled)
