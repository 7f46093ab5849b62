"""The scores of a report against cases worked by hand."""
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false

import numpy as np
import pytest

from opt_gym.archive.task_records import TaskRecord
from opt_gym.report.archive_baselines import (
    BEST_ADAM,
    BEST_COSINE,
    LONG_ADAM,
    ONE_TRIAL,
    baselines_of,
    longer_baselines_of,
    mean_of_curve,
    noise_floor,
    up_to,
)
from opt_gym.report.matched import matched_trials
from opt_gym.report.scoring import task_scores
from opt_gym.report.verdict import judged
from tests.archive.made_up import measured
from tests.report.made_up import NORMALIZER, comparison, task


def record(**groups):
    """By setting, an underscore for the space behind the group."""
    found = {name.replace("__", " "): one for name, one in groups.items()}
    return TaskRecord("a", "c0ffee", "0123456789abcdef", found)


ADAMS = {
    "adam__0.003": measured((2.0, 1.8, 1.0, 0.5, 0.2), (0.30,) * 5),
    "adam__0.01": measured((2.0, 1.5, 0.8, 0.6, 0.4), (0.28,) * 5),
}


def test_baselines_are_picked_as_they_are_called():
    cosines = {
        "adam_cosine__0.003": measured((2.0, 1.8, 1.0, 0.5, 0.1), (0.3,)),
        "adam_cosine__0.01": measured((2.0, 1.8, 1.0, 0.5, 0.3), (0.2,)),
    }
    found = baselines_of(record(**ADAMS, **cosines))
    assert found[BEST_ADAM] is ADAMS["adam__0.01"]  # the lower mean, a higher end
    assert found[BEST_COSINE] is cosines["adam_cosine__0.003"]
    assert found[ONE_TRIAL] is ADAMS["adam__0.003"]  # what stands for it
    chosen = {"one_trial__mean": measured()}
    found = baselines_of(record(**ADAMS, **chosen))
    assert found[ONE_TRIAL] is chosen["one_trial__mean"]
    assert "prodigy" not in found


def test_a_longer_run_as_it_was_earlier():
    long = {
        "adam_10x__0.003": measured((2.0, 1.8, 1.0, 0.5, 0.2)),
        "adam_10x__0.01": measured((2.0, 1.0, 0.4, 0.3, 0.3)),
    }
    found = longer_baselines_of(record(**long), 100, {"train": NORMALIZER})
    assert found[LONG_ADAM.name].horizon == 100
    assert found[LONG_ADAM.name].final_losses[0, 0] == pytest.approx(0.3)
    cut = up_to(long["adam_10x__0.003"], 55, NORMALIZER)
    assert cut.final_losses[0] == pytest.approx([0.75, 0.85, 0.95])
    assert up_to(long["adam_10x__0.003"], 2000, NORMALIZER) is None
    assert longer_baselines_of(record(**long), 2000, {"train": NORMALIZER}) == {}
    steps, losses = np.array([0, 10, 30]), np.array([2.0, 1.0, 0.0])
    assert mean_of_curve(steps, losses, NORMALIZER) == pytest.approx(
        (0.75 * 10 + 0.25 * 20) / 30
    )


def test_one_task_by_hand():
    a = task("a")
    mine = measured((2.0, 1.4, 0.9, 0.55, 0.4), (0.25, 0.27))
    results = {
        ("mine", "a"): mine,
        (ONE_TRIAL, "a"): ADAMS["adam__0.003"],
        (BEST_COSINE, "a"): measured((2.0, 1.8, 1.0, 0.5, 0.04), (0.3,)),
    }
    known = record(**ADAMS)
    found = task_scores(comparison(results, tasks=[a]), "mine", a, known)
    assert found.mean_cost == pytest.approx(0.26)
    assert found.final_cost == pytest.approx(0.2)
    assert found.final_valid == pytest.approx(0.25)
    assert found.difference == pytest.approx(0.26 - 0.30)
    assert found.final_difference == pytest.approx((0.4 - 0.04) / 2)
    assert found.log_ratio == pytest.approx(1.0)
    assert found.improves == 0.0
    assert found.test_loss == pytest.approx(0.6)
    assert (found.test_at_best_valid, found.step_of_best_valid) == pytest.approx(
        (0.6, 1000)
    )
    # Adam 0.003 falls from .5 at step 100 to .2 at 1,000, the smoothed ends as they are:
    # the envelope at 100 is the mean of three points of either, the lower one.
    middle = min((1.0 + 0.5 + 0.2) / 3, (0.8 + 0.6 + 0.4) / 3)
    steps = 100 + 900 * (middle - 0.4) / (middle - 0.2)
    assert found.speed_up.factor == pytest.approx(steps / 1000)
    assert not found.speed_up.censored
    assert found.time_ratio == np.inf  # .2 is never reached
    assert found.accuracy is None
    assert found.cosine_speed_up is None
    negative = comparison(results, tasks=[a._replace(has_floor=False)])
    assert task_scores(negative, "mine", negative.tasks[0], known).log_ratio is None


