"""The worked examples: each trains what it says, with less time than for its page."""

import importlib

import pytest

import learned
import opt_gym
from examples import guards, what_to_tune

# transformers warns of itself.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]


SHORT = {"horizon": 30, "num_seeds": 1, "num_points": 2, "data": "embedded"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("characters", {"budget_s": 45.0}),
        ("images", {"budget_s": 30.0}),
        ("adapters", {"budget_s": 45.0, "pretraining": 20}),
        ("physics", {"budget_s": 45.0}),
    ],
)
def test_an_example_runs(tmp_path, name, settings):
    module = importlib.import_module(f"examples.at_work.{name}")
    contest = module.main(tmp_path, **settings)
    assert len(contest.entries) == 4
    learned = [entry for entry in contest.entries if entry.is_learned]
    assert learned[0].final_loss < learned[0].losses[:, 0].mean()
    assert contest.verdict() in (tmp_path / "table.txt").read_text()
    assert (tmp_path / "losses.png").stat().st_size > 10_000
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 5


def test_what_to_tune(tmp_path, monkeypatch):
    few = {"learning_rate": (1, 10), "gradients": (1, 1e3), "accumulated": (1, 4)}
    monkeypatch.setattr(what_to_tune, "TURNED", few)

    def run():
        how = {"optimizers": ("general_free",), "num_seeds": 1, "horizon": 60}
        return what_to_tune.main(tmp_path, what_to_tune.TASKS[:1], **how)

    means = run()
    found = {mean[1:3]: mean for mean in means}
    assert len(found) == 6
    untouched = {found[name, 1].final for name in few}
    assert len(untouched) == 1  # the same run
    assert found["learning_rate", 10].mean > found["learning_rate", 1].mean
    # It does not mind a scaler that nobody undoes.
    assert found["gradients", 1e3].final == pytest.approx(*untouched, abs=0.02)
    (tmp_path / "figure.png").unlink()
    assert run() == means  # nothing is measured twice
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_nothing_turned_is_the_optimizer_itself():
    """The two ways to the same updates: θ inside the chain, and `to_optax`."""
    lopt, theta = learned.load("general_free")
    policy = what_to_tune.turnable("general_free", 1)
    one = opt_gym.evaluate(lopt, [what_to_tune.TASKS[0]], theta, **SHORT)[0]
    other = opt_gym.evaluate(policy, [what_to_tune.TASKS[0]], **SHORT)[0]
    assert one.step_losses[:, :10] == pytest.approx(other.step_losses[:, :10], 1e-4)


def test_guards(tmp_path):
    how = {"lists": ("small_mlp/held_out_16",), "num_tasks": 1, "num_seeds": 1}

    def run():
        return guards.main(tmp_path, horizons=(50, 200), **how)

    table = run()
    assert [row.horizon for row in table] == [50, 200]
    assert all(row.fallback < 0.6 for row in table)
    assert run() == table
    assert guards.is_kept(0.12, 0.1) == guards.is_kept(1.09, 1.0) == "yes"
    assert guards.is_kept(0.13, 0.1) == guards.is_kept(1.11, 1.0) == "no"
