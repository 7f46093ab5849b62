"""Black-box outer-trainers: each finds the learning rate that can be worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import learned
from agents.estimators import populations
from agents.estimators.slots import evolution_samples, moments
from opt_gym.evaluation.search_spaces import log_uniform_box
from tests import toy
from tests.agents.search_problems import (
    BOX,
    EPISODES,
    HORIZON,
    SETTINGS,
    make_trainer,
    problem,
)

BEST_RATE = 1.0
"""SGD with this rate is at the quadratic's minimum after one step; a test checks it."""

NUM = 8
"""Candidates of every evaluation here, so that all share their programs."""


@pytest.fixture(autouse=True, scope="module")
def _programs_compile_once():
    build, built = populations._on_one_task, {}

    def on_one_task(env, optimizer, *settings):
        key = (id(env), *settings)
        if key not in built:
            built[key] = build(env, optimizer, *settings)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(populations, "_on_one_task", on_one_task)
        yield


def rate(theta):
    return float(theta["learning_rate"])


def evaluate(rates, *, key=None, noise=0.0, dies_above=jnp.inf, num=NUM, **settings):
    """The costs of some learning rates, repeated until there are `num`."""
    settings = {"num_episodes": 1, **EPISODES, **settings}
    env, optimizer = problem(noise, dies_above)
    mix = agents.task_mix([env])
    run = populations.evaluator(mix, optimizer, population=num, **settings)
    key = jax.random.key(0) if key is None else key
    thetas = {"learning_rate": jnp.asarray(np.resize(rates, num), jnp.float32)}
    found = run(key, thetas, ({},), 0)
    return found._replace(costs=found.costs[: len(rates)])


def test_costs_are_those_worked_out_by_hand():
    rates = [0.0, 0.1, 0.5, 1.9]
    found = evaluate(rates)
    expected = [toy.outer_loss(one, HORIZON) for one in rates]
    np.testing.assert_allclose(found.costs, expected, rtol=1e-5)
    assert (found.dropped, found.inner_steps) == (0, NUM * HORIZON)


def test_every_candidate_runs_the_same_episodes_and_every_key_others():
    same = evaluate([0.3] * NUM, noise=0.1, num_episodes=2).costs
    np.testing.assert_array_equal(same, same[0])
    other = evaluate([0.3], noise=0.1, num_episodes=2, key=jax.random.key(1)).costs
    assert other[0] != same[0]
    # Episodes of a candidate differ, else their mean would be that of one.
    assert same[0] != evaluate([0.3], noise=0.1).costs[0]


def test_a_drawn_horizon_is_the_same_for_all_and_a_multiple_of_the_window():
    keys = jax.random.split(jax.random.key(0), 8)
    steps = {evaluate([0.1, 0.5], horizon=(2, 9), key=k).inner_steps for k in keys}
    assert steps <= {NUM * 3, NUM * 6, NUM * 9}
    assert len(steps) > 1


def test_the_final_loss_is_that_of_the_last_window():
    rates = [0.1, 0.5]
    found = evaluate(rates, aggregation="final", trunc_length=1)
    sums = [[n * toy.outer_loss(x, n) for x in rates] for n in (HORIZON - 1, HORIZON)]
    expected = np.diff(np.array(sums), axis=0)[0]
    np.testing.assert_allclose(found.costs, expected, rtol=1e-3)


def test_the_dead_pay_two_and_are_counted():
    # At rate 2.5 |φ| is 1.5, ... dead from the first step on; NaN and inf are no rates.
    rates = [0.1, 2.5, np.nan, np.inf]
    found = evaluate(rates, dies_above=1.05)
    np.testing.assert_allclose(found.costs[0], toy.outer_loss(0.1, HORIZON), rtol=1e-5)
    np.testing.assert_array_equal(found.costs[1:], 2.0)
    assert found.dropped == NUM * 3 // 4


@pytest.mark.parametrize(
    ("name", "settings", "outer_steps"),
    [
        ("random_search", {}, 30),
        ("hyperparameter_search", {}, 8),
        ("evosax", {"strategy": "CMA_ES"}, 30),
        ("evosax", {"strategy": "Open_ES", "learning_rate": 0.1}, 60),
        ("evosax", {"strategy": "SNES"}, 30),
        *(
            pytest.param("evosax", {"strategy": name}, 30, marks=pytest.mark.slow)
            for name in (
                *("Sep_CMA_ES", "xNES", "MA_ES", "Rm_ES", "CR_FM_NES"),
                *("LES", "DES", "EvoTF_ES"),
            )
        ),
    ],
)
def test_the_best_learning_rate_is_found(name, settings, outer_steps):
    grid = jnp.linspace(0.0, 2.0, 201)
    by_hand = grid[jnp.argmin(jax.vmap(lambda r: toy.outer_loss(r, HORIZON))(grid))]
    np.testing.assert_allclose(by_hand, BEST_RATE, atol=1e-6)
    trainer = make_trainer(name, noise=0.1, **settings)
    result = agents.train(trainer, [{}], outer_steps=outer_steps)
    assert abs(rate(result.theta) - by_hand) < 0.2
    at_start, at_end = (toy.outer_loss(r, HORIZON) for r in (0.1, rate(result.theta)))
    assert at_end < 0.02 * at_start
    last = result.reports[-1]
    assert last.outer_loss < 0.5 * at_start
    assert last.inner_steps == NUM * HORIZON
    assert np.isnan([last.grad_norm, last.variance]).all()


