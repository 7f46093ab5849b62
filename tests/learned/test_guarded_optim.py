"""The guard in torch does what it does in optax, and is an optimizer like any other."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import learned
from learned.torch import GuardedOptim, LearnedOptim

START = np.linspace(-1.0, 2.0, 6, dtype=np.float32).reshape(3, 2)


def loss_of(weights: Any) -> Any:
    return ((weights - 1.0) ** 2).sum()


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(START))


def guard_of(param: Any, rate: float, usual: float, **options: Any) -> GuardedOptim:
    return GuardedOptim(
        torch.optim.SGD([param], rate), torch.optim.SGD([param], usual), **options
    )


def trained(optimizer: Any, param: Any, num_steps: int) -> list[float]:
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = loss_of(param)
        loss.backward()
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses


def in_optax(tx: Any, num_steps: int) -> tuple[list[float], Any]:
    params, losses = jnp.asarray(START), []
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, grads = jax.value_and_grad(loss_of)(params)
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state, value

    for _ in range(num_steps):
        params, state, value = step(params, state)
        losses.append(float(value))
    return losses, state


@pytest.mark.filterwarnings("ignore:GuardedOptim")
@pytest.mark.parametrize("rate", [0.01, 1e-5, 1.1, 40.0])
def test_as_in_optax(rate):
    """A learned optimizer that pays, stalls, explodes, and is capped."""
    param = parameter()
    ours = guard_of(param, rate, 0.003, cap=50.0)
    losses = trained(ours, param, 130)
    tx = learned.guarded(optax.sgd(rate), optax.sgd(0.003), cap=50.0)
    expected, state = in_optax(tx, 130)
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-6)
    told = {name: np.asarray(value) for name, value in ours.guard._asdict().items()}
    for name in ("t", "learned", "start", "length", "switches", "returns", "last"):
        np.testing.assert_array_equal(told[name], getattr(state.guard, name))


def test_a_step_that_pays_is_the_bare_one():
    param, bare = parameter(), parameter()
    ours = guard_of(param, 0.01, 0.003)
    trained(ours, param, 11)  # the challenger's tenth, and back
    assert torch.equal(param, bare)
    trained(ours, param, 5)
    trained(torch.optim.SGD([bare], 0.01), bare, 0)
    for _ in range(5):
        bare.grad = torch.autograd.grad(loss_of(bare), bare)[0]
        torch.optim.SGD([bare], 0.01).step()
    assert torch.equal(param, bare)


def test_an_explosion_warns_once_and_memories_begin_anew():
    param = parameter()
    usual = torch.optim.Adam([param], 0.01)
    ours = GuardedOptim(torch.optim.SGD([param], 0.1), usual)
    trained(ours, param, 3)
    before = param.detach().clone()
    ours.step(loss=torch.nan)  # a bad batch, perhaps
    assert torch.equal(param, before)
    with pytest.warns(UserWarning, match="at step 5 the loss exploded.* Adam goes on"):
        ours.step(loss=torch.nan)
    assert not usual.state
    assert torch.equal(param, torch.tensor(START))
    assert not torch.equal(param, before)
    ours.step(loss=torch.nan)  # said once


def test_a_gradient_that_is_not_finite_moves_nothing():
    param = parameter()
    bare = LearnedOptim([param], "nominal_small")
    usual = torch.optim.Adam([param], 0.01)
    ours = GuardedOptim(bare, usual)
    trained(ours, param, 15)
    before, moments = param.detach().clone(), usual.state[param]["exp_avg"].clone()
    param.grad = torch.full_like(param, torch.nan)
    ours.step(loss=1.0)
    assert torch.equal(param, before)
    assert torch.equal(usual.state[param]["exp_avg"], moments)
    assert bare.skipped == 1
    trained(ours, param, 3)
    assert torch.isfinite(param).all()
    assert int(ours.guard.returns) == 0


@pytest.mark.filterwarnings("ignore:GuardedOptim")
def test_a_learned_rate_goes_on_where_memories_begin_anew():
    param = parameter()
    bare = LearnedOptim([param], "nominal_small", horizon=100, decay="linear")
    ours = GuardedOptim(bare, torch.optim.Adam([param], 0.01))
    trained(ours, param, 40)
    counts = [bare.t, bare.skipped]
    assert counts == [40, 0]
    ours.step(loss=torch.nan)
    ours.step(loss=torch.nan)
    state = bare.state[param]
    assert (bare.t, int(state["shared.begun"]), int(state["step"])) == (40, 40, 0)
    copied = copy.deepcopy(bare)
    # What θ is shown is a run of 60 steps from its start, and the factor is that of step 40.
    alone = torch.nn.Parameter(param.detach().clone())
    whole = LearnedOptim([alone], "nominal_small", horizon=60)
    moving = copied.param_groups[0]["params"][0]
    for one in (moving, alone):
        one.grad = torch.ones_like(one)
    start = alone.detach().clone()
    copied.step(loss=1.0)
    whole.step(loss=1.0)
    torch.testing.assert_close(moving - start, 0.6 * (alone - start), rtol=1e-4, atol=0)


def test_states_that_are_read_in_place_are_nobody_elses():
    """As torch.distributed.checkpoint reads them."""
    param = parameter()
    saved = guard_of(param, 0.01, 0.003)
    trained(saved, param, 30)
    fresh = guard_of(param, 0.01, 0.003)
    into = fresh.state_dict()["guard"]
    for name, value in saved.state_dict()["guard"].items():
        into[name].copy_(value)
    fresh.load_state_dict({**fresh.state_dict(), "guard": into})
    assert [*map(str, fresh.guard)] == [*map(str, saved.guard)]
    assert int(guard_of(param, 0.01, 0.003).guard.t) == 0


def test_parameters_that_come_later_are_given_to_both_first():
    param, later = parameter(), parameter()
    ours = guard_of(param, 0.01, 0.003)
    with pytest.raises(ValueError, match="SGD has not been given 1 of these"):
        ours.add_param_group({"params": [later]})
    assert len(ours.param_groups) == 1
    for optimizer in (ours.learned, ours.fallback, ours):
        optimizer.add_param_group({"params": [later]})
    later.grad, param.grad = torch.ones_like(later), torch.ones_like(param)
    ours.step(loss=1.0)
    assert not torch.equal(later, torch.tensor(START))


def test_schedulers_change_every_step():
    param = parameter()
    ours = guard_of(param, 0.01, 0.003)
    falling = torch.optim.lr_scheduler.LambdaLR(ours, lambda step: 0.5)
    (grad,) = torch.autograd.grad(loss_of(param), param)
    param.grad = grad
    ours.step(loss=1.0)
    falling.step()
    expected = torch.tensor(START) - 0.5 * 0.003 * grad
    torch.testing.assert_close(param.detach(), expected)


def saved_and_continued(way: str) -> list[float]:
    torch.manual_seed(0)
    param = parameter()
    ours = GuardedOptim(
        LearnedOptim([param], "nominal_small"), torch.optim.Adam([param], 0.01)
    )
    trained(ours, param, 30)
    if way == "copied":
        ours = copy.deepcopy(ours)
        param = ours.param_groups[0]["params"][0]
    elif way == "restored":
        state, param = ours.state_dict(), torch.nn.Parameter(param.detach().clone())
        ours = GuardedOptim(
            LearnedOptim([param], "nominal_small"), torch.optim.Adam([param], 0.01)
        )
        ours.load_state_dict(copy.deepcopy(state))
    return trained(ours, param, 90)


@pytest.mark.parametrize("way", ["copied", "restored"])
def test_it_goes_on_where_it_was(way):
    assert saved_and_continued(way) == saved_and_continued("")


def test_a_closure_and_a_loss_that_was_set():
    param = parameter()
    ours = guard_of(param, 0.01, 0.003)

    def closure() -> Any:
        ours.zero_grad()
        loss = loss_of(param)
        loss.backward()
        return loss

    assert ours.step(closure).item() == loss_of(torch.tensor(START)).item()
    ours.set_loss(1.0)
    ours.step()
    assert int(ours.guard.t) == 2


def test_what_cannot_be_is_named():
    param, other = parameter(), parameter()
    one, two = torch.optim.SGD([param], 1.0), torch.optim.SGD([other], 1.0)
    with pytest.raises(ValueError, match="must have the same parameters"):
        GuardedOptim(one, two)
    with pytest.raises(ValueError, match="cap must be"):
        GuardedOptim(one, one, cap=-1.0)
    with pytest.raises(ValueError, match="horizon must be"):
        GuardedOptim(one, one, horizon=-3)
    ours = GuardedOptim(one, torch.optim.SGD([param], 1.0))
    with pytest.raises(ValueError, match="GuardedOptim needs the loss"):
        ours.step()
    with pytest.raises(ValueError, match="loss must be one number"):
        ours.step(loss=torch.ones(2))
    with pytest.raises(ValueError, match="not a GuardedOptim's own"):
        ours.load_state_dict(one.state_dict())
