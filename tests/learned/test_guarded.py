"""The guard takes over where learned steps explode or stall, and gives back where they pay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
from learned import guard as rules

NUM_STEPS = 500
ADAM = optax.adam(1e-2)


def noisy_loss(params, key):
    x = jax.random.normal(key, (32, 10))
    return jnp.mean((x @ (params["w"] - 1.0)) ** 2)


def trained(transformation, num_steps=NUM_STEPS):
    """(losses, the last state)."""
    tx = optax.with_extra_args_support(transformation)

    def step(carried, key):
        params, state = carried
        value, grads = jax.value_and_grad(noisy_loss)(params, key)
        updates, state = tx.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    params = {"w": jnp.zeros(10)}
    keys = jax.random.split(jax.random.key(0), num_steps)
    (_, state), losses = jax.jit(lambda begun: jax.lax.scan(step, begun, keys))(
        (params, tx.init(params))
    )
    return np.asarray(losses), state


def test_steps_that_pay_are_taken_untouched():
    pays = optax.sgd(0.1)
    bare, _ = trained(pays)
    losses, state = trained(learned.guarded(pays, ADAM, horizon=20, cap=1e9))
    np.testing.assert_array_equal(losses, bare)
    assert (state.guard.learned, state.guard.switches, state.guard.returns) == (1, 0, 0)
    raced, state = trained(learned.guarded(pays, ADAM, cap=1e9))
    assert state.guard.learned == 1  # a worse challenger has lost every race
    assert raced[-20:].mean() < 1e-10


def test_an_explosion_is_undone_and_the_fallback_goes_on():
    explodes = optax.sgd(1.5)
    bare, _ = trained(explodes)
    assert not np.isfinite(bare[-1])
    losses, state = trained(learned.guarded(explodes, ADAM, cap=1e9))
    assert np.isfinite(losses).all()
    assert state.guard.learned == 0
    assert state.guard.returns >= 1
    plain, _ = trained(ADAM)
    assert losses[-50:].mean() < plain[-50:].mean() + 0.02


def test_what_is_not_finite_goes_back_at_once():
    params = {"w": jnp.ones(3)}
    tx = learned.guarded(optax.sgd(0.1), optax.sgd(0.01))
    state = tx.init(params)
    grads = {"w": jnp.ones(3)}
    updates, state = tx.update(grads, state, params, value=1.0)
    moved = optax.apply_updates(params, updates)
    grads = {"w": jnp.full(3, jnp.nan)}
    updates, state = tx.update(grads, state, moved, value=jnp.nan)
    again = optax.apply_updates(moved, updates)
    np.testing.assert_allclose(again["w"], params["w"], rtol=1e-6)
    assert state.guard.learned == 0
    updates, state = tx.update({"w": jnp.ones(3)}, state, again, value=1.0)
    np.testing.assert_allclose(updates["w"], -0.01, rtol=1e-6)


def test_a_stall_loses_the_race():
    stalls = optax.sgd(1e-6)
    losses, state = trained(learned.guarded(stalls, ADAM))
    plain, _ = trained(ADAM)
    assert state.guard.learned == 0
    assert state.guard.switches == 1
    assert losses[-50:].mean() < plain[-50:].mean() + 0.02


def test_who_wins_when_is_as_worked_by_hand():
    """Losses of a stalled learned optimizer, and of a fallback that lowers them by 1 a step."""
    guard, loss, acted = rules.begin(jnp.zeros(())), 1000.0, []
    judge = jax.jit(rules.judge)
    for _ in range(120):
        guard, told = judge(guard, jnp.float32(loss), jnp.float32(0))
        acted.append(bool(told.learned))
        loss -= 0.0 if told.learned else 1.0
    # No race in the first cycle; in the second the blocks are [50, 55), [55, 60), [60, 65).
    assert acted[:55] == [True] * 55
    assert acted[55:60] == [False] * 5
    assert acted[60:65] == [True] * 5
    # Halves of 2 steps: the challenger's fell by 3, the others' by 0: the race is won at 65.
    assert acted[65:100] == [False] * 35
    assert int(guard.last) == 66
    # From 100 on blocks are of 10 steps, and the learned one is the challenger.
    assert acted[100:110] == [False] * 10
    assert acted[110:] == [True] * 10


def test_no_race_begins_late_in_a_run_of_known_length():
    guard, acted = rules.begin(jnp.zeros(())), []
    judge = jax.jit(rules.judge)
    for t in range(150):
        guard, told = judge(guard, jnp.float32(-t), jnp.float32(99))
        acted.append(bool(told.learned))
    assert all(acted)


def test_a_learned_step_is_no_longer_than_the_cap():
    tx = learned.guarded(optax.sgd(100.0), optax.sgd(1.0), cap=5.0)
    params = {"a": jnp.ones(4), "b": jnp.zeros(())}
    grads = {"a": jnp.full(4, 3.0), "b": jnp.float32(2.0)}
    updates, _ = tx.update(grads, tx.init(params), params, value=1.0)
    np.testing.assert_allclose(updates["a"], -15.0, rtol=1e-5)
    np.testing.assert_allclose(updates["b"], -10.0, rtol=1e-5)


def test_schedules_go_on_where_memories_begin_anew():
    falling = optax.adam(optax.linear_schedule(1.0, 0.0, 10))
    tx = learned.guarded(optax.sgd(0.1), falling)
    params = {"w": jnp.ones(2)}
    state = tx.init(params)
    for value in (1.0, 1.0, jnp.nan):
        _, state = tx.update({"w": jnp.ones(2)}, state, params, value=value)
    counts = [
        leaf
        for leaf in jax.tree.leaves(state.fallback)
        if jnp.issubdtype(leaf.dtype, jnp.integer)
    ]
    assert counts == [3, 3]
    moments = [leaf for leaf in jax.tree.leaves(state.fallback) if leaf.ndim]
    assert all((leaf == 0).all() for leaf in moments)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: learned.guarded("nominal_small"), "optax"),
        (lambda: learned.guarded(optax.sgd(1.0), cap=0.0), "cap must be"),
        (
            lambda: learned.guarded(optax.sgd(1.0)).update({}, None, {}),
            "needs params and value",
        ),
    ],
)
def test_what_cannot_be_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