@pytest.mark.parametrize(
    "name",  # the kit asks every trainer for it, with less of the state
    [
        pytest.param(name, marks=() if name == "evosax" else pytest.mark.slow)
        for name in SETTINGS
    ],
)
def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(name, tmp_path):
    settings = {"strategy": "CMA_ES"} if name == "evosax" else {}
    trainer = make_trainer(name, noise=0.1, **settings)
    unbroken = agents.train(trainer, [{}], outer_steps=12)
    agents.train(trainer, [{}], outer_steps=5, out=tmp_path)
    resumed = agents.train(trainer, [{}], outer_steps=12, out=tmp_path, resume=True)
    leaves = map(jax.tree.leaves, (resumed.state, unbroken.state))
    for mine, other in zip(*leaves, strict=True):
        if jnp.issubdtype(mine.dtype, jax.dtypes.prng_key):
            mine, other = jax.random.key_data(mine), jax.random.key_data(other)
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(resumed.reports, unbroken.reports[5:])
    other = make_trainer(name, noise=0.1, num_episodes=2)
    with pytest.raises(ValueError, match="another configuration"):
        agents.train(other, [{}], outer_steps=13, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("random_search", {"sigma": 2.0}),
        ("hyperparameter_search", {}),
        *(
            ("evosax", {"strategy": strategy, "sigma": 2.0})
            for strategy in ("Open_ES", "SNES")
        ),
    ],
)
def test_dead_candidates_never_poison(name, settings):
    # Every rate above 2.05 dies, and so does every negative one.
    trainer = make_trainer(name, dies_above=1.05, **settings)
    theta = {"learning_rate": jnp.float32(1.95)}
    result = agents.train(trainer, [{}], outer_steps=10, theta=theta)
    assert sum(report.dropped for report in result.reports) > 0
    assert np.all(np.isfinite([report.outer_loss for report in result.reports]))
    assert all(report.outer_loss <= 2 for report in result.reports)
    leaves = [x for x in jax.tree.leaves(result.state) if x.dtype == jnp.float32]
    assert not any(np.isnan(leaf).any() for leaf in leaves)
    assert np.isfinite(rate(result.theta))


def test_luck_does_not_stay():
    """The best so far is compared on every step's own episodes."""
    trainer = make_trainer("random_search", noise=0.1)
    theta = {"learning_rate": jnp.float32(0.2)}
    state = trainer.init(jax.random.key(0), ({},), theta)
    for i in range(3):
        key = jax.random.fold_in(jax.random.key(1), i)
        held = rate(trainer.theta(state))
        state, report = trainer.step(key, ({},), state)
        k_episodes = jax.random.split(key)[1]
        again = evaluate([held, rate(state.theta)], key=k_episodes, noise=0.1)
        np.testing.assert_allclose(report.outer_loss, again.costs[0], rtol=1e-6)
        assert again.costs[1] <= again.costs[0]


def test_random_search_draws_fresh_initial_theta():
    env, optimizer = problem()
    with pytest.raises(ValueError, match="of 'sgd' is always the same"):
        make_trainer("random_search", around="init")
    drawn = optimizer._replace(
        init_theta=lambda key: {"learning_rate": 3 * jax.random.uniform(key)}
    )
    trainer = agents.make(
        "random_search",
        envs=[env],
        learned_optimizer=drawn,
        around="init",
        population=NUM,
        **EPISODES,
    )
    result = agents.train(trainer, [{}], outer_steps=6)
    assert abs(rate(result.theta) - BEST_RATE) < 0.15


def trial_rates(count):
    box = log_uniform_box("sgd", BOX)
    return np.array([box.trial(number)["learning_rate"] for number in range(count)])


def test_the_best_trial_is_the_one_a_search_by_hand_finds():
    trainer = make_trainer("hyperparameter_search")
    rates = trial_rates(60)
    by_hand = rates[np.argmin([toy.outer_loss(one, HORIZON) for one in rates])]
    assert rate(agents.train(trainer, [{}], outer_steps=8).theta) == np.float32(by_hand)
    # Before the first round is complete it is the best of those tried.
    first = rates[:8][np.argmin([toy.outer_loss(one, HORIZON) for one in rates[:8]])]
    assert rate(agents.train(trainer, [{}], outer_steps=1).theta) == np.float32(first)


