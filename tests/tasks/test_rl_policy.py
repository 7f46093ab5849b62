"""The pole falls as in Gymnasium, and the gradient is REINFORCE's by hand."""

import sys
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym import plugins
from opt_gym.records import Batch
from opt_gym.tasks import rl_policy
from opt_gym.tasks.building import cart_pole, control_problems

CONFIG = {
    "family": "rl_policy",
    "problem": "cart_pole",
    "num_episodes": 5,
    "num_steps": 30,
    "discount": 0.9,
    "layer_sizes": [6],
    "activation": "tanh",
    "w_init": ["random_normal", 1.0],
}


def test_a_step_is_gymnasiums():
    env: Any = gymnasium.make("CartPole-v1").unwrapped
    random = np.random.default_rng(0)
    env.reset(seed=0)
    states = random.uniform(-1, 1, (50, 4)) * np.array([2.5, 2, 0.25, 2])
    right = random.random(50) < 0.5
    found = cart_pole.step(jnp.asarray(states, "f4"), jnp.asarray(right))
    standing = cart_pole.stands(found)
    for i, state in enumerate(states):
        env.state, env.steps_beyond_terminated = state, None
        seen, _, terminated, *_ = env.step(int(right[i]))
        np.testing.assert_allclose(found[i], seen, rtol=1e-5, atol=1e-6)
        assert standing[i] == (not terminated)


def episode(params, start, draws):
    """(steps it stood, [log π, its gradient] of each), one state after the other."""

    def log_share(params, state, action):
        h = jnp.tanh(state * jnp.asarray(cart_pole.SCALE) @ params[0] + params[1])
        return jax.nn.log_softmax(h @ params[2] + params[3])[action]

    look = jax.jit(jax.value_and_grad(log_share), static_argnums=2)
    state, found = start, []
    for draw in draws:
        share, _ = look(params, state, 1)
        action = int(draw < np.exp(share))
        found.append(look(params, state, action))
        state = cart_pole.step(state[None], jnp.asarray([action == 1]))[0]
        if not cart_pole.stands(state[None])[0]:
            break
    return found


def test_loss_and_gradient_by_hand():
    task = plugins.spec("task", "rl_policy").make(CONFIG)
    design = rl_policy.design(CONFIG)
    random = np.random.default_rng(3)
    shapes = [(4, 6), (6,), (6, 2), (2,)]
    params = tuple(jnp.asarray(random.standard_normal(s), "f4") for s in shapes)
    batch = Batch(cart_pole.start(jax.random.key(1), 5), None)
    draws, _ = design.model.noise(jax.random.key(2), batch)

    def loss(params):
        return task.loss(jax.random.key(2), params, (), batch)

    (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    episodes = [episode(params, batch.inputs[i], draws[:, i]) for i in range(5)]
    lengths = np.array([len(one) for one in episodes])
    assert lengths.min() < 30  # some fall
    np.testing.assert_allclose(value, 1 - lengths.mean() / 30, rtol=1e-5)
    np.testing.assert_allclose(aux["return"], lengths.mean(), rtol=1e-5)
    expected = [np.zeros(shape) for shape in shapes]
    for t in range(lengths.max()):
        left = [i for i in range(5) if lengths[i] > t]
        togo = {i: sum(0.9 ** (k - t) for k in range(t, lengths[i])) for i in left}
        for i in left:
            advantage = togo[i] - np.mean([togo[j] for j in left])
            for total, grad in zip(expected, episodes[i][t][1], strict=True):
                total -= advantage * np.asarray(grad) / (30 * 5)
    for grad, other in zip(grads, expected, strict=True):
        np.testing.assert_allclose(grad, other, rtol=1e-3, atol=1e-5)


def test_an_action_is_drawn_by_its_share():
    shares = jnp.asarray([[0.2, 0.5, 0.3]])
    draws = jnp.linspace(0, 0.999, 1000)
    found = rl_policy.choose(draws, jnp.log(jnp.repeat(shares, 1000, 0)))
    counts = np.bincount(np.asarray(found), minlength=3) / 1000
    np.testing.assert_allclose(counts, shares[0], atol=2e-3)
    assert found[0] == 2
    assert found[-1] == 0


def test_returns_by_hand():
    rewards = jnp.asarray([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    found = rl_policy.returns(rewards, 0.5)
    np.testing.assert_allclose(found, [[1.5, 1.0], [1.0, 0.0], [0.0, 0.0]])


@pytest.mark.slow
def test_adam_learns_to_hold_the_pole():
    import optax

    import opt_gym

    config = {**CONFIG, "num_episodes": 32, "num_steps": 200, "layer_sizes": [16]}
    (runs,) = opt_gym.evaluate(
        optax.adam(0.01), config, horizon=300, num_seeds=1, data="embedded", timed=False
    )
    assert runs.step_losses[0, 0] > 0.5
    assert runs.step_losses[0, -10:].mean() < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problem": "pendulum"}, "problem must be 'cart_pole' or .*'pendulum'"),
        ({"problem": 3}, "problem must be a name, got 3"),
        ({"discount": 1.5}, "discount must be a number, 0 ... 1"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_what_cannot_be_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        plugins.spec("task", "rl_policy").make({**CONFIG, **change})


class TestGymnax:
    """The package is an extra: where it is not installed, only what is said then is tested."""

    @pytest.fixture
    def gymnax(self):
        return pytest.importorskip("gymnax")

    def test_the_pole_is_ours(self, gymnax):
        ours = control_problems.control_problem("cart_pole")
        theirs = control_problems.control_problem("gymnax:CartPole-v1")
        k_start, k_act = jax.random.split(jax.random.key(4))
        seen, state = theirs.start(k_start, 7)
        states, alive = seen, np.ones(7, bool)  # the same four numbers
        for k_step in jax.random.split(k_act, 25):
            actions = jax.random.randint(k_step, (7,), 0, 2)
            states, rewards, ends = ours.step(k_step, states, actions)
            (seen, state), paid, over = theirs.step(k_step, (seen, state), actions)
            np.testing.assert_allclose(seen, states, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(rewards[alive], paid[alive])
            np.testing.assert_array_equal(ends, over)
            alive &= ~np.asarray(ends)
        assert 0 < alive.sum() < 7
        assert theirs.see((seen, state)).shape == (7, 4)

    def test_a_problem_of_three_actions_trains(self, gymnax):
        config = {**CONFIG, "problem": "gymnax:Catch-bsuite", "num_steps": 9}
        task = plugins.spec("task", "rl_policy").make(config)
        key = jax.random.key(0)
        params, instance = task.init(key, {})
        assert [leaf.shape for leaf in params] == [(50, 6), (6,), (6, 3), (3,)]
        batch = task.sample_batch(key, {}, instance, "train")

        def loss(params):
            return task.loss(key, params, instance, batch)

        (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        np.testing.assert_allclose(value, -aux["return"] / 9, rtol=1e-5)
        assert -1 <= aux["return"] <= 1
        assert all(np.isfinite(grad).all() for grad in grads)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("gymnax:Pole", "gymnax has no problem 'Pole'; it has CartPole-v1"),
            ("gymnax:Pendulum-v1", "actions of gymnax:Pendulum-v1 are numbers"),
        ],
    )
    def test_what_it_lacks_is_named(self, gymnax, name, said):
        with pytest.raises(ValueError, match=said):
            plugins.spec("task", "rl_policy").make({**CONFIG, "problem": name})


def test_gymnax_that_is_not_there_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(ValueError, match=r"pip install 'opt-gym\[gymnax\]'"):
        control_problems.control_problem("gymnax:CartPole-v1")
