"""What a report says of an entrant: every claim with its number, none without."""

import numpy as np
import pytest

import opt_gym
from opt_gym.report.archive_baselines import LONG_ADAM
from opt_gym.report.in_words import Background, findings, verdict
from opt_gym.report.words_of_numbers import (
    duration,
    listed,
    p_value,
    plain_number,
    signed,
)
from tests.archive.made_up import measured
from tests.report.made_up_outcome import (
    BEST,
    ONE,
    adam_record,
    compared,
    judged_of,
    outcome,
    timing,
)

BASE = (0.5, 0.6, 0.4, 0.5, 0.7, 0.3)


def finding(costs, background=Background(), **how):  # noqa: B008 - a record
    (one,) = judged_of(outcome(compared(costs, **how)))
    return findings(one, background)[0]


def said(found):
    return {one.about: one.text for one in found.sentences}


def moved(by):
    return tuple(np.add(BASE, by))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ((-0.1, -0.2, -0.15, -0.1, -0.2, -0.1), "better"),
        ((0.1, 0.2, 0.15, 0.1, 0.2, 0.1), "worse"),
        ((-0.1, 0.2, -0.15, 0.1, -0.2, 0.1), "unclear"),
        ((0.0,) * 6, "unclear"),
    ],
)
def test_better_is_said_where_the_interval_leaves_out_zero(by, expected):
    found = finding({"mine": moved(by), ONE: BASE})
    assert found.verdict == expected
    headline = {"unclear": "no difference to the one-trial baseline"}
    assert headline.get(expected, f"{expected} than the one-trial") in found.headline
    words = said(found)["Over a run"]
    assert "[" in words
    assert "p = " in words


def test_few_tasks_and_no_baseline_give_no_verdict():
    few = finding({"mine": (0.1, 0.2), ONE: (0.5, 0.5)})
    assert few.verdict == "unknown"
    assert "on too few tasks for an interval" in few.headline
    assert "better" not in few.headline
    alone = finding({"mine": (0.1,)})
    assert alone.verdict == "unknown"
    assert "which the archive lacks" in alone.headline
    assert "Over a run" not in said(alone)
    assert verdict(None) == "unknown"


def test_lost_tasks_are_named_the_worst_first():
    costs = {"mine": (0.7, 0.1, 0.9, 0.5, 0.65, 0.3), ONE: (0.5,) * 6}
    words = said(finding(costs, parts=("easy", "hard")))["Where it loses"]
    assert "on 3 of 6 tasks: t2 (+0.400), t0 (+0.200), t4 (+0.150)" in words
    assert "worst part is easy (+0.250, mean of 3 tasks)" in words
    assert "worst family is f2 (+0.400, mean of 1 task)" in words
    words = said(finding({"mine": (0.4,) * 6, ONE: (0.5,) * 6}))["Where it loses"]
    assert "on none of 6 tasks" in words
    assert "(−0.100, still lower)" in words


def test_the_end_is_compared_with_the_best_cosine():
    given = compared({"mine": BASE, ONE: BASE, BEST: BASE})
    low = measured((2.0, 1.8, 1.0, 0.5, 0.025), (0.5,) * 5)
    results = {
        pair: low if pair[0] == BEST else one for pair, one in given.results.items()
    }
    (one,) = judged_of(outcome(given._replace(results=results)))
    found = findings(one, Background())[0]
    assert "its loss is 4.00 times theirs" in said(found)["At the end"]
    assert "worse, mean difference +0.0375" in said(found)["At the end"]
    assert (
        "higher than the best of 14 Adams with a cosine on 6 of 6"
        in said(found)["Where it loses"]
    )


def test_what_diverged_or_failed_is_named():
    given = compared(
        {"mine": (*BASE[:5], None), ONE: BASE}, errors={("mine", "t5"): "too large"}
    )
    results = {**given.results, ("mine", "t1"): measured((2.0, np.inf), (2.0,) * 5)}
    (one,) = judged_of(outcome(given._replace(results=results)))
    found = findings(one, Background(status="development"))[0]
    assert said(found)["Diverged"].startswith("5 of 25 runs, on t1 ")
    assert any("1 of 6 tasks gave no result (t5)" in line for line in found.limits)
    assert any("this is no test" in line for line in found.limits)


def test_an_entrant_that_failed_everywhere():
    errors = {("mine", f"t{n}"): "too large" for n in range(2)}
    found = finding({"mine": (None, None), ONE: (0.5, 0.5)}, errors=errors)
    assert found.headline == "no result: it failed on all of 2 tasks"
    assert found.verdict == "unknown"
    assert not [one for one in found.sentences if one.about != "Cost"]


