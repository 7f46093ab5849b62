"""A search in rounds: the right costs, kept as they come, nothing computed twice."""

import jax.numpy as jnp
import numpy as np
import pytest

import learned
from opt_gym.evaluation import baselines, search, search_spaces
from opt_gym.evaluation.jobs import EvaluationJob
from opt_gym.evaluation.runs import EvaluationSettings
from tests import toy
from tests.evaluation.made_up import parabola

pytestmark = pytest.mark.usefixtures("parabola_family")

SMALL = EvaluationSettings(horizon=20, num_seeds=2, normalizer=toy.NORMALIZER)


@pytest.fixture
def run(monkeypatch):
    """The learning rates of every round that was run, in order."""
    rounds = []
    build = search.build_program

    def counted(*args, **settings):
        program = build(*args, **settings)

        def call(theta, data, plan):
            if int(plan.num_active):
                rounds.append(np.asarray(theta["learning_rate"]).tolist())
            return program.run(theta, data, plan)

        return program._replace(run=call)

    monkeypatch.setattr(search, "build_program", counted)
    return rounds


def job(num_trials):
    rates = np.linspace(0.01, 0.99, num_trials, dtype=np.float32)
    labels = tuple(map(str, range(num_trials)))
    optimizer = learned.make("sgd")
    theta = {"learning_rate": jnp.asarray(rates)}
    return EvaluationJob("parabola", parabola(1), optimizer, theta, labels), rates


def test_an_interrupted_search_goes_on(tmp_path, run):
    asked, rates = job(60)
    told = []

    def stop(name, done, total):
        told.append((name, done, total))
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.search([asked], SMALL, tmp_path, stop)
    name = "parabola, trials of sgd"
    assert told == [(name, 20, 60), (name, 40, 60)]
    # Rounds of one size, so that one program serves them all.
    assert [len(one) for one in run] == [20, 20]
    before = np.concatenate(run)
    run.clear()
    (costs,) = search.search([asked], SMALL, tmp_path)
    assert len(run) == 1
    np.testing.assert_array_equal(np.sort([*before, *run[0]]), rates)
    expected = [[float(toy.outer_loss(float(rate), 20))] * 2 for rate in rates]
    np.testing.assert_allclose(costs, expected, rtol=1e-4)

    run.clear()
    np.testing.assert_array_equal(search.search([asked], SMALL, tmp_path)[0], costs)
    assert run == []
    # Another horizon is another file.
    search.search([job(20)[0]], SMALL._replace(horizon=21), tmp_path)
    assert len(run) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_only_new_trials_are_run_and_equal_ones_once(tmp_path, run):
    optimizer = learned.make("sgd")

    def costs(*rates):
        theta = {"learning_rate": jnp.asarray(rates, jnp.float32)}
        asked = EvaluationJob(
            "p", parabola(1), optimizer, theta, tuple(map(str, rates))
        )
        return search.search([asked], SMALL, tmp_path)[0]

    first = costs(0.25, 0.5)
    again = costs(0.125, 0.5, 0.75, 0.125)
    assert run == [[0.25, 0.5], [0.125, 0.75]]
    np.testing.assert_array_equal(again[1], first[1])
    np.testing.assert_array_equal(again[0], again[3])
    expected = [float(toy.outer_loss(rate, 20)) for rate in (0.125, 0.5, 0.75)]
    np.testing.assert_allclose(again[:3], np.tile(expected, (2, 1)).T, rtol=1e-4)

    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])  # a damaged file is computed again
    with pytest.warns(UserWarning, match="is damaged"):
        repaired = costs(0.25, 0.5)
    np.testing.assert_array_equal(repaired, first)


def test_spaces_of_one_optimizer_share_what_they_found(tmp_path, run, monkeypatch):
    tasks = {"parabola": parabola(1)}
    grid = baselines.trial_costs("nadamw_grid", 3, tasks, SMALL, tmp_path)
    monkeypatch.setattr(search_spaces, "SEEDS", (2, 0, 1))
    run.clear()
    listed = baselines.trial_costs("opt_list", 3, tasks, SMALL, tmp_path)
    assert run == []
    np.testing.assert_array_equal(listed, grid[:, [2, 0, 1]])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_search_has_one_horizon():
    with pytest.raises(ValueError, match=r"one horizon, got \(20, 40\)"):
        search.search([job(1)[0]], SMALL._replace(horizon=(20, 40)))
    with pytest.raises(ValueError, match="num_seeds must be an integer >= 1, got 0"):
        search.search([job(1)[0]], SMALL._replace(num_seeds=0))
