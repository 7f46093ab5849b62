"""The comparison on a user's own model, in both frameworks."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import learned
import learned.torch


def batches(count=8):
    random = np.random.default_rng(0)
    for _ in range(count):
        x = random.normal(size=(32, 5)).astype(np.float32)
        yield x, (x[:, 0] > 0).astype(np.int32)


def test_a_loss_function(tmp_path):
    def loss(params, batch):
        x, y = batch
        out = x @ params["w"] + params["b"][None]
        return jnp.mean((out[:, 0] - y) ** 2)

    params = {"w": jnp.zeros((5, 1)), "b": jnp.zeros(1)}
    contest = learned.compare_on(
        loss,
        params,
        list(batches()),
        optimizers={
            "learned": "nominal_small",
            "good": optax.sgd(0.1),
            "blown up": optax.sgd(1e6),
        },
        budget_s=6,
    )
    assert [entry.name for entry in contest.entries][-1] == "blown up"
    assert np.isnan(contest.entries[-1].final_loss) or (
        contest.entries[-1].final_loss > 1
    )
    assert contest.entries[0].final_loss < 0.2
    assert all(len(entry.losses) == contest.num_steps for entry in contest.entries)
    assert jnp.all(params["w"] == 0)
    assert [e.name for e in contest.entries if e.is_learned] == ["learned"]
    assert contest.entries[0].mean_loss == np.mean(contest.entries[0].losses)
    assert "learned" in contest.table()
    assert "mean loss" in contest.table()
    picture = contest.plot(tmp_path / "contest.png")
    assert picture.stat().st_size > 10_000


def test_a_flax_module_and_an_iterable():
    module = nn.Dense(2)
    params = module.init(jax.random.key(0), jnp.zeros((1, 5)))["params"]
    contest = learned.compare_on(
        module,
        params,
        batches(),
        optimizers={"adamw 0.01": optax.adamw(0.01)},
        budget_s=4,
    )
    (entry,) = contest.entries
    assert entry.final_loss < entry.losses[0]
    assert entry.state_bytes > 2 * 4 * 12


def test_torch():
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 2)
    before = [p.detach().clone() for p in model.parameters()]

    def loss(model, batch):
        x, y = (torch.as_tensor(part) for part in batch)
        return torch.nn.functional.cross_entropy(model(x), y.long())

    contest = learned.torch.compare_on(
        model,
        loss,
        list(batches()),
        optimizers={
            "learned": "nominal_small",
            "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
        },
        budget_s=4,
    )
    assert {entry.name for entry in contest.entries} == {"learned", "adamw"}
    assert all(entry.final_loss < entry.losses[0] for entry in contest.entries)
    assert all(
        torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)
    )


def test_wrong_use_is_said():
    def loss(params, batch):
        return jnp.sum(params**2)

    one = {"sgd": optax.sgd(0.1)}
    with pytest.raises(ValueError, match="optimizers is empty"):
        learned.compare_on(loss, jnp.ones(2), [0], optimizers={})
    with pytest.raises(ValueError, match="batches is empty"):
        learned.compare_on(loss, jnp.ones(2), [], optimizers=one)
    with pytest.raises(ValueError, match="budget_s=1e-06 is too short"):
        learned.compare_on(
            loss, jnp.ones(2), itertools.repeat(0, 3), optimizers=one, budget_s=1e-6
        )
    with pytest.raises(ValueError, match="must be a function"):
        learned.compare_on(3, jnp.ones(2), [0], optimizers=one)  # pyright: ignore[reportArgumentType]