def test_cosines_of_all_lengths_by_hand():
    a = task("a")
    cosines = {
        f"adam_cosine{length}__0.003": measured(
            (2.0, 1.8, 1.0, 0.5, end), (0.3,)
        )._replace(horizon=horizon)
        for length, horizon, end in (
            ("_0.5x", 500, 0.6),
            ("", 1000, 0.5),
            ("_2x", 2000, 0.3),
            ("_4x", 4000, 0.1),
        )
    }
    for end, factor, censored in ((0.7, 0.5, 0), (0.3, 2.0, 0), (0.05, 4.0, 1)):
        mine = {("mine", "a"): measured((2.0, 1.8, 1.0, 0.5, end))}
        found = task_scores(
            comparison(mine, tasks=[a]), "mine", a, record(**cosines, **ADAMS)
        )
        assert found.cosine_speed_up == (factor, bool(censored))


def test_a_failed_task_is_a_row_and_counts_as_the_worst():
    tasks = [task("a"), task("b")]
    results = {
        ("mine", "a"): measured(mean_cost=(0.5,) * 5),
        (ONE_TRIAL, "a"): measured(mean_cost=(0.3,) * 5),
        (ONE_TRIAL, "b"): measured(mean_cost=(0.3,) * 5),
    }
    errors = {("mine", "b"): "took over 3 s"}
    found = judged(comparison(results, tasks=tasks, errors=errors), {})
    assert found.per_task["mine", "b"].error == "took over 3 s"
    mine = found.of("mine")
    assert (mine.num_tasks, mine.num_failed) == (1, 1)
    assert mine.primary.mean.value == pytest.approx((0.2 + (2.0 - 0.3)) / 2)
    assert mine.mean_cost.value == pytest.approx((0.5 + 2.0) / 2)
    assert mine.lost == ("a", "b")
    assert found.per_task["mine", "b"].difference == pytest.approx(2.0 - 0.3)
    assert found.of(ONE_TRIAL).primary is None
    assert np.isnan(mine.primary.mean.low)  # one task: nothing can be said of others


def test_a_failure_is_no_speed_up_and_no_improvement():
    tasks = [task("a"), task("b"), task("c")]
    mine = measured((2.0, 1.4, 0.9, 0.55, 0.3), (0.25,))
    blown = measured((2.0, 1.4, 0.9, 0.55, np.inf), (2.0,))
    results = {("mine", "a"): mine, ("mine", "b"): blown}
    results |= {(BEST_COSINE, one.name): mine for one in tasks}
    errors = {("mine", "c"): "took over 3 s"}
    records = {one.name: record(**ADAMS) for one in tasks}
    found = judged(comparison(results, tasks=tasks, errors=errors), records)
    ups = [found.per_task["mine", one.name].speed_up for one in tasks]
    assert [up.factor > 0 for up in ups] == [True, False, False]
    assert not any(up.censored for up in ups)
    assert found.of("mine").speed_up == (0.0, False)
    assert found.of("mine").improves == pytest.approx((0.5 + 0.0 + 0.0) / 3)


def test_an_entrant_that_failed_everywhere_has_no_numbers():
    found = judged(comparison({}, tasks=[task("a")], errors={("mine", "a"): "oh"}), {})
    assert found.of("mine").num_failed == 1
    assert found.of("mine").mean_cost is None


def test_no_interval_below_five_seeds():
    results = {("mine", "a"): measured(mean_cost=(0.1, 0.3))}
    cost = judged(comparison(results, tasks=[task("a")]), {}).of("mine").mean_cost
    assert cost.value == pytest.approx(0.2)
    assert np.isnan([cost.low, cost.high]).all()


def test_the_noise_floor_by_hand():
    first = measured(mean_cost=(0.1, 0.1, 0.5, 0.5, 0.5))
    second = measured(mean_cost=(0.2, 0.2, 0.3, 0.3, 0.3))
    known = record(adam__1=first, adam__3=second)
    assert noise_floor(known) == pytest.approx(0.2)
    assert noise_floor(record(adam__1=measured(mean_cost=(0.1,)))) is None


def test_matched_trials_by_hand():
    trials = np.zeros((1000, 3))
    trials[:, 0] = 0.9
    trials[4, 0], trials[500, 0] = 0.5, 0.2
    known = record(**ADAMS)._replace(
        trials={"adam8p_wide_grid": trials, "opt_list": trials[:100] + 0.1}
    )
    results = {("mine", "a"): measured(mean_cost=(0.4,))}
    rows = matched_trials(comparison(results, tasks=[task("a")]), "mine", {"a": known})
    found = {title: list(np.round(row, 4)) for title, row in rows.items()}
    assert len(found) == 9
    assert found["one Adam rate for all"] == [-0.1]
    assert found["Adam's rate per task (14)"] == [-0.12]
    mean = (998 * 0.9 + 0.5 + 0.2) / 1000
    assert found["one trial of Adam8p"] == [round(mean - 0.4, 4)]
    assert found["Adam8p per task (10)"] == [0.1]
    assert found["Adam8p per task (1,000)"] == [-0.2]
    assert found["OptList per task (10)"] == [0.2]
    assert found["OptList per task (1,000)"] == found["both per task (2,000)"] == []
    assert found["one trial of NAdamW"] == []
