"""The worked examples: each trains what it says, with less time than for its page."""

import importlib

import pytest

# transformers warns of itself.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]


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
