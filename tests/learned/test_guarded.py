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


def after(tx: Any, params: Any, told: list[tuple[float, float]]) -> tuple[Any, Any]:
    """(weights, state) after steps with these gradients and losses."""
    tx = optax.with_extra_args_support(tx)
    state = tx.init(params)
    for gradient, value in told:
        grads = jax.tree.map(lambda p, g=gradient: jnp.full_like(p, g), params)
        updates, state = tx.update(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
    return params, state


def test_one_loss_that_is_not_finite_is_a_bad_batch_and_two_go_back():
    start = {"w": jnp.ones(3)}
    tx = learned.guarded(optax.sgd(0.1), optax.sgd(0.01))
    steps = [(1.0, 1.0)] * 2
    moved, _ = after(tx, start, steps)
    kept, state = after(tx, start, [*steps, (1.0, jnp.nan)])
    np.testing.assert_array_equal(kept["w"], moved["w"])
    assert (state.guard.learned, state.guard.returns) == (1, 0)
    gone, state = after(tx, start, [*steps, *[(1.0, jnp.nan)] * 2])
    np.testing.assert_allclose(gone["w"], 1.0, rtol=1e-6)
    assert (state.guard.learned, state.guard.returns) == (0, 1)
    # The fallback is the incumbent, and the learned one's tenth ends.
    _, state = after(tx, start, [*steps, *[(1.0, jnp.nan)] * 2, *[(1.0, 1.0)] * 15])
    assert not state.guard.learned


def test_a_first_loss_that_is_not_finite_is_not_the_measure_of_others():
    start = {"w": jnp.ones(4)}
    tx = learned.guarded(optax.sgd(0.01), optax.sgd(0.01))
    lost = [(1.0, jnp.nan)] * 3
    stood, state = after(tx, start, lost)
    np.testing.assert_array_equal(stood["w"], start["w"])
    assert state.guard.t == 0
    _, state = after(tx, start, [*lost, *[(1.0, 1.0 - 0.01 * i) for i in range(30)]])
    assert (state.guard.t, state.guard.returns, state.guard.learned) == (30, 0, 1)


@pytest.mark.parametrize("first", [0.0, 0.1])
def test_a_first_loss_far_below_the_others_holds_the_weights_for_a_few_steps(first):
    guard, judge, backs = rules.begin(jnp.zeros(())), jax.jit(rules.judge), []
    for t in range(120):
        loss = first if t == 0 else 2.0 + 0.1 * (-1) ** t
        guard, told = judge(guard, jnp.float32(loss), jnp.float32(200))
        backs.append(bool(told.back))
    assert sum(backs[:12]) >= 2
    assert not any(backs[12:])


def test_a_gradient_that_is_not_finite_moves_nothing():
    """Though the fallback makes nothing finite of it, and is heard in the race."""
    start = {"w": jnp.ones(4)}
    tx = learned.guarded(optax.apply_if_finite(optax.sgd(1e-2), 5), optax.adamw(1e-3))
    for when in (3, 30):
        told = [(1.0, 1.0 - 0.001 * i) for i in range(60)]
        before, _ = after(tx, start, told[:when])
        kept, _ = after(tx, start, [*told[:when], (jnp.nan, told[when][1])])
        np.testing.assert_array_equal(kept["w"], before["w"])
        told[when] = jnp.nan, told[when][1]
        ended, state = after(tx, start, told)
        assert np.isfinite(ended["w"]).all()
        assert state.guard.returns == 0
        assert np.isfinite(jax.tree.leaves(state.fallback)[1]).all()


def test_weights_go_back_from_very_far():
    start = {"w": jnp.asarray([0.5, 0.3])}
    tx = learned.guarded(optax.sgd(1e7), optax.sgd(1e6), cap=1e9)
    far, _ = after(tx, start, [(1e4, 1.0)])
    assert (jnp.abs(far["w"]) > 1e9).all()
    back, state = after(tx, start, [(1e4, 1.0), (1e4, 1e20), (1e4, 1e5)])
    np.testing.assert_allclose(back["w"], start["w"], rtol=1e-5)
    assert state.guard.returns == 1


def test_bad_batches_cost_what_a_snapshot_is_old_and_no_more():
    """The fallback's: the cycle is not doubled for what no learned step did."""
    guard, judge = rules.begin(jnp.zeros(())), jax.jit(rules.judge)
    at_snapshot, thrown_away = 0, []
    for t in range(3000):
        is_bad = t % 300 in (298, 299)
        loss = jnp.nan if is_bad else 1.0 / (1.0 + 0.001 * t)
        guard, told = judge(guard, jnp.float32(loss), jnp.float32(1))
        at_snapshot = t if told.keep else at_snapshot
        if told.anew:
            thrown_away.append(t - at_snapshot)
    assert len(thrown_away) == 10
    assert max(thrown_away) <= rules.LONGEST_WITHOUT_SNAPSHOT + 1
    assert guard.length < 3000


def test_numbers_of_a_guard_are_each_their_own():
    arrays = [id(number) for number in rules.begin(jnp.zeros(()))]
    assert len({*arrays}) == len(arrays)


def test_half_precision_is_capped_as_float32():
    """Squares of small steps are none in float16."""
    start, told = jnp.ones(8), [(1.0, 1.0)] * 13
    tx = learned.guarded(optax.sgd(1e-2), optax.sgd(1e-4))
    wide, _ = after(tx, {"w": start}, told)
    narrow, _ = after(tx, {"w": start.astype(jnp.float16)}, told)
    assert narrow["w"].dtype == jnp.float16
    np.testing.assert_allclose(narrow["w"], wide["w"], atol=1e-3)
    assert (narrow["w"] < 0.999).all()


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


LOST = [(1.0, 1.0)] * 2 + [(1.0, jnp.nan)] * 2


@pytest.mark.parametrize(
    "falling",
    [optax.adam(SCHEDULE), optax.inject_hyperparams(optax.adam)(SCHEDULE)],
    ids=["scheduled", "injected"],
)
def test_schedules_go_on_where_memories_begin_anew(falling):
    """Adam's step is then as long as its first one, by a rate that has fallen meanwhile."""
    tx: Any = learned.guarded(optax.sgd(0.1), falling)
    params = {"w": jnp.ones(2)}
    before, _ = after(tx, params, [*LOST, (1.0, 1.0)])
    moved, _ = after(tx, params, [*LOST, (1.0, 1.0), (1.0, 1.0)])
    step = moved["w"] - before["w"]
    np.testing.assert_allclose(step, -jnp.asarray(SCHEDULE(5)), rtol=1e-4)


def test_a_learned_rate_goes_on_where_memories_begin_anew():
    lopt = learned.make("sgd")
    theta = lopt.init_theta(jax.random.key(0))
    usual = learned.to_optax(lopt, theta, learning_rate=SCHEDULE)
    tx: Any = learned.guarded(optax.sgd(0.1), usual)
    params = {"w": jnp.ones(2)}
    before, state = after(tx, params, [*LOST, (1.0, 1.0)])
    assert (state.fallback.t, state.fallback.begun) == (5, 4)
    moved, _ = after(tx, params, [*LOST, (1.0, 1.0), (1.0, 1.0)])
    whole, _ = after(learned.to_optax(lopt, theta), params, [(1.0, 1.0)])
    expected = SCHEDULE(5) * (whole["w"] - params["w"])
    np.testing.assert_allclose(moved["w"] - before["w"], expected, rtol=1e-4)


def test_what_cannot_be_is_named():
    named: Any = "nominal_small"
    with pytest.raises(ValueError, match="optax"):
        learned.guarded(named)
    with pytest.raises(ValueError, match="cap must be"):
        learned.guarded(optax.sgd(1.0), cap=0.0)
    wrong: tuple[Any, ...] = (-5, 1.5, float("nan"), "7", None)
    for horizon in wrong:
        with pytest.raises(ValueError, match="horizon must be"):
            learned.guarded(optax.sgd(1.0), horizon=horizon)
    tx: Any = learned.guarded(optax.sgd(1.0))
    one = jnp.ones(())
    with pytest.raises(ValueError, match=r"value must be one number, got \[1.0, 2.0\]"):
        tx.update(one, tx.init(one), one, value=[1.0, 2.0])
    with pytest.raises(ValueError, match="needs params and value"):
        tx.update({}, None, {})
