"""The guard takes over where learned steps explode or stall, and gives back where they pay."""

from typing import Any

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


def trained(transformation: Any, num_steps: int = NUM_STEPS) -> Any:
    """(losses, the last state)."""
    tx: Any = optax.with_extra_args_support(transformation)

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


def test_steps_that_pay_go_on():
    pays = optax.sgd(0.1)
    losses, state = trained(learned.guarded(pays, ADAM, cap=1e9), 150)
    assert (state.guard.learned, state.guard.switches, state.guard.returns) == (1, 0, 0)
    assert losses[-20:].mean() < 1e-10
    bare, _ = trained(pays)
    # But for the ten steps of the challenger, and the one that goes back.
    np.testing.assert_allclose(losses[11:40].mean(), bare[:29].mean(), rtol=0.5)


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
    tx: Any = learned.guarded(optax.sgd(0.1), optax.sgd(0.01))
    state = tx.init(params)
    grads = {"w": jnp.ones(3)}
    updates, state = tx.update(grads, state, params, value=1.0)
    moved: Any = optax.apply_updates(params, updates)
    grads = {"w": jnp.full(3, jnp.nan)}
    updates, state = tx.update(grads, state, moved, value=jnp.nan)
    again: Any = optax.apply_updates(moved, updates)
    np.testing.assert_allclose(again["w"], params["w"], rtol=1e-6)
    assert state.guard.learned == 0
    for _ in range(
        15
    ):  # the fallback is the incumbent, and the learned one's tenth ends
        updates, state = tx.update({"w": jnp.ones(3)}, state, again, value=1.0)
    assert not state.guard.learned


def test_a_stall_loses_the_race():
    stalls = optax.sgd(1e-6)
    losses, state = trained(learned.guarded(stalls, ADAM))
    plain, _ = trained(ADAM)
    assert state.guard.learned == 0
    assert state.guard.switches == 1
    assert losses[-50:].mean() < plain[-50:].mean() + 0.02


def test_who_wins_when_is_as_worked_by_hand():
    """Losses of a stalled learned optimizer, and of a fallback that lowers them by 5 a step."""
    guard, loss, snapshot = rules.begin(jnp.zeros(())), 100.0, 0.0
    judge = jax.jit(rules.judge)
    acted, went_back, losses = [], [], []
    for t in range(120):
        losses.append(loss)
        guard, told = judge(guard, jnp.float32(loss), jnp.float32(0))
        acted.append(bool(told.learned))
        snapshot = loss if told.keep else snapshot
        if told.back:
            loss, _ = snapshot, went_back.append(t)
        else:
            loss -= 0.0 if told.learned else 5.0
    # The fallback's tenth of the first 100 steps, then the incumbent's from the same weights.
    assert acted[:10] == [False] * 10
    assert losses[11] == 100.0
    assert acted[10:20] == [True] * 10
    # It has stood still: the fallback goes on from where the snapshot was taken.
    assert went_back[:2] == [10, 20]
    assert losses[21] == 100.0
    assert acted[20:100] == [False] * 80
    assert int(guard.switches) == 1
    assert int(guard.last) == 21
    # In the second cycle the learned one is the challenger, for a tenth of it, and loses.
    assert acted[100:110] == [True] * 10
    assert acted[110:] == [False] * 10
    assert went_back[2:] == [110]


def test_who_lowers_nothing_for_a_cycle_hands_over():
    """Both stand still: without a race only the stall is left."""
    guard, acted = rules.begin(jnp.zeros(())), []
    judge = jax.jit(rules.judge)
    for t in range(450):
        value = 1.0 + 0.1 * (-1) ** t
        guard, told = judge(guard, jnp.float32(value), jnp.float32(150))
        acted.append(bool(told.learned))
    assert acted[20:100] == [True] * 80
    assert acted[100:] == [False] * 350


def test_no_race_begins_late_in_a_run_of_known_length():
    guard, acted = rules.begin(jnp.zeros(())), []
    judge = jax.jit(rules.judge)
    for t in range(300):
        guard, told = judge(guard, jnp.float32(-t), jnp.float32(199))
        acted.append(bool(told.learned))
    assert acted == [False] * 10 + [True] * 290


def test_a_learned_step_is_no_longer_than_the_cap():
    tx: Any = learned.guarded(optax.sgd(100.0), optax.sgd(1.0), cap=5.0)
    params = {"a": jnp.ones(4), "b": jnp.zeros(())}
    grads = {"a": jnp.full(4, 3.0), "b": jnp.float32(2.0)}
    state = tx.init(params)
    updates = {}
    for _ in range(12):  # the fallback's tenth, back, and then
        updates, state = tx.update(grads, state, params, value=1.0)
    np.testing.assert_allclose(updates["a"], -15.0, rtol=1e-5)
    np.testing.assert_allclose(updates["b"], -10.0, rtol=1e-5)


SCHEDULE = optax.linear_schedule(1.0, 0.0, 10)


@pytest.mark.parametrize(
    "falling",
    [optax.adam(SCHEDULE), optax.inject_hyperparams(optax.adam)(SCHEDULE)],
    ids=["scheduled", "injected"],
)
def test_schedules_go_on_where_memories_begin_anew(falling):
    """Adam's step is then as long as its first one, by a rate that has fallen meanwhile."""
    tx: Any = learned.guarded(optax.sgd(0.1), falling)
    params, grads = {"w": jnp.ones(2)}, {"w": jnp.ones(2)}
    state, updates = tx.init(params), {}
    for value in (1.0, 1.0, jnp.nan, 1.0):
        updates, state = tx.update(grads, state, params, value=value)
    np.testing.assert_allclose(updates["w"], -jnp.asarray(SCHEDULE(3)), rtol=1e-5)


def test_what_cannot_be_is_named():
    named: Any = "nominal_small"
    with pytest.raises(ValueError, match="optax"):
        learned.guarded(named)
    with pytest.raises(ValueError, match="cap must be"):
        learned.guarded(optax.sgd(1.0), cap=0.0)
    tx: Any = learned.guarded(optax.sgd(1.0))
    one = jnp.ones(())
    with pytest.raises(ValueError, match=r"value must be one number, got \[1.0, 2.0\]"):
        tx.update(one, tx.init(one), one, value=[1.0, 2.0])
    with pytest.raises(ValueError, match="needs params and value"):
        tx.update({}, None, {})