def test_trials_are_compared_on_the_same_episodes_of_every_task():
    noises, count = (0.1, 0.0), 12
    envs = [problem(noise)[0] for noise in noises]
    trainer = agents.make(
        "hyperparameter_search",
        envs=envs,
        learned_optimizer=problem()[1],
        box=BOX,
        num_trials=count,
        population=NUM,
        **EPISODES,
    )
    key = jax.random.key(5)
    state = trainer.init(key, ({}, {}), {"learning_rate": jnp.float32(0.1)})
    for i in range(2 * 2 + 1):  # two rounds of two steps, and one step of the third
        state, _ = trainer.step(jax.random.key(100 + i), ({}, {}), state)
    rates = trial_rates(count)
    expected = [
        np.concatenate(
            [
                evaluate(part, key=jax.random.fold_in(key, turn), noise=noise).costs
                for part in (rates[:NUM], rates[NUM:])
            ]
        )
        for turn, noise in enumerate(noises)
    ]
    np.testing.assert_allclose(state.total, sum(expected), rtol=1e-5)
    best = rates[np.argmin(np.sum(expected, 0))]
    assert rate(trainer.theta(state)) == np.float32(best)


def test_with_keep_only_the_best_share_goes_on():
    trainer = make_trainer("hyperparameter_search", num_trials=20, keep=0.5)
    state = trainer.init(jax.random.key(0), ({},), {"learning_rate": jnp.zeros(())})
    rates = trial_rates(20)
    best_first = np.argsort([toy.outer_loss(one, HORIZON) for one in rates])
    left = []
    for i in range(8):
        state, _ = trainer.step(jax.random.key(i), ({},), state)
        left.append(int(state.alive))
    # 20 trials take 3 steps of 8, then 10 take 2, then 5, 3 and 2 take one each.
    assert left == [20, 20, 10, 10, 5, 3, 2, 1]
    np.testing.assert_array_equal(state.order[:3], best_first[:3])
    assert rate(trainer.theta(state)) == np.float32(rates[best_first[0]])


def test_a_published_space_is_tuned_from_the_theta_given():
    optimizer = learned.make("tf_adam")
    env = problem()[0]
    env = env._replace(features=optimizer.features, action_map=optimizer.action_map)
    trainer = agents.make(
        "hyperparameter_search",
        envs=[env],
        learned_optimizer=optimizer,
        space="adam_lr_grid",
        **{**EPISODES, "population": 17, "horizon": 30},
    )
    theta = {**optimizer.init_theta(jax.random.key(0)), "epsilon": jnp.float32(1e-4)}
    result = agents.train(trainer, [{}], outer_steps=1, theta=theta)
    assert rate(result.theta) in (np.float32(10**-0.5), np.float32(0.1))
    # What the grid says; the first TF Adam of TaskSet has this ε.
    assert float(result.theta["epsilon"]) == np.float32(1e-8)


def test_open_es_and_our_es_are_one_gradient():
    """evosax's OpenAI-ES on its own population, ours on the same scores, and the truth."""
    import optax
    from evosax.algorithms import Open_ES
    from evosax.core.fitness_shaping import identity_fitness_shaping_fn

    count, sigma, theta = 512, 0.01, {"learning_rate": jnp.float32(0.1)}
    strategy = Open_ES(
        count,
        theta,
        optimizer=optax.sgd(1.0),
        std_schedule=optax.constant_schedule(sigma),
        fitness_shaping_fn=identity_fitness_shaping_fn,
    )
    params, keys = strategy.default_params, jax.random.split(jax.random.key(0), 3)
    with jax.numpy_rank_promotion("allow"):
        state = strategy.init(keys[0], theta, params)
        thetas, state = strategy.ask(keys[1], state, params)
    costs = evaluate(thetas["learning_rate"], num=count).costs
    with jax.numpy_rank_promotion("allow"):
        told, _ = strategy.tell(keys[2], thetas, costs, state, params)
    of_evosax = 0.1 - rate(strategy.get_mean(told))
    pos, neg = jnp.split(costs, 2)
    half = count // 2
    scores = (thetas["learning_rate"][:half, None] - 0.1) / sigma
    ours = moments(evolution_samples(scores, pos - neg, sigma, sign=False))
    np.testing.assert_allclose(of_evosax, ours.mean[0], rtol=1e-3)
    truth = toy.outer_gradient(0.1, HORIZON)
    error = np.sqrt(ours.variance[0] / half)
    assert abs(of_evosax - truth) < 4 * error < 0.5 * abs(truth)


def test_a_strategy_that_loses_its_mean_is_stopped():
    trainer = make_trainer(
        "evosax", strategy="LM_MA_ES"
    )  # NaN in 0.3.2, few dimensions
    with pytest.raises(FloatingPointError, match="LM_MA_ES moved its mean"):
        agents.train(trainer, [{}], outer_steps=5)


def test_a_step_may_take_several_tasks():
    noises = (0.1, 0.0)
    mix = agents.task_mix([problem(noise)[0] for noise in noises], per_step=2)
    settings = {"population": NUM, "num_episodes": 1, **EPISODES}
    run = populations.evaluator(mix, problem()[1], **settings)
    thetas = {"learning_rate": jnp.full(NUM, 0.3, jnp.float32)}
    found = run(jax.random.key(0), thetas, ({}, {}), 0)
    alone = [evaluate([0.3], noise=noise).costs[0] for noise in noises]
    np.testing.assert_allclose(found.costs[0], np.mean(alone), rtol=1e-6)
    assert found.inner_steps == 2 * NUM * HORIZON
