"""Scores of the judge, each against a case that was worked by hand."""

import numpy as np
import pytest

from opt_gym.judge import comparisons, speed, targets
from opt_gym.judge.speed import SpeedUp

STEPS = np.array([0, 10, 20, 40, 80])
FALLING = np.array([5.0, 4.0, 3.0, 2.0, 1.0])


def test_a_smoothed_curve_keeps_its_ends():
    assert targets.smoothed(np.array([4.0, 1.0, 1.0, 7.0])).tolist() == [4, 2, 3, 7]
    assert targets.smoothed(np.array([3.0])).tolist() == [3]
    straight = np.arange(6.0)
    np.testing.assert_allclose(targets.smoothed(straight), straight)


def test_when_a_curve_reaches_a_target():
    assert targets.steps_to(4.0, STEPS, FALLING) == 10
    assert targets.steps_to(2.5, STEPS, FALLING) == 30  # half-way from 20 to 40
    assert targets.steps_to(9.0, STEPS, FALLING) == 0
    assert targets.steps_to(0.5, STEPS, FALLING) == np.inf
    # The first time counts, whatever comes after; what is not finite never does.
    assert targets.steps_to(3.0, STEPS, np.array([5.0, 1.0, 9.0, 9.0, 9.0])) == 5
    assert (
        targets.steps_to(1.0, STEPS, np.array([np.nan, np.inf, -np.inf, 9.0, 1.0]))
        == 80
    )


def test_a_run_that_is_not_finite_spoils_the_mean_from_there():
    curve = targets.mean_curve(np.array([[3.0, 2.0, 1.0], [3.0, np.nan, np.nan]]))
    assert curve[0] == 3.0
    assert not np.isfinite(curve[1:]).any()


def test_adam_at_its_only_rate_is_as_fast_as_itself():
    losses = np.stack([FALLING, FALLING])[None]
    final = targets.mean_curve(losses[0])[-1]
    assert speed.speed_up(final, 80, STEPS, losses) == SpeedUp(1.0, censored=False)


def test_an_entrant_that_needs_half_the_steps():
    losses = FALLING[None, None]
    assert speed.speed_up(1.0, 40, STEPS, losses) == SpeedUp(2.0, censored=False)
    # Adam never gets to .5 in 80 steps: more than twice as fast as an entrant of 40.
    assert speed.speed_up(0.5, 40, STEPS, losses) == SpeedUp(2.0, censored=True)


def test_the_envelope_takes_the_best_rate_at_every_step():
    quick = np.array([5.0, 2.0, 2.0, 2.0, 2.0])[None]
    slow = np.array([5.0, 5.0, 5.0, 5.0, 1.0])[None]
    found = speed.speed_up(2.0, 10, STEPS, np.stack([slow, quick]))
    assert found == SpeedUp(2.0, censored=False)  # smoothed, 2 is reached at step 20


def test_speed_ups_over_tasks():
    some = [SpeedUp(0.5, False), SpeedUp(3.0, False), SpeedUp(10.0, True)]
    assert speed.median(some) == SpeedUp(3.0, censored=False)
    assert speed.median(some[1:]) == SpeedUp(6.5, censored=True)
    assert speed.shares_above(some) == pytest.approx([2 / 3, 2 / 3, 1 / 3])


def test_time_to_a_target():
    twice = (2 * STEPS, FALLING[None])
    once = (STEPS, FALLING[None])
    assert speed.time_ratio(2.5, twice, once) == 2.0
    assert speed.time_ratio(2.5, twice, once, (0.5, 1.0)) == 1.0
    assert speed.time_ratio(2.5, (STEPS, 9.0 + FALLING[None]), once) == np.inf
    with pytest.raises(ValueError, match=r"never reaches its target, 0.1"):
        speed.time_ratio(0.1, once, once)


def test_a_profile_and_its_area():
    ratios = np.array([0.5, 1.0, 2.5, np.inf])
    assert speed.profile(ratios, np.array([1.0, 2.0, 4.0])).tolist() == [0.5, 0.5, 0.75]
    # Two are there from 1 on, one for half of the way to 4, one never.
    assert speed.profile_area(ratios) == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    fine = np.linspace(1, 4, 30_001)
    area = np.trapezoid(speed.profile(ratios, fine), fine) / 3
    assert speed.profile_area(ratios) == pytest.approx(area, abs=1e-3)


def test_an_entrant_beside_itself_and_a_better_one():
    scores = np.random.default_rng(0).uniform(0.1, 1.0, (20, 5))
    same = comparisons.paired(scores, scores)
    assert same.mean == same.iqm == (0.0, 0.0, 0.0)
    assert (same.worst, same.p_value, same.wins, same.losses) == (0.0, 1.0, 0, 0)
    better = comparisons.paired(scores - 0.05, scores)
    assert better.mean.value == pytest.approx(-0.05)
    assert better.mean.high < 0
    assert better.p_value < 1e-3
    assert (better.wins, better.num_tasks) == (20, 20)
    worse = scores.copy()
    worse[:2] += 0.5
    lost = comparisons.paired(worse, scores)
    assert (lost.losses, lost.worst) == (2, pytest.approx(0.5))
    assert lost.iqm.value == pytest.approx(0.0)  # which is why it never stands alone
    with pytest.raises(ValueError, match="paired by task, but of 20 and 19"):
        comparisons.paired(scores, scores[1:])


def test_final_losses():
    assert comparisons.probability_of_improvement(
        np.array([1.0, 3.0]), np.array([2.0, 3.0])
    ) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    with_nan = np.array([np.nan, 1.0])
    assert comparisons.probability_of_improvement(with_nan, np.array([2.0])) == 0.5
    assert comparisons.log_ratio(np.array([0.01]), np.array([0.1])) == pytest.approx(-1)
    assert comparisons.log_ratio(np.array([np.inf]), np.array([0.1])) == np.inf
    assert comparisons.log_ratio(np.array([0.0]), np.array([0.1])) == -np.inf
    for mine, theirs in ((-1.0, 1.0), (1.0, 0.0), (1.0, np.inf)):
        with pytest.raises(ValueError, match="above their floor"):
            comparisons.log_ratio(np.array([mine]), np.array([theirs]))
    losses = np.array([[1.0, np.nan], [1.0, 2.0], [0.5, 3.0]])
    assert comparisons.ranks(losses).tolist() == [[2.5, 3], [2.5, 1], [1, 2]]


def test_what_counts_as_diverged():
    flags = np.array([[True, False, False, False]])
    final = np.array([[0.5, 0.5, 1.5, np.nan]])
    assert comparisons.diverged(flags, final).tolist() == [[True, False, True, True]]


def test_when_an_outer_training_has_paid():
    assert comparisons.uses_to_pay(3600.0, 10.0, 100.0) == 40.0
    assert comparisons.uses_to_pay(3600.0, 10.0, 9.0) == np.inf