def test_seeds_stand_ins_and_hindsight_are_said():
    records = {"t0": adam_record()}
    found = finding({"mine": (0.1,), ONE: (0.3,)}, Background(records), seeds=2)
    assert any("2 seeds a task: no interval over seeds" in x for x in found.limits)
    assert any("Adam at 0.003, constant, stands for it" in x for x in found.limits)
    assert "Adam at 0.003 stands for it" in found.headline
    chosen = {"t0": adam_record({"one_trial mean": measured()})}
    found = finding({"mine": (0.1,), ONE: (0.3,)}, Background(chosen))
    assert "stands for it" not in found.headline
    given = compared({"mine": BASE, ONE: BASE})
    marked = tuple(one._replace(in_hindsight=True) for one in given.baselines)
    given = given._replace(optimizers=(*given.entrants, *marked))
    (one,) = judged_of(outcome(given))
    limits = findings(one, Background())[0].limits
    assert any(x.startswith("Chosen in hindsight") and ONE in x for x in limits)


def test_speed_is_a_median_and_shares():
    given = compared({"mine": (0.1,)})
    (one,) = judged_of(outcome(given, records={"t0": adam_record()}))
    words = said(findings(one, Background({"t0": adam_record()}))[0])["Speed"]
    assert "a median of more than 1x; above 1x on 100 %" in words
    assert any("over cosine runs" in x for x in findings(one, Background())[0].limits)


def test_cost_of_steps_and_of_the_outer_training():
    records = {"t0": adam_record()}
    given = compared({"mine": (0.1,)})
    (one,) = judged_of(outcome(given, records=records))
    timings = {("mine", "t0"): timing()}
    training = {"mine": {"core_seconds": 100.0}}
    found = findings(one, Background(records, timings, training))[0]
    words = said(found)["Cost"]
    assert "A step takes 4.00 times as long as AdamW's" in words
    assert "24 bytes a weight (AdamW 8)" in words
    # 14 trials of 1,000 steps of .1 ms are 1.4 s, one of its own is .4 s
    assert "14 trials of Adam to the same loss it has paid after 100 trainings" in words
    assert "a rate that is already known never" in words
    assert "Steps were not timed." not in found.limits
    found = findings(one, Background(records, {}, {"mine": {"outer_steps": 10}}))[0]
    assert "What its outer-training cost is not in its file." in found.limits
    assert "Steps were not timed." in found.limits


def test_examples_that_it_was_trained_on_are_named():
    given = compared({"mine": (0.1, 0.2, 0.3, 0.4)})
    whose = ("scikit-learn's digits", "scikit-learn's digits", "Python's code", "")
    tasks = tuple(
        task._replace(examples=made)
        for task, made in zip(given.tasks, whose, strict=True)
    )
    (one,) = judged_of(outcome(given._replace(tasks=tasks)))

    def said_of(*tasks):
        training = {"mine": {"tasks": [*tasks, "no_task_of_ours", {}]}}
        limits = findings(one, Background(training=training))[0].limits
        return [words for words in limits if "outer-trained" in words]

    digits = "small_mlp_family_seed0"
    for task in (digits, opt_gym.task_config(digits)):  # θ files have either
        (words,) = said_of(task, "quadratic_family_seed94")
        assert "Of 4 tasks 2 show examples" in words
        assert words.endswith("scikit-learn's digits on 2.")
    assert said_of("quadratic_family_seed94") == []


def test_at_another_horizon_the_baseline_is_called_by_its_name():
    given = compared({"mine": BASE, LONG_ADAM.name: BASE})
    name = LONG_ADAM.name
    (one,) = judged_of(outcome(given._replace(primary=name, co_primary=name)))
    found = findings(one, Background())[0]
    assert f"no difference to “{name}” can be shown" in found.headline
    assert "one-trial" not in found.headline
    assert "At the end" not in said(found)


def test_numbers_as_sentences_have_them():
    assert plain_number(0.01234) == "0.0123"
    assert plain_number(-1234.5) == "−1,234"
    assert plain_number(0.000012345) == "1.23e-5"
    assert plain_number(None) == plain_number(np.nan) == "–"
    assert plain_number(np.inf) == "∞"
    assert plain_number(0.0) == "0"
    assert signed(0.5) == "+0.500"
    assert p_value(0.0001) == "p < 0.001"
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert duration(7200) == "2.0 hours"
    assert duration(0.0004) == "0.4 ms"
