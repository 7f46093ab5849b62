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
from learned.guard import begin
from learned.how_they_fared import Contest, Entry, Remembered, mean_of_finite


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
        budget_s=20,
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
    remembered = (Remembered(8, learned),) * len(valid)
    return Entry(name, losses, losses[:, 0], valid, seconds, remembered)


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
    contest = Contest(entries, 20, is_validated=True)
    assert contest.verdict() == expected
    assert contest.table().endswith(expected)


def test_what_a_guard_did_is_told():
    quiet = begin(jnp.zeros(()))
    fell = quiet._replace(learned=0.0, switches=3.0, returns=1.0, last=1234.0)
    guarded = entry("ours", [0.2, 0.3], learned=True)
    told = [
        Contest((guarded._replace(remembered=runs),), 20).table().splitlines()[-1]
        for runs in (
            tuple(Remembered(8, True, guard) for guard in guards)
            for guards in ((quiet,), (quiet, fell))
        )
    ]
    assert told == [
        "ours: the fallback stepped at the end of 0 of 1 run; 0 changes of who steps, 0 "
        "returns to a snapshot",
        "ours: the fallback stepped at the end of 1 of 2 runs; 3 changes of who steps, 1 "
        "return to a snapshot, the last at step 1,234",
    ]


def test_a_guarded_optimizer_is_a_learned_one_that_tells_of_its_guard():
    def loss(params, batch):
        return jnp.sum((params - batch) ** 2)

    def guarded(num_steps):
        wild = optax.chain(learned.to_optax(*learned.load("general")), optax.scale(1e6))
        return learned.guarded(wild, optax.sgd(0.1), horizon=num_steps, cap=1e9)

    contest = learned.compare_on(
        loss, jnp.zeros(2), [1.0, 1.1], optimizers={"g": guarded}, budget_s=30
    )
    (entry,) = contest.entries
    assert entry.is_learned
    assert entry.final_loss < 0.1
    assert all(run.guard and run.guard.returns >= 1 for run in entry.remembered)
    assert "g: the fallback stepped at the end of 3 of 3 runs" in contest.table()


def test_a_guarded_optimizer_of_torch_does_the_same():
    def guarded(params):
        params = [*params]
        bare = learned.torch.LearnedOptim(params, "general_free")
        usual = torch.optim.SGD(params, lr=0.1)
        return learned.torch.GuardedOptim(bare, usual)

    def loss(model, batch):
        return ((model.weight - batch) ** 2).sum()

    contest = learned.torch.compare_on(
        torch.nn.Linear(2, 1, bias=False),
        loss,
        [1.0, 1.1],
        optimizers={"g": guarded},
        num_seeds=1,
        budget_s=10,
    )
    (entry,) = contest.entries
    assert entry.is_learned
    assert "g: the fallback stepped" in contest.table()


def test_a_run_that_diverged_has_no_validation_loss():
    """Though its weights are finite."""

    def loss(params, batch):
        return jnp.where(batch > 5, jnp.nan, 0.0) + jnp.sum(params**2)

    contest = learned.compare_on(
        loss,
        jnp.ones(2),
        lambda step: step % 50_000,
        valid_batches=[0],
        optimizers={"sgd": optax.sgd(0.0)},
        budget_s=8,
    )
    assert np.isnan(contest.entries[0].valid_losses).all()
    assert contest.is_validated


def test_a_bad_batch_ends_no_run():
    """One loss in twenty is not finite, and the weights are."""

    def loss(params, batch):
        return jnp.where(batch % 20 == 19, jnp.nan, 1.0) * jnp.sum(params**2)

    contest = learned.compare_on(
        loss,
        jnp.ones(2),
        lambda step: step % 50_000,
        valid_batches=[0],
        optimizers={"careful": optax.apply_if_finite(optax.sgd(0.1), 5)},
        budget_s=8,
    )
    (entry,) = contest.entries
    assert entry.final_loss < 1e-3
    assert 0 < entry.mean_loss < 2.0
    assert (entry.valid_losses < 1e-3).all()


def test_a_bad_last_batch_is_no_divergence():
    losses = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, np.nan]])
    assert mean_of_finite(losses) == 2.0
    assert np.isnan(mean_of_finite(np.array([[3.0, 2.0, 1.0], [3.0, np.inf, np.nan]])))
    assert np.isnan(mean_of_finite(np.array([np.nan])))


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
