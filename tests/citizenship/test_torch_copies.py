"""All of torch's ways to copy, reset, save and restore an optimizer, as with Adam."""

import collections
import copy
import io
import pickle
from typing import Any

import jax
import pytest
import torch
from torch.distributed.checkpoint import state_dict as distributed

import learned
from learned.torch import LearnedOptim
from tests.citizenship.subjects import EVERY_ARCHITECTURE, HARDEST
from tests.learned.problems import moving_theta


def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)
    )


def optimizer_of(name: str, model: Any, **settings: Any) -> LearnedOptim:
    return LearnedOptim(model.parameters(), moving_theta(name), horizon=20, **settings)


def train(model: Any, optimizer: Any, steps: int = 2) -> list[float]:
    torch.manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(8, 4)
        optimizer.zero_grad()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses + [param.sum().item() for param in model.parameters()]


def copied(model: Any, optimizer: Any) -> tuple[Any, Any]:
    return copy.deepcopy((model, optimizer))


def pickled(model: Any, optimizer: Any) -> tuple[Any, Any]:
    return pickle.loads(pickle.dumps((model, optimizer)))


def saved(model: Any, optimizer: Any) -> tuple[Any, Any]:
    file = io.BytesIO()
    torch.save((model, optimizer), file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def restored(model: Any, optimizer: Any) -> tuple[Any, Any]:
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    again = net()
    again.load_state_dict(weights)
    other = LearnedOptim(
        again.parameters(), (optimizer.learned_optimizer, optimizer._theta), horizon=20
    )
    other.load_state_dict(state)
    return again, other


def checkpointed(model: Any, optimizer: Any) -> tuple[Any, Any]:
    """By parameters' names, as torch.distributed.checkpoint keeps states."""
    weights, state = distributed.get_state_dict(model, optimizer)
    weights, state = copy.deepcopy((weights, state))
    again = net()
    other = LearnedOptim(
        again.parameters(), (optimizer.learned_optimizer, optimizer._theta), horizon=20
    )
    distributed.set_state_dict(
        again, other, model_state_dict=weights, optim_state_dict=state
    )
    return again, other


WAYS = (copied, pickled, saved, restored, checkpointed)


@EVERY_ARCHITECTURE
def test_every_copy_goes_on_as_the_original(name):
    for steps in (0, 2):
        for way in WAYS:
            model = net()
            optimizer = optimizer_of(name, model)
            train(model, optimizer, steps)
            twin, other = way(model, optimizer)
            assert other is not optimizer
            expected = train(model, optimizer)
            assert train(twin, other) == expected, (way.__name__, steps)
            assert (other.t, other.skipped) == (steps + 2, 0)


@EVERY_ARCHITECTURE
def test_an_emptied_state_is_that_of_a_new_optimizer(name):
    model, twin = net(), net()
    optimizer = optimizer_of(name, model)
    train(model, optimizer)
    optimizer.state = collections.defaultdict(dict)
    twin.load_state_dict(model.state_dict())
    expected = train(twin, optimizer_of(name, twin))
    assert train(model, optimizer) == expected
    assert optimizer.t == 2


@EVERY_ARCHITECTURE
def test_a_layer_that_was_frozen_begins_when_it_thaws(name):
    model = net()
    model[0].requires_grad_(False)
    optimizer = optimizer_of(name, model)
    assert set(optimizer.state) == set(model[2].parameters())
    train(model, optimizer)
    twin = net()
    other = optimizer_of(name, twin)
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(optimizer.state_dict())
    expected = []
    for each, its in ((model, optimizer), (twin, other)):
        each.requires_grad_(True)
        expected.append(train(each, its))
        assert int(its.state[each[0].weight]["step"]) == 2
        assert its.t == 4
    assert expected[0] == expected[1]


def test_states_begin_with_the_optimizer_and_need_no_priming():
    model = net()
    optimizer = optimizer_of("velo_like", model)
    assert set(optimizer.state) == set(model.parameters())
    assert all(torch.is_tensor(x) for s in optimizer.state.values() for x in s.values())
    before = copy.deepcopy(optimizer.state_dict())
    distributed.get_optimizer_state_dict(model, optimizer)
    assert all(
        torch.equal(value, before["state"][i][key])
        for i, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    )
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    with pytest.raises(ValueError, match="needs the loss"):
        optimizer.step()


def test_what_cannot_be_pickled_says_so():
    adam = learned.make("adam")
    theta = adam.init_theta(jax.random.key(0))
    for changed in (adam._replace(name="mine"), adam._replace(step=lambda *a: None)):
        optimizer = LearnedOptim(net().parameters(), (changed, theta))
        copy.deepcopy(optimizer)
        with pytest.raises(pickle.PicklingError, match=r"'mine'|'adam'"):
            pickle.dumps(optimizer)


@pytest.mark.parametrize("name", HARDEST)
def test_a_compiled_step_breaks_the_graph_and_steps(name):
    model, twin = net(), net()
    optimizer, other = optimizer_of(name, model), optimizer_of(name, twin)

    @torch.compile(backend="eager")
    def step():
        optimizer.step(loss=0.5)

    for each in (model, twin):
        each(torch.ones(2, 4)).sum().backward()
    step()
    other.step(loss=0.5)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_parameters_without_elements_are_ignored():
    model, twin = net(), net()
    empty = torch.nn.Parameter(torch.zeros(0, 4))
    theta = moving_theta("hierarchical")
    optimizer = LearnedOptim([empty, *model.parameters()], theta, horizon=20)
    empty.grad = torch.zeros(0, 4)
    assert train(model, optimizer) == train(twin, optimizer_of("hierarchical", twin))
    assert empty not in optimizer.state
