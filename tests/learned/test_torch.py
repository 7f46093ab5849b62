"""The way out into torch: the numbers of optax, and a good citizen of torch.optim."""

import copy
import io
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch

import learned
from learned.torch import LearnedOptim, param_groups
from tests.learned.problems import TorchTwin, convnet, moving_theta

STEPS = 8
QUICK_ON_CONVNETS = ("adafactor_mlp", "mlp")
"""The others on a convnet are in the slow suite; on a perceptron all are in
`test_to_optax.py`, beside the environment."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in QUICK_ON_CONVNETS else [pytest.mark.slow])
        for n in learned.names()
    ],
)
def test_torch_and_optax_give_the_same_updates_of_a_convnet(name):
    optimizer, theta = moving_theta(name)
    params, loss_fn = convnet()
    tx: Any = learned.to_optax(optimizer, theta, horizon=STEPS)
    state = jax.jit(tx.init)(params)

    def ordered(tree):
        return [tree[name] for name in sorted(params)]  # JAX's order of leaves

    twin = TorchTwin(optimizer, theta, ordered(params), STEPS)

    @jax.jit
    def step(key, params, state) -> Any:
        loss, grads = jax.value_and_grad(loss_fn, argnums=1)(key, params)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), loss, grads, updates, state

    for key in jax.random.split(jax.random.key(0), STEPS):
        moved, loss, grads, updates, state = step(key, params, state)
        twin.check(ordered(params), ordered(grads), ordered(updates), loss)
        params = moved


def model_and_batch() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model: Any = torch.nn.Sequential(
        torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 3)
    )
    return model, (torch.randn(32, 6), torch.randn(32, 3))


def loss_of(model, batch):
    return torch.nn.functional.mse_loss(model(batch[0]), batch[1])


def train(model, batch, optimizer, steps):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step(loss=loss)
        losses.append(loss.item())
    return losses


def test_it_trains():
    model, batch = model_and_batch()
    losses = train(model, batch, LearnedOptim(model.parameters(), "nominal_small"), 100)
    assert losses[-1] < 0.7 * losses[0]


def test_all_ways_to_hand_over_the_loss_are_one():
    def run(step):
        model, batch = model_and_batch()
        optimizer = LearnedOptim(model.parameters(), "nominal_small")
        for _ in range(3):

            def closure(optimizer=optimizer, model=model, batch=batch):
                optimizer.zero_grad()
                loss = loss_of(model, batch)
                loss.backward()
                return loss

            step(optimizer, closure)
        return torch.cat([p.detach().ravel() for p in model.parameters()])

    def with_set_loss(optimizer, closure):
        optimizer.set_loss(closure())
        assert optimizer.step() is None

    def with_none(optimizer, closure):
        optimizer.set_loss(closure())
        assert optimizer.step(None) is None

    def returned(optimizer, closure):
        assert optimizer.step(closure).item() > 0

    ways = [
        returned,
        lambda optimizer, closure: optimizer.step(closure=closure),
        lambda optimizer, closure: optimizer.step(loss=closure()),
        lambda optimizer, closure: optimizer.step(closure()),  # GradScaler's form
        with_set_loss,
        with_none,
    ]
    results = [run(way) for way in ways]
    for result in results[1:]:
        assert torch.equal(result, results[0])


def test_a_needed_loss_is_asked_for():
    model, batch = model_and_batch()
    optimizer = LearnedOptim(model.parameters(), "nominal_small")
    loss_of(model, batch).backward()
    with pytest.raises(ValueError, match=r"'nominal' needs the loss: step\(closure\)"):
        optimizer.step()


def mlp_optimizer(params, **options):
    lopt = learned.make("mlp")
    return LearnedOptim(params, (lopt, lopt.init_theta(jax.random.key(0))), **options)


def test_parameters_may_be_groups_or_named():
    model, batch = model_and_batch()
    loss_of(model, batch).backward()
    for params in (
        model.parameters(),
        model.named_parameters(),
        [{"params": model[0].parameters(), "lr": 0.0}, {"params": [model[2].weight]}],
    ):
        optimizer = mlp_optimizer(params)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        moved = [
            not torch.equal(a, b)
            for a, b in zip(before, model.parameters(), strict=True)
        ]
        grouped = len(optimizer.param_groups) == 2
        assert moved == ([False, False, True, False] if grouped else [True] * 4)


def test_a_late_group_has_its_own_age():
    model, batch = model_and_batch()
    adam = learned.make("adam", learning_rate=0.1)
    theta = adam.init_theta(jax.random.key(0))
    optimizer = LearnedOptim(model[0].parameters(), (adam, theta))
    train(model, batch, optimizer, 5)
    optimizer.add_param_group({"params": list(model[2].parameters())})
    before = model[2].weight.detach().clone()
    train(model, batch, optimizer, 1)
    moved = (model[2].weight.detach() - before).abs()
    # The first step of Adam is its learning rate.
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1), rtol=1e-3, atol=0)


def test_parameters_without_a_gradient_are_left_out():
    model, batch = model_and_batch()
    extra = torch.nn.Parameter(torch.ones(4, 4))
    optimizer = mlp_optimizer([*model.parameters(), extra])
    train(model, batch, optimizer, 2)
    assert torch.equal(extra.detach(), torch.ones(4, 4))
    assert int(optimizer.state[extra]["step"]) == 0
    twin, _ = model_and_batch()
    train(twin, batch, mlp_optimizer(twin.parameters()), 2)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_s_state_may_be_looked_at_and_cleared():
    first, second = (torch.nn.Parameter(torch.ones(n)) for n in (4, 3))
    optimizer = mlp_optimizer([first, second])
    optimizer.state[second].clear()
    first.grad = torch.ones(4)
    optimizer.step(loss=1.0)
    second.grad = torch.ones(3)
    optimizer.step(loss=1.0)
    assert (int(optimizer.state[second]["step"]), optimizer.t) == (1, 2)


def float_types(state):
    return {value.dtype for value in state.values() if value.is_floating_point()}


def test_scalars_and_bfloat16():
    scalar = torch.nn.Parameter(torch.ones(()))
    half = torch.nn.Parameter(torch.ones(5, 4, dtype=torch.bfloat16))
    optimizer = mlp_optimizer([scalar, half], lr=100.0)
    scalar.grad, half.grad = torch.ones(()), torch.ones(5, 4, dtype=torch.bfloat16)
    optimizer.step()
    assert half.dtype == torch.bfloat16
    assert scalar.ndim == 0
    assert scalar.item() != 1.0
    assert float_types(optimizer.state[half]) == {torch.float32}


def test_what_is_not_supported_is_said():
    with pytest.raises(ValueError, match="complex"):
        mlp_optimizer([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    with pytest.raises(ValueError, match="lr must be >= 0 and finite, got -1"):
        mlp_optimizer([torch.nn.Parameter(torch.ones(2))], lr=-1.0)
    with pytest.raises(ValueError, match="unknown role: 'kernal'"):
        mlp_optimizer(
            [{"params": [torch.nn.Parameter(torch.ones(2))], "role": "kernal"}]
        )
    embedding = torch.nn.Embedding(5, 3, sparse=True)
    optimizer = mlp_optimizer(embedding.parameters())
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match=r"sparse gradient \(shape \(5, 3\)\)"):
        optimizer.step()
    with pytest.raises(FileNotFoundError, match="nominal_smal"):
        LearnedOptim([torch.nn.Parameter(torch.ones(2))], "nominal_smal")


def test_schedulers_change_lr():
    model, batch = model_and_batch()
    optimizer = mlp_optimizer(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    train(model, batch, optimizer, 1)
    schedule.step()
    before = [p.detach().clone() for p in model.parameters()]
    train(model, batch, optimizer, 1)
    assert all(
        torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)
    )


def test_weight_decay_is_decoupled():
    param = torch.nn.Parameter(torch.full((3,), 2.0))
    sgd = learned.make("sgd", learning_rate=0.0)
    theta = sgd.init_theta(jax.random.key(0))
    optimizer = LearnedOptim([param], (sgd, theta), lr=0.5, weight_decay=0.1)
    param.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(param.detach(), torch.full((3,), 2.0 - 0.5 * 0.1 * 2.0))


def test_a_cosine_ends_at_zero():
    param = torch.nn.Parameter(torch.zeros(1))
    sgd = learned.make("sgd", learning_rate=1.0)
    theta = sgd.init_theta(jax.random.key(0))
    optimizer = LearnedOptim([param], (sgd, theta), horizon=4, decay="cosine")
    moved = []
    for _ in range(6):
        before = param.detach().clone()
        param.grad = -torch.ones(1)
        optimizer.step()
        moved.append(float(param.detach() - before))
    expected = [0.5 * (1 + np.cos(np.pi * min(t, 4) / 4)) for t in range(6)]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_resume_is_exact_and_the_dict_stays_as_it_is():
    model, batch = model_and_batch()
    optimizer = LearnedOptim(model.parameters(), "nominal_small", lr=0.5)
    empty = optimizer.state_dict()  # before the first step, as Accelerate does
    train(model, batch, optimizer, 5)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = train(model, batch, optimizer, 5)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    kept = copy.deepcopy(saved["optimizer"])
    for _ in range(2):
        twin, _ = model_and_batch()
        twin.load_state_dict(saved["model"])
        again = LearnedOptim(twin.parameters(), "nominal_small")
        again.load_state_dict(empty)
        again.load_state_dict(saved["optimizer"])
        assert again.param_groups[0]["lr"] == 0.5
        assert train(twin, batch, again, 5) == expected
        assert jax.tree.all(
            jax.tree.map(
                lambda a, b: bool(torch.equal(a, b)) if torch.is_tensor(a) else a == b,
                kept,
                saved["optimizer"],
            )
        )


def test_a_state_of_bfloat16_parameters_stays_float32():
    def fresh():
        param = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        param.grad = torch.full((4,), 0.3, dtype=torch.bfloat16)
        return param, mlp_optimizer([param], lr=100.0)

    _, optimizer = fresh()
    optimizer.step()
    param, again = fresh()
    again.load_state_dict(optimizer.state_dict())
    assert float_types(again.state[param]) == {torch.float32}


def test_another_theta_is_refused():
    model, batch = model_and_batch()
    optimizer = mlp_optimizer(model.parameters())
    train(model, batch, optimizer, 1)
    lopt = learned.make("mlp")
    other = LearnedOptim(model.parameters(), (lopt, lopt.init_theta(jax.random.key(7))))
    with pytest.raises(ValueError, match="saved with the θ"):
        other.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="does not come from a LearnedOptim"):
        other.load_state_dict(torch.optim.SGD(model.parameters()).state_dict())


def test_a_gradient_that_is_not_finite_changes_only_the_count():
    model, batch = model_and_batch()
    optimizer = LearnedOptim(model.parameters(), "nominal_small")
    train(model, batch, optimizer, 2)
    before = copy.deepcopy((list(model.parameters()), optimizer.state_dict()))
    model[0].weight.grad[0, 0] = torch.nan
    optimizer.step(loss=1.0)
    for a, b in zip(before[0], model.parameters(), strict=True):
        assert torch.equal(a, b)
    after = optimizer.state_dict()
    assert optimizer.skipped == 1
    for index, values in before[1]["state"].items():
        for key, value in values.items():
            same = torch.equal(value, after["state"][index][key])
            assert same == (key != "shared.skipped")


def test_groups_of_a_model_say_what_tensors_are():
    model = torch.nn.Sequential(
        torch.nn.Embedding(7, 4),
        torch.nn.LayerNorm(4),
        torch.nn.Linear(4, 5),
        torch.nn.ConvTranspose2d(3, 2, 3),
    )
    groups = param_groups(model, weight_decay=0.1)
    found = {
        tuple(param.shape): (group["role"], group["axes"])
        for group in groups
        for param in group["params"]
    }
    assert found[7, 4] == ("embedding", None)
    assert found[5, 4] == ("kernel", None)
    assert found[3, 2, 3, 3] == ("kernel", (2, 3, 0, 1))
    assert sum(len(group["params"]) for group in groups) == 7
    optimizer = mlp_optimizer(groups)
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_groups_of_a_lazy_model_are_those_of_one_that_is_not():
    lazy = torch.nn.Sequential(
        torch.nn.LazyConvTranspose2d(2, 3),
        torch.nn.LazyBatchNorm2d(),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(5),
    )
    eager = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(3, 2, 3),
        torch.nn.BatchNorm2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(72, 5),
    )

    def told(model):
        groups = param_groups(model)
        return [(g["role"], g["axes"], len(g["params"])) for g in groups]

    assert told(lazy) == told(eager)
    optimizer = mlp_optimizer(param_groups(lazy))
    loss = lazy(torch.ones(2, 3, 4, 4)).square().sum()
    loss.backward()
    optimizer.step(loss=loss)
