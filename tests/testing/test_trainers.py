"""What every outer-trainer must do (`opt_gym.testing`), over whatever discovery finds."""

import pytest

import learned
from agents.records import traits_of
from opt_gym import plugins
from opt_gym.testing import trainer_checks

SETTINGS = {"hyperparameter_search": {"box": {"learning_rate": [1e-2, 1.0]}}}
"""What a trainer must be told beside its defaults."""

OF_AN_MLP = ("sb3_ppo", "sb3_td3")
"""Trainers that train one architecture only; they need stable-baselines3, and load their data
themselves: NaN among what they are handed is not seen (tests/agents/test_sb3_trainers.py)."""

SAYS_THAT_IT_IS_NOT_RESUMED = ("sb3_td3",)
"""Its replay buffer is in no checkpoint, which it warns of."""


@pytest.fixture(scope="module", params=plugins.specs("trainer"), ids=lambda s: s.name)
def case(request):
    spec = request.param
    optimizer = None
    if spec.name in OF_AN_MLP:
        pytest.importorskip("stable_baselines3")
        needed = traits_of(spec).architecture_options
        optimizer = learned.make("mlp", hidden=4, **needed)
    return trainer_checks.prepare(spec, SETTINGS.get(spec.name), optimizer)


@pytest.mark.parametrize("check", trainer_checks.CHECKS, ids=lambda c: c.__name__)
def test_a_trainer(case, check):
    resumed = trainer_checks.a_resumed_run_is_the_unbroken_run_bit_for_bit
    lost = trainer_checks.a_gradient_that_is_not_finite_does_not_reach_theta
    if check is lost and case.spec.name in OF_AN_MLP:
        with pytest.raises(AssertionError, match="loads its data itself"):
            check(case)
        return
    if check is resumed and case.spec.name in SAYS_THAT_IT_IS_NOT_RESUMED:
        with pytest.raises(AssertionError):
            check(case)
        return
    check(case)
