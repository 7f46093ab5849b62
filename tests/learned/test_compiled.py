"""`LearnedOptim(compiled=True)`: the maths of a step as one program."""

import copy
import pickle
import shutil
from typing import Any

import jax
import numpy as np
import pytest
import torch

import learned
from learned.torch import LearnedOptim
from opt_gym import plugins
from opt_gym.maths import array_namespace, parts

SHAPES = ((5, 4), (4,), (5, 4))


@pytest.fixture
def only_traced(monkeypatch):
    """A program is its graph, which the compiler does not see; counts them."""
    made = []

    def compiled(graph, **settings):
        made.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", compiled)
    return made


def optimizer_of(name, shapes=SHAPES, **settings):
    lopt = learned.make(name)
    theta = jax.jit(lopt.init_theta)(jax.random.key(0))
    # Outputs of zero would hide the nets behind them.
    keys = iter(jax.random.split(jax.random.key(1), 99))
    theta = jax.tree.map(lambda x: noisy(x, next(keys)), theta)
    random = np.random.RandomState(0)
    params = [
        torch.tensor(random.randn(*shape), dtype=torch.float32) for shape in shapes
    ]
    params = [torch.nn.Parameter(param) for param in params]
    return params, LearnedOptim(params, (lopt, theta), horizon=10, **settings)


def noisy(x, key):
    """Zeros are no zeros, and a decay stays between 0 and 1."""
    noise = 0.1 * jax.random.normal(key, x.shape)
    return jax.numpy.where(x == 0, noise, x * (1 + noise))


def steps(params, optimizer, number=3):
    random = np.random.RandomState(1)
    for _ in range(number):
        for param in params:
            grad = torch.tensor(random.randn(*param.shape), dtype=torch.float32)
            param.grad = grad if param.requires_grad else None
        optimizer.step(loss=float(random.rand()))
    return [param.detach().clone() for param in params]


@pytest.mark.parametrize("name", plugins.names("architecture"))
def test_a_program_does_what_the_calls_do(name, only_traced):
    plain, compiled = optimizer_of(name), optimizer_of(name, compiled=True)
    for one, other in zip(steps(*plain), steps(*compiled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert len(only_traced) == 1
    states = [made[1].state_dict()["state"] for made in (plain, compiled)]
    for one, other in zip(*(jax.tree.leaves(state) for state in states), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_another_set_of_tensors_is_another_program(only_traced):
    params, optimizer = optimizer_of("nadamw", compiled=True)
    steps(params, optimizer)
    params[0].requires_grad_(False)
    before = params[0].clone()
    steps(params, optimizer)
    params[0].requires_grad_(True)
    steps(params, optimizer)
    assert torch.equal(before, params[0]) is False
    assert len(only_traced) == 2


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
def test_copies_compile_for_themselves(copied, only_traced):
    pair = optimizer_of("nadamw", compiled=True)
    steps(*pair)
    other = copied(pair)
    for one, two in zip(steps(*pair), steps(*other), strict=True):
        torch.testing.assert_close(one, two)
    assert len(only_traced) == 2


def test_parts_of_tensors_are_refused(only_traced):
    maths: Any = optimizer_of("nadamw", compiled=True)[1]._maths
    with (
        parts.with_others(parts.Others(())),
        pytest.raises(ValueError, match="compiled=True"),
    ):
        maths.advance(None, None, None, None)
    assert not only_traced


def test_only_inside_is_traced():
    tensor = torch.ones(2)
    assert array_namespace.is_eager(tensor)
    with array_namespace.traced():
        assert not array_namespace.is_eager(tensor)
        assert not array_namespace.is_readable(tensor)
        assert array_namespace.is_torch(tensor)
    assert array_namespace.is_readable(tensor)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of torch
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_the_compiler_itself():
    plain = optimizer_of("general", SHAPES[:2])
    compiled = optimizer_of("general", SHAPES[:2], compiled=True)
    for one, other in zip(steps(*plain), steps(*compiled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
