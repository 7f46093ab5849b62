"""Baselines as data: what is chosen, from what, and what is run."""

import numpy as np
import pytest

from opt_gym import normalize
from opt_gym.evaluation import baselines, jobs
from opt_gym.evaluation.baselines import GLOBAL_ADAM, PER_TASK_ADAM, Baseline
from opt_gym.evaluation.records import Settings
from opt_gym.records import Normalizer
from tests import toy
from tests.evaluation.made_up import TINY

SMALL = Settings(
    horizon=20, num_points=3, num_seeds=2, num_batches=1, normalizer=toy.NORMALIZER
)


def costs(best):
    """Made-up costs of the 14 rates, lowest at `best`."""
    return np.abs(np.arange(14) - best) / 10 + 0.01


@pytest.fixture
def measured(monkeypatch):
    """The table says: trial 9 is best for layer sizes [9], and so on."""

    def look_up(task, objective, source, corruption):
        return costs(task.config["layer_sizes"][0])

    monkeypatch.setattr(normalize, "trial_costs", look_up)


def task(best):
    return {**TINY, "layer_sizes": [best]}


def test_the_talks_learning_rates():
    rates = normalize.LEARNING_RATES
    assert len(rates) == 14
    assert rates[:3] == (1e-6, 3e-6, 1e-5)
    assert rates[-3:] == (0.3, 1.0, 3.0)


def test_global_and_per_task_choices_come_from_the_table(measured):
    tasks, training = {"a": task(3), "b": task(11)}, {"c": task(8), "d": task(9)}
    training["e"] = task(9)
    per_task = baselines.choose(PER_TASK_ADAM, tasks, {})
    assert per_task.trials == {"a": 3, "b": 11}
    # Of the training tasks trial 9 has the lowest mean; the held-out tasks do not count.
    assert baselines.choose(GLOBAL_ADAM, tasks, training).trials == {"a": 9, "b": 9}
    few = Baseline("adam_lr", 5, per_task=True)
    assert baselines.choose(few, tasks, {}).trials == {"a": 3, "b": 4}
    assert per_task.setting("a") == {"learning_rate": 3e-5}
    assert few.title == "Adam, per-task best of 5"


def adam_on_a_parabola(rate, horizon):
    """Mean of ½x² over the steps of Adam from x = 1, in plain numbers."""
    x, m, v, losses = 1.0, 0.0, 0.0, []
    for t in range(1, horizon + 1):
        m, v = 0.9 * m + 0.1 * x, 0.999 * v + 0.001 * x * x
        x -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        losses.append(0.5 * x * x)
    return np.mean(np.minimum(losses, 2.0))


def test_trials_that_nobody_measured_are_run():
    found = baselines.trial_costs("adam_lr", {"parabola": toy.quadratic()}, SMALL)
    expected = [adam_on_a_parabola(rate, 20) for rate in normalize.LEARNING_RATES]
    np.testing.assert_allclose(found, [expected], rtol=1e-3)


def test_a_trial_that_two_baselines_chose_is_run_once(monkeypatch):
    counts = []
    build = jobs.build_program

    def counted(env, optimizer, **settings):
        counts.append(settings["num_variants"])
        return build(env, optimizer, **settings)

    def known(space, tasks, settings, cache):
        return np.stack([costs({"same": 11, "other": 10}[name]) for name in tasks])

    monkeypatch.setattr(jobs, "build_program", counted)
    monkeypatch.setattr(baselines, "trial_costs", known)
    same, other = {"same": toy.quadratic()}, {"other": toy.quadratic()}
    runs, choices = baselines.evaluate_baselines(
        [GLOBAL_ADAM, PER_TASK_ADAM], {**same, **other}, same, SMALL
    )
    assert counts == [1, 2]
    assert [choice.trials for choice in choices] == [
        {"same": 11, "other": 11},
        {"same": 11, "other": 10},
    ]
    found = [(one.optimizer, one.task, float(one.mean_cost[0])) for one in runs]
    expected = {
        trial: adam_on_a_parabola(rate, 20) for trial, rate in ((10, 0.1), (11, 0.3))
    }
    assert found == [
        (GLOBAL_ADAM.title, "same", pytest.approx(expected[11], rel=1e-3)),
        (GLOBAL_ADAM.title, "other", pytest.approx(expected[11], rel=1e-3)),
        (PER_TASK_ADAM.title, "same", pytest.approx(expected[11], rel=1e-3)),
        (PER_TASK_ADAM.title, "other", pytest.approx(expected[10], rel=1e-3)),
    ]


def test_a_given_normalizer_or_horizon_is_not_looked_up(measured):
    given = SMALL._replace(horizon=1000, normalizer=Normalizer(2.3, 0.0, "given"))
    assert baselines._measured("adam_lr", TINY, given) is None
    assert baselines._measured("adam_lr", TINY, Settings(horizon=50)) is None
    assert baselines._measured("adam_lr", TINY, Settings(horizon=1000)) is not None


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (
            Baseline("adam_rate", 3, per_task=True),
            "unknown space: 'adam_rate'.*adam_lr",
        ),
        (Baseline("adam_lr", 15, per_task=True), "num_trials must be 1 to 14.*got 15"),
        (GLOBAL_ADAM, "needs training tasks"),
    ],
)
def test_bad_baselines(baseline, message):
    with pytest.raises(ValueError, match=message):
        baselines.evaluate_baselines([baseline], {"a": TINY})
