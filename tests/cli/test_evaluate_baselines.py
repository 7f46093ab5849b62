"""`opt-gym evaluate --baselines`, on a task that takes no time."""

import pytest

from opt_gym.cli import main


@pytest.fixture
def command(parabola_family):
    """The command up to its baselines."""
    tasks = ["--tasks", "parabola", "--training-tasks", "parabola_family_seed1"]
    return ["evaluate", "sgd", *tasks, "--horizon", "10", "--num-seeds", "2"]


def test_baselines_by_name(command, capsys):
    command = [*command, "--baselines", "opt_list:1", "adagrad_lr_grid:3:per_task"]
    assert main(command) == 0
    captured = capsys.readouterr()
    titles = ["opt_list, global best of 1", "adagrad_lr_grid, per-task best of 3"]
    assert f"{titles[0]}: learning rate 0.00119483," in captured.out
    assert f"minus {titles[0]}" in captured.out  # differences are from the first
    assert "3/3 parabola, trials of adagrad" in captured.err
    *table, note = captured.out.splitlines()[-4:]
    assert note.startswith("1 of 1 tasks have a provisional normalizer")
    for name, row in zip(["sgd", *titles], table, strict=True):
        assert row.startswith(f"{name}  ")
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == captured.out
    assert "trials" not in again.err  # nothing had to be searched for


def test_no_baselines(command, capsys):
    assert main([*command, "--no-baselines"]) == 0
    out = capsys.readouterr().out
    assert "minus reference" in out
    assert "best of" not in out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("adagrad", "unknown space of baselines: 'adagrad'"),
        ("opt_list:1001", "num_trials must be 1 to 1000 for 'opt_list', got 1001"),
        ("opt_list:all", "space:trials:per_task, got 'opt_list:all'"),
    ],
)
def test_what_is_no_baseline(command, capsys, asked, message):
    assert main([*command, "--baselines", asked]) == 2
    assert message in capsys.readouterr().err
