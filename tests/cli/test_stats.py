"""`opt-gym stats`, its table, and what reads it; workers that die or take too long."""

import math

import numpy as np
import pytest

import opt_gym
from envs_registry import names
from opt_gym import normalize
from opt_gym.cli import main
from opt_gym.evaluation import measure_normalizers
from opt_gym.runtime.worker_processes import run_jobs
from opt_gym.task_statistics import statistics_table
from opt_gym.task_statistics.measurement import measure, programs
from opt_gym.task_statistics.pictures import bin_edges, plot_set
from opt_gym.task_statistics.statistics_table import Row
from tests.evaluation.made_up import TINY

_MLP = Row("", "mlp", 100, 4, 8, "mnist", 0.5, 1.0, 2.0, 3.0, 1.5, True, True)
ROWS = [
    _MLP._replace(name="mlp_family_seed0"),
    _MLP._replace(
        name="mlp_family_seed1",
        num_params=900,
        dataset="cifar10",
        seconds_per_10k_steps=20.0,
        finite=False,
    ),
    Row(
        "mlp_family_seed2", "mlp", 70, 4, 8, "mnist", built=True, error='"slow", it is'
    ),
    Row(
        "TwoD_Bowl1",
        "losg_tasks",
        2,
        1,
        0,
        "none",
        1e-3,
        0.1,
        0.1,
        2.0,
        1.0,
        True,
        True,
    ),
    Row("quadratic_family_seed3", error="its process died"),
]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of five rows that stands for the shipped one."""
    path = tmp_path / "statistics.csv"
    statistics_table.write_table(path, ROWS)
    monkeypatch.setattr(names, "STATISTICS_TABLE", path)
    return path


def test_a_table_is_read_as_it_was_written(table):
    assert list(statistics_table.read_table(table).values()) == ROWS
    statistics_table.append_row(
        table, ROWS[1]._replace(last_loss=math.inf, dataset="x")
    )
    with table.open("a") as file:
        file.write("mlp_family_seed9,mlp,1")  # the machine stopped here
    with pytest.warns(UserWarning, match="line 7 is damaged"):
        rows = statistics_table.read_table(table)
    assert len(rows) == len(ROWS)
    assert rows["mlp_family_seed1"].dataset == "x"
    assert rows["mlp_family_seed1"].last_loss == math.inf
    assert statistics_table.read_table(table.with_name("none.csv")) == {}
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is not a table of task statistics"):
        statistics_table.read_table(table)


def test_the_summary_counts_and_takes_medians():
    lines = {line.group: line for line in statistics_table.summarize(ROWS)}
    assert list(lines) == ["mlp", "quadratic", statistics_table.NAMED, "all"]
    assert lines["mlp"][1:] == (3, 3, 2, 1, 100, 10.25)
    assert lines["quadratic"][1:] == (1, 0, 0, 0, None, None)
    assert lines[statistics_table.NAMED][1:] == (1, 1, 1, 1, 2, 1e-3)
    assert lines["all"][1:] == (5, 4, 3, 2, 85, 0.5)


def test_summary_page_and_picture_from_the_table(table, capsys, tmp_path):
    assert main(["stats", "--summary"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["mlp", "3", "3", "2", "1", "100", "10.2"]
    assert main(["stats", "--markdown", "--plots", str(tmp_path / "set.png")]) == 0
    page = capsys.readouterr().out
    assert "| mlp | 3 | 3 | 2 | 1 | 100 | 10.2 |" in page
    assert "- `quadratic_family_seed3`: its process died" in page
    assert "- `mlp_family_seed1`: a loss or a weight is not finite" in page
    assert (tmp_path / "set.png").stat().st_size > 10_000
    none = table.with_name("none.csv")
    assert main(["stats", "--summary", "--table", str(none)]) == 2
    assert "has no rows" in capsys.readouterr().err
    with pytest.raises(ValueError, match="none of 1 rows"):
        plot_set(tmp_path / "empty.png", ROWS[-1:])


def test_bins_are_quarters_of_a_decade_and_hold_all():
    edges = bin_edges([2.0, 10.0])
    np.testing.assert_allclose(np.log10(edges), [0.25, 0.5, 0.75, 1.0, 1.25])
    assert np.histogram([2.0, 10.0], edges)[0].tolist() == [1, 0, 0, 1]


def test_list_filters_by_what_was_measured(table, capsys):
    def listed(*args):
        assert main(["list", *args]) == 0
        captured = capsys.readouterr()
        return [i[8:-3] for i in captured.out.split()], captured.err

    # mlp's own config is that of its seed 0.
    small, said = listed("--max-params", "100")
    assert small == ["mlp", *(f"mlp_family_seed{k}" for k in (0, 2)), "TwoD_Bowl1"]
    assert f"{len(names.task_names()) - 6} of {len(names.task_names())} tasks" in said
    assert listed("--family", "mlp", "--min-params", "101")[0] == ["mlp_family_seed1"]
    assert listed("--dataset", "cifar")[0] == ["mlp_family_seed1"]
    quick = listed("--max-seconds", "0.5")[0]
    assert quick == ["mlp", "mlp_family_seed0", "TwoD_Bowl1"]
    both = listed("--max-seconds", "30", "--min-params", "100", "--dataset", "mnist")[0]
    assert both == ["mlp", "mlp_family_seed0"]
    everything, said = listed()
    assert len(everything) == len(names.task_names())
    assert said == ""


def test_show_tells_the_cost(table, capsys):
    assert main(["show", "TwoD_Bowl1"]) == 0
    assert "cost        0.001 s per 10,000 inner steps" in capsys.readouterr().out
    assert main(["show", "TwoD_Bowl10"]) == 0
    assert "cost        not measured" in capsys.readouterr().out


def test_the_users_own_rows_come_first(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path / "cache"))
    mine = ROWS[-1]._replace(name="TwoD_Bowl10", seconds_per_10k_steps=0.25)
    again = ROWS[-1]._replace(name="TwoD_Bowl1", seconds_per_10k_steps=0.5)
    for row in (mine, again):
        statistics_table.append_row(statistics_table.user_table(), row)
    for name, seconds in (("TwoD_Bowl10", 0.25), ("TwoD_Bowl1", 0.5)):
        assert main(["show", name]) == 0
        expected = f"cost        {seconds} s per 10,000 inner steps"
        assert expected in capsys.readouterr().out
    assert len(statistics_table.known_rows(names.STATISTICS_TABLE)) == len(ROWS) + 1


def test_infeasible_and_unknown_tasks_are_named(capsys):
    assert main(["show", "conv_pooling_family_seed33"]) == 2
    assert "infeasible config: padding[4] is 'VALID'" in capsys.readouterr().err
    assert main(["show", "conv_poling_family_seed3"]) == 2
    assert "'conv_poling_family_seed3'; did you mean" in capsys.readouterr().err


def test_a_measured_row():
    seen = []
    row = measure("tiny", TINY, report=seen.append)
    assert row.error == ""
    assert (row.num_params, row.num_tensors) == (64 * 6 + 6 + 6 * 10 + 10, 4)
    assert (row.family, row.dataset, row.batch_size) == ("small_mlp", "digits", 8)
    assert row.built
    assert row.stepped
    assert row.finite
    assert 0 < (row.seconds_per_10k_steps or 0) < 100
    assert 1.5 < (row.first_loss or 0) < 4
    # What there is to say is said before the work that could end the process.
    assert [one.built for one in seen[:3]] == [False, False, True]
    assert seen[2].compile_seconds is None
    bad = measure("mine", {**TINY, "w_init": ["he_normal", 2]})
    assert bad.error.startswith("small_mlp: ")
    assert not bad.built


def test_the_measured_steps_are_steps_of_adam():
    # A quadratic without noise on A: exact gradients, so Adam's first step is the rate.
    config = opt_gym.task_config("quadratic_family_seed0")
    task = opt_gym.make_task({**config, "noise": None})
    start, advance = programs(task)
    begin, instance = start({}, np.uint32(0))
    before = np.asarray(begin.params[0])
    after = advance({}, np.uint32(0), instance, begin, np.int32(1))
    moved = np.abs(np.asarray(after.params[0]) - before)
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-2)
    assert int(after.t) == 1
    at_once = advance(
        {}, np.uint32(0), instance, start({}, np.uint32(0))[0], np.int32(3)
    )
    for _ in range(2):
        after = advance({}, np.uint32(0), instance, after, np.int32(1))
    np.testing.assert_array_equal(at_once.params[0], after.params[0])


def test_workers_survive_what_jobs_do():
    jobs = ["fine", "die", "wait", "fail", "fine"]
    function = "tests.cli.unreliable_jobs:act"
    outcomes = list(run_jobs(function, jobs, workers=2, limit=8.0, memory=8.0))
    assert sorted(outcome.job for outcome in outcomes) == sorted(jobs)
    found = {outcome.job: outcome for outcome in outcomes}
    assert found["die"][1:] == ("began die", "its process died (exit code 3)")
    assert found["wait"][1:] == ("began wait", "took over 8 s")
    assert found["fail"][1:] == ("began fail", "KeyError: 'no such thing'")
    assert found["fine"].error == ""
    assert len(found["fine"].result) == 1  # one core a worker
    (greedy,) = run_jobs(function, ["wait"], workers=1, memory=1e-3)
    assert greedy.error == "took over 0.001 GiB of memory"
    with pytest.raises(ValueError, match="workers must be >= 0, got -1"):
        list(run_jobs(function, jobs, workers=-1))
    with pytest.raises(ValueError, match="limit must be > 0, got 0"):
        list(run_jobs(function, jobs, workers=1, limit=0))


def test_stats_goes_on_where_it_stopped(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    first = Row("quadratic_family_seed0", "quadratic", 7, 1, 0, "none", error="lost")
    statistics_table.write_table(path, [ROWS[3], first])
    command = ["stats", "quadratic_family_seed0", "quadratic_family_seed5"]
    command += ["--table", str(path)]
    assert main(command) == 0
    rows = statistics_table.read_table(path)
    assert next(iter(rows)) == "quadratic_family_seed0"
    assert rows["quadratic_family_seed0"] == first  # as it was
    assert rows["quadratic_family_seed5"].finite
    assert rows["TwoD_Bowl1"] == ROWS[3]
    assert "quadratic" in capsys.readouterr().out
    assert main([*command, "--again"]) == 0
    assert statistics_table.read_table(path)["quadratic_family_seed0"].finite


def test_some_of_the_rates_are_said_to_be_some(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    task = opt_gym.make_task(TINY)
    rates = normalize.LEARNING_RATES[3:10]
    found = measure_normalizers.measure(
        task,
        source="embedded",
        num_seeds=1,
        num_batches=1,
        horizon=20,
        learning_rates=rates[::-1],
    )
    assert found.costs.shape == (7,)
    assert found.row["learning_rates"] == "3e-05 0.0001 0.0003 0.001 0.003 0.01 0.03"
    normalize.write_rows(normalize.user_table(), [found.row])
    assert normalize.lookup(task, "train", "embedded").source == "cache"
    assert normalize.trial_costs(task, "train", "embedded") is None
    for few in (rates[:6], (*rates[:6], rates[0]), (*rates[:6], 0.02)):
        with pytest.raises(ValueError, match="learning_rates must be at least 7"):
            measure_normalizers.measure(task, learning_rates=few)


def test_a_limit_needs_a_process(capsys):
    assert main(["normalize", "mlp", "--limit", "5"]) == 2
    assert "--limit needs --workers" in capsys.readouterr().err
