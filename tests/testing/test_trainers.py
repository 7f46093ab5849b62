"""What every outer-trainer must do (`opt_gym.testing`), over whatever discovery finds."""

import pytest

import learned
from opt_gym import plugins
from opt_gym.testing import trainer_checks

SETTINGS = {"hyperparameter_search": {"box": {"learning_rate": [1e-2, 1.0]}}}
"""What a trainer must be told beside its defaults."""

OF_AN_MLP = ("sb3_ppo", "sb3_td3")
"""Trainers that train one architecture only; they need stable-baselines3."""

SAYS_THAT_IT_IS_NOT_RESUMED = ("sb3_td3",)
"""Its replay buffer is in no checkpoint, which it warns of."""


@pytest.fixture(scope="module", params=plugins.specs("trainer"), ids=lambda s: s.name)
def case(request):
    spec = request.param
    optimizer = None
    if spec.name in OF_AN_MLP:
        pytest.importorskip("stable_baselines3")
        optimizer = learned.make("mlp", hidden=4)
    return trainer_checks.prepare(spec, SETTINGS.get(spec.name), optimizer)


@pytest.mark.parametrize("check", trainer_checks.CHECKS, ids=lambda c: c.__name__)
def test_a_trainer(case, check):
    resumed = trainer_checks.a_resumed_run_is_the_unbroken_run_bit_for_bit
    if check is resumed and case.spec.name in SAYS_THAT_IT_IS_NOT_RESUMED:
        with pytest.raises(AssertionError):
            check(case)
        return
    check(case)
