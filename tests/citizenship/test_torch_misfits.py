"""What does not fit is named, and what torch's Adam can do in the same place is done."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from learned.torch import LearnedOptim
from tests.citizenship.subjects import EVERY_ARCHITECTURE
from tests.learned.problems import moving_theta


def problem(name: str, sizes: Any = (4, 3), **settings: Any) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Linear(*sizes)
    made = LearnedOptim(model.parameters(), moving_theta(name), horizon=20, **settings)
    return model, made


def step(model: Any, optimizer: Any, size: float = 1.0, loss: Any = 1.0) -> None:
    for param in model.parameters():
        param.grad = torch.full_like(param, size) * (0.5 + param.detach().sign())
    optimizer.step(loss=loss)


def weights(model: Any) -> np.ndarray:
    params = [param.detach().numpy().ravel() for param in model.parameters()]
    return np.concatenate(params)


@EVERY_ARCHITECTURE
def test_a_step_is_float32_under_autocast(name):
    (one, plain), (other, cast) = problem(name), problem(name)
    for _ in range(3):
        step(one, plain)
        with torch.autocast("cpu", torch.bfloat16):
            step(other, cast)
    np.testing.assert_array_equal(weights(one), weights(other))


@EVERY_ARCHITECTURE
def test_the_default_kind_of_numbers_changes_none(name):
    (one, plain), (other, under) = problem(name), problem(name)
    for _ in range(3):
        step(one, plain)
    torch.set_default_dtype(torch.float64)
    try:
        for _ in range(3):
            step(other, under)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(weights(one), weights(other))
    assert not {
        key
        for state in under.state.values()
        for key, value in state.items()
        if value.dtype == torch.float64
    }


@EVERY_ARCHITECTURE
def test_a_state_of_other_shapes_is_refused(name):
    model, optimizer = problem(name, (4, 1))
    step(model, optimizer)
    state = optimizer.state_dict()
    other, fresh = problem(name, (4, 3))
    if any(key.startswith(("features", "carry")) for key in state["state"][0]):
        with pytest.raises(
            ValueError, match=r"not that of a parameter of shape \(3, 4\)"
        ):
            fresh.load_state_dict(state)
    for key in list(state["state"][0]):
        lacking = copy.deepcopy(state)
        del lacking["state"][0][key]
        with pytest.raises(ValueError, match="this state"):
            optimizer.load_state_dict(lacking)
    step(other, fresh)


@pytest.mark.parametrize("state", [{}, {"param_groups": []}, {"state": {}}])
def test_what_is_no_state_is_said_so(state):
    _, optimizer = problem("nn_adam")
    with pytest.raises(ValueError, match="this state has no param_groups"):
        optimizer.load_state_dict(state)


def test_hooks_of_the_user_come_first():
    model, optimizer = problem("nn_adam")
    step(model, optimizer)
    wrapped = {"inner": optimizer.state_dict()}
    optimizer.register_load_state_dict_pre_hook(lambda _, state: state["inner"])
    optimizer.load_state_dict(wrapped)
    assert optimizer.t == 1


@pytest.mark.parametrize("name", ["hierarchical", "velo_like", "nominal"])
def test_a_loss_is_one_number(name):
    model, optimizer = problem(name)
    for one in (1.0, torch.ones(1), torch.ones(1, 1, dtype=torch.float64), np.ones(1)):
        step(model, optimizer, loss=one)
    for other in (torch.ones(3), "x", {"loss": 1.0}):
        with pytest.raises(ValueError, match="loss must be one number"):
            step(model, optimizer, loss=other)


@EVERY_ARCHITECTURE
def test_numbers_beyond_float32_are_finite(name):
    for scale, size, decay in (
        (1.0, 1e39, 0.0),
        (1e39, 1.0, 0.1),
        (1e200, 1e-200, 0.0),
    ):
        model, optimizer = problem(name, weight_decay=decay)
        model.double()
        for param in model.parameters():
            param.data.mul_(scale)
        for _ in range(2):
            step(model, optimizer, size, loss=size)
        assert np.isfinite(weights(model)).all(), (scale, size)
        assert optimizer.skipped == 0


@EVERY_ARCHITECTURE
def test_a_trial_without_numbers_leaves_nothing_behind(name):
    with FakeTensorMode():
        step(*problem(name))
    step(*problem(name))


@pytest.mark.parametrize(
    "given",
    [
        {"lr": torch.tensor(-1.0)},
        {"lr": torch.tensor([0.1, 0.2])},
        {"lr": float("inf")},
        {"lr": "a"},
        {"weight_decay": torch.tensor(-1.0)},
        {"weight_decay": float("nan")},
    ],
)
def test_factors_are_numbers_that_can_be(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} must be"):
        problem("nn_adam", **given)


def test_a_rate_of_one_number_has_any_shape():
    param = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = LearnedOptim([param], moving_theta("nn_adam"), lr=torch.tensor([0.1]))
    param.grad = torch.tensor(1.0)
    optimizer.step()
    assert param.shape == ()
    assert float(param.detach()) != 1.0


def test_parameters_that_are_not_there_yet_begin_with_their_gradient():
    model = torch.nn.LazyLinear(3)
    optimizer = LearnedOptim(model.parameters(), moving_theta("nn_adam"))
    model(torch.ones(2, 4)).sum().backward()
    before = weights(model)
    optimizer.step()
    assert np.all(weights(model) != before)


def test_integers_are_not_trained():
    counts = torch.nn.Parameter(torch.ones(3, dtype=torch.int32), requires_grad=False)
    with pytest.raises(ValueError, match=r"torch.int32 parameter of shape \(3,\)"):
        LearnedOptim([counts], moving_theta("nn_adam"))


def test_the_default_device_is_not_that_of_theta():
    model = torch.nn.Linear(4, 3)
    with torch.device("meta"):
        optimizer = LearnedOptim(model.parameters(), moving_theta("nn_adam"))
    step(model, optimizer)


def test_a_loss_that_was_set_is_copied():
    model, optimizer = problem("velo_like")
    optimizer.set_loss((model.weight * 2).sum())  # with all that it was computed from
    _, copied = copy.deepcopy((model, optimizer))
    for param in (p for group in copied.param_groups for p in group["params"]):
        param.grad = torch.ones_like(param)
    copied.step()
    assert copied.t == 1
