"""Baselines as data: what is chosen, from what, and what is run."""

import numpy as np
import pytest

from opt_gym import normalize
from opt_gym.evaluation import baselines, jobs, search_spaces
from opt_gym.evaluation.baselines import GLOBAL_ADAM, PER_TASK_ADAM, SPACES, Baseline
from opt_gym.evaluation.runs import EvaluationSettings
from opt_gym.records import Normalizer
from tests import toy
from tests.evaluation.made_up import TINY, parabola

pytestmark = pytest.mark.usefixtures("parabola_family")

SMALL = EvaluationSettings(
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
    found = baselines.trial_costs("adam_lr", 14, {"parabola": toy.quadratic()}, SMALL)
    expected = [adam_on_a_parabola(rate, 20) for rate in normalize.LEARNING_RATES]
    np.testing.assert_allclose(found, [expected], rtol=1e-3)


def test_a_trial_that_two_baselines_chose_is_run_once(monkeypatch):
    counts = []
    build = jobs.build_program

    def counted(*args, num_variants, **kwargs):
        counts.append(num_variants)
        return build(*args, num_variants=num_variants, **kwargs)

    def known(space, num_trials, tasks, settings, cache, progress):
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
    assert baselines._measured("adam_lr", TINY, EvaluationSettings(horizon=50)) is None
    assert (
        baselines._measured("adam_lr", TINY, EvaluationSettings(horizon=1000))
        is not None
    )


def test_one_trial_is_no_choice(monkeypatch):
    def never(*args, **settings):
        raise AssertionError("a search for one trial")

    monkeypatch.setattr(baselines, "search", never)
    first = Baseline("opt_list", 1, per_task=False)
    choice = baselines.choose(first, {"a": TINY, "b": TINY}, {})
    assert choice.trials == {"a": 0, "b": 0}
    assert choice.setting("b") == SPACES["nadamw_grid"].trial(251)


def test_a_search_of_a_taskset_space(tmp_path):
    """The best of three corrected NAdamWs is what is run, and the costs are its costs."""
    tasks, space = {"parabola": parabola(1)}, "nadamw_grid_corrected"
    asked = [Baseline(space, 3, per_task=False)]
    (one,), (choice,) = baselines.evaluate_baselines(
        asked, tasks, tasks, SMALL, tmp_path
    )
    costs = baselines.trial_costs(space, 3, tasks, SMALL, tmp_path)[0]
    assert choice.trials == {"parabola": int(np.argmin(costs))}
    assert len(set(costs.tolist())) == 3
    np.testing.assert_allclose(one.mean_cost, costs.min(), rtol=1e-5)
    assert one.optimizer == "nadamw_grid_corrected, global best of 3"


def test_two_thousand_trials():
    asked = SMALL._replace(horizon=2, num_seeds=1)
    tasks = {"parabola": toy.quadratic()}
    costs = baselines.trial_costs("adagrad_wide_grid", 2000, tasks, asked)[0]
    assert costs.shape == (2000,)
    for trial in (0, 24, 25, 1999):
        config = search_spaces.sample("adagrad_wide_grid", trial)
        x, a, losses = 1.0, config["initial_accumulator_value"], []
        for _ in range(2):
            a += x * x
            x -= config["learning_rate"] * x / np.sqrt(a)
            losses.append(min(0.5 * x * x, 2.0))
        assert costs[trial] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adam_lr:14", GLOBAL_ADAM),
        ("adam_lr:14:global", GLOBAL_ADAM),
        ("adam_lr:14:per_task", PER_TASK_ADAM),
        ("nadamw_grid:2000:per_task", Baseline("nadamw_grid", 2000, per_task=True)),
        ("opt_list:1000", Baseline("opt_list", 1000, per_task=False)),
    ],
)
def test_a_baseline_as_text(text, expected):
    assert baselines.parse_baseline(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adm_lr:3", "unknown space of baselines: 'adm_lr'; did you mean 'adam_lr'"),
        ("adam_lr", "a baseline is space:trials.*got 'adam_lr'"),
        ("adam_lr:x", "a baseline is space:trials.*got 'adam_lr:x'"),
        ("adam_lr:-1", "a baseline is space:trials.*got 'adam_lr:-1'"),
        ("adam_lr:3:both", "a baseline is space:trials.*got 'adam_lr:3:both'"),
        ("adam_lr:0", "num_trials must be 1 to 14 for 'adam_lr', got 0"),
        (
            "nadamw_grid:2001",
            "num_trials must be 1 to 2000 for 'nadamw_grid', got 2001",
        ),
        ("opt_list:1001", "num_trials must be 1 to 1000 for 'opt_list', got 1001"),
    ],
)
def test_text_that_is_no_baseline(text, message):
    with pytest.raises(ValueError, match=message):
        baselines.parse_baseline(text)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            [Baseline("adam_rate", 3, per_task=True)],
            "unknown space of baselines: 'adam_rate'.*adam_lr",
        ),
        (
            [Baseline("adam_lr", 15, per_task=True)],
            "num_trials must be 1 to 14.*got 15",
        ),
        ([GLOBAL_ADAM], "needs training tasks"),
        ([PER_TASK_ADAM, PER_TASK_ADAM], "'Adam, per-task best of 14' is listed twice"),
    ],
)
def test_bad_baselines(asked, message):
    with pytest.raises(ValueError, match=message):
        baselines.evaluate_baselines(asked, {"a": TINY})
