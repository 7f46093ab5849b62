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
from learned.contest import Usual, kept, kept_for_validation
from learned.how_they_fared import Contest, Entry


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
        valid_batches=list(batches())[:2],
        budget_s=10,
    )
    assert [entry.name for entry in contest.entries][-1] == "blown up"
    assert np.isnan(contest.entries[-1].final_loss) or (
        contest.entries[-1].final_loss > 1
    )
    assert contest.entries[0].final_loss < 0.2
    shapes = {entry.losses.shape for entry in contest.entries}
    assert shapes == {(3, contest.num_steps)}
    assert contest.entries[0].valid_loss < 0.2
    assert "valid loss" in contest.table()
    assert "learned" in contest.verdict()
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
        optimizers={"adamw": lambda num_steps: optax.adamw(0.01 + 0 * num_steps)},
        num_seeds=1,
        budget_s=4,
    )
    (entry,) = contest.entries
    assert entry.final_loss < entry.losses[0, 0]
    assert contest.verdict() == ""
    assert "valid" not in contest.table()
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
            "cosine": Usual(0.01),
        },
        valid_batches=batches(2),
        num_seeds=2,
        budget_s=8,
    )
    assert {entry.name for entry in contest.entries} == {"learned", "adamw", "cosine"}
    for entry in contest.entries:
        assert entry.final_loss < entry.losses[0, 0]
        assert np.isfinite(entry.valid_losses).all()
        # The same weights, and other batches.
        assert entry.losses[0, 0] != entry.losses[1, 0]
    assert "in two runs" in contest.verdict()
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


def entry(name, valid, *, learned=False, seconds=1.0):
    """Of runs with these validation losses."""
    valid = np.asarray(valid)
    losses = np.ones((len(valid), 20))
    return Entry(name, losses, losses[:, 0], valid, seconds, 8, learned)


SPREAD = np.array([0.0, 0.01, -0.01])


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (
            0.21 + SPREAD,
            0.24 + 1.1 * SPREAD,
            "ours is better here than adamw: validation loss 0.21 against 0.24, "
            "1.5 times as slow.",
        ),
        (
            0.24 + SPREAD,
            0.21 + 1.1 * SPREAD,
            "adamw is better here than ours: validation loss 0.21 against 0.24, "
            "1.5 times as quick.",
        ),
        (
            0.24 + SPREAD,
            0.241 - SPREAD,
            "No difference that 3 runs could tell between ours and adamw: validation loss 0.24 "
            "against 0.241, 1.5 times as slow.",
        ),
        (
            [0.021, 0.048, 0.040],
            [0.0055, 0.0055, 0.0054],
            "adamw is better here than ours: validation loss 0.005467 against 0.03633, "
            "1.5 times as quick.",
        ),
        (
            [0.2],
            [0.3],
            "ours ended lower than adamw in one run: validation loss 0.2 against 0.3, "
            "1.5 times as slow.",
        ),
        (
            [np.nan] * 3,
            0.3 + SPREAD,
            "adamw is better here than ours: validation loss 0.3 against nan, "
            "1.5 times as quick.",
        ),
    ],
)
def test_the_verdict_in_words(ours, theirs, expected):
    entries = (
        entry("adamw", theirs),
        entry("worse", np.asarray(theirs) + 1.0),
        entry("ours", ours, learned=True, seconds=1.5),
    )
    contest = Contest(entries, 20)
    assert contest.verdict() == expected
    assert contest.table().endswith(expected)


def test_runs_have_their_own_orders():
    at = kept(list(range(5)))
    assert [at(0, step) for step in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    orders = [[at(seed, step) for step in range(10)] for seed in (1, 2)]
    assert all(
        sorted(order[:5]) == sorted(order[5:]) == [*range(5)] for order in orders
    )
    assert orders[0] != orders[1]
    assert orders[0][:5] != orders[0][5:]
    of_step = kept(lambda step: step)
    assert len({of_step(seed, step) for seed in range(3) for step in range(10)}) == 30
    assert [*kept_for_validation(lambda number: number)] == [*range(20)]
    assert [*kept_for_validation(itertools.count())] == [*range(20)]
    assert len(kept_for_validation(None)) == 0
    with pytest.raises(ValueError, match="valid_batches is empty"):
        kept_for_validation([])
