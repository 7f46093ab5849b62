"""The conformance kit: what every plug-in must do, for the author of one from outside.

    from opt_gym import testing
    from my_package.my_family import SPEC

    def test_my_family():
        testing.check_task(SPEC, seeds=range(3))

A `check_...` takes a SPEC that nobody needs to have registered, runs all that is asked of
its kind and raises an AssertionError that says which check failed, and with what value. It
needs no pytest. Each is composed of small named checks over one prepared case, in which
everything is compiled once; with pytest they can be tests of their own:

    @pytest.fixture(scope="module")
    def case():
        return testing.task_checks.prepare(SPEC, seed=0)

    @pytest.mark.parametrize("check", testing.task_checks.CHECKS)
    def test_my_family(case, check):
        check(case)

The tests of opt_gym itself call the same over whatever discovery finds.
"""

from opt_gym.testing.action_map_checks import check_action_map
from opt_gym.testing.architecture_checks import check_architecture
from opt_gym.testing.features_checks import check_features
from opt_gym.testing.task_checks import check_task
from opt_gym.testing.trainer_checks import check_trainer

__all__ = [
    "check_action_map",
    "check_architecture",
    "check_features",
    "check_task",
    "check_trainer",
]
