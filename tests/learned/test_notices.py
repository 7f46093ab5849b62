"""What a training in torch is told once: gradients, horizons and models that are far off."""

import warnings

import pytest
import torch

import learned
from learned.torch import LearnedOptim, notices


def test_fifty_gradients_in_a_row_that_are_not_finite_are_told_once():
    param = torch.nn.Parameter(torch.zeros(2))
    optimizer = LearnedOptim([param], "nominal_small")

    def steps(count, value=float("nan")):
        for _ in range(count):
            param.grad = torch.full((2,), value)
            optimizer.step(loss=1.0)

    steps(49)
    steps(1, 1.0)  # the count begins anew
    steps(49)
    with pytest.warns(UserWarning, match="50 gradients or losses in a row were not"):
        steps(1)
    steps(60)  # and nothing more is said
    assert optimizer.skipped == 49 + 110
    silent = LearnedOptim([param], "nominal_small", warn=False)
    param.grad = torch.full((2,), torch.nan)
    for _ in range(51):
        silent.step(loss=1.0)
    assert silent.skipped == 51


def test_an_accelerator_is_not_waited_for(monkeypatch):
    """What was copied fifty calls ago is what is looked at."""
    seen = notices.SkippedInARow("x")
    bad = torch.zeros((), dtype=torch.bool)
    monkeypatch.setattr(notices, "is_readable", lambda flag: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(99):
            seen.saw(bad)
    with pytest.warns(UserWarning, match="in a row"):
        seen.saw(bad)


def test_a_step_beyond_the_trained_horizon_warns_once():
    lopt, theta = learned.load("nominal_small")
    lopt = lopt._replace(trained_horizon=2)
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LearnedOptim([param], (lopt, theta))

    def five_steps():
        for _ in range(5):
            param.grad = torch.ones(3)
            optimizer.step(loss=1.0)

    with pytest.warns(UserWarning, match="trained for 2 steps") as caught:
        five_steps()
    assert len(caught) == 1


def test_a_weight_decay_as_adamws_is_told():
    """The line that is warned of is the user's own."""
    params = [torch.nn.Parameter(torch.ones(2))]
    LearnedOptim(params, weight_decay=9e-4)
    LearnedOptim(params, lr=0.05, weight_decay=0.01)
    LearnedOptim(params, weight_decay=0.01, warn=False)
    with pytest.warns(
        UserWarning, match=r"weight_decay=0.01 .* takes 0.01 of every"
    ) as told:
        LearnedOptim(params, weight_decay=0.01)
    assert [one.filename for one in told] == [__file__]


def test_a_model_far_larger_than_those_of_training_is_told():
    lopt, theta = learned.load("nominal_small")
    lopt = lopt._replace(trained_size=2)
    small, large = (torch.nn.Parameter(torch.ones(size)) for size in (20, 21))
    LearnedOptim([small], (lopt, theta))
    with pytest.warns(UserWarning, match="up to 2 weights, and this one has 21"):
        LearnedOptim([large], (lopt, theta))
    LearnedOptim([large], (lopt, theta), warn=False)
