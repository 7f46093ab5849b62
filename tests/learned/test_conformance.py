"""What every architecture must do (`opt_gym.testing`), over whatever discovery finds."""

import pytest

from opt_gym import plugins
from opt_gym.testing import architecture_checks


@pytest.fixture(
    scope="module", params=plugins.specs("architecture"), ids=lambda s: s.name
)
def case(request):
    return architecture_checks.prepare(request.param)


@pytest.mark.parametrize("check", architecture_checks.CHECKS, ids=lambda c: c.__name__)
def test_an_architecture(case, check):
    check(case)
