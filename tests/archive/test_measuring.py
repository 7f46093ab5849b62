"""Measuring an archive, on a task that takes no time."""
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.archive import archive_files, groups
from opt_gym.archive.measuring import empty_record, measure
from opt_gym.cli import main
from opt_gym.normalize import LEARNING_RATES

TASKS = {"parabola": {"family": "parabola", "number": 3}}


@pytest.fixture
def folder(parabola_family):
    return parabola_family / "archive"


def record_in(folder):
    return archive_files.find(
        empty_record("parabola", TASKS["parabola"], "embedded"), [folder]
    )


def test_groups_are_measured_once_and_build_on_each_other(folder):
    asked = ["adam_10x", "adam", "adam_10x", "opt_list_first"]
    done = [(s.group, s.error) for s in measure(TASKS, asked, folder)]
    # Nothing can be measured before the group that makes the normalizer.
    assert done == [("adam", ""), ("adam_10x", ""), ("opt_list_first", "")]
    assert [*measure(TASKS, asked, folder)] == []
    record = record_in(folder)
    assert set(record.groups) == {"adam", "adam_10x", "opt_list_first"}
    rates = record.of_group("adam")
    assert len(rates) == len(LEARNING_RATES)
    assert all(len(one.mean_cost) == 5 for one in rates.values())
    assert all(one.inner_steps[-1] == 1000 for one in rates.values())
    longest = record.of_group("adam_10x")
    assert len(longest) == groups.NUM_LONGER
    assert all(one.horizon == 10_000 for one in longest.values())
    best = groups.best_of(rates, groups.NUM_LONGER)
    assert {n.split()[1] for n in longest} == {n.split()[1] for n in best}
    # The parabola's minimum is 0, which some rate reaches: its cost is that of the loss.
    finals = [one.final_losses[0, 0] for one in rates.values()]
    assert min(finals) < 1e-6
    assert record.measured["adam 1e-06"].mean_cost[0] == pytest.approx(0.999, abs=2e-3)


def test_trials_keep_three_numbers(folder, monkeypatch):
    few = groups._search("opt_list", "opt_list", range(3))
    monkeypatch.setitem(groups.GROUPS, "opt_list", few)
    assert [s.error for s in measure(TASKS, ["adam", "opt_list"], folder)] == ["", ""]
    record = record_in(folder)
    assert record.trials["opt_list"].shape == (3, 3)
    assert not any(name.startswith("opt_list") for name in record.measured)
    assert np.isfinite(record.trials["opt_list"]).all()


def test_time_that_is_up_and_jobs_that_fail_are_told(folder, monkeypatch):
    (late,) = measure(TASKS, ["adam"], folder, seconds=-1)
    assert late.error == "no time was left"

    def broken():
        raise ValueError("no such optimizer")

    group = groups.GROUPS["adam"]._replace(optimizer=broken)
    monkeypatch.setitem(groups.GROUPS, "adam", group)
    (failed,) = measure(TASKS, ["adam"], folder)
    assert failed.error == "no such optimizer"
    assert record_in(folder) is None


def test_other_data_and_other_configs_are_another_task(folder):
    assert [step.error for step in measure(TASKS, ["adam"], folder)] == [""]
    wanted = empty_record("parabola", TASKS["parabola"], "embedded")
    assert archive_files.find(wanted._replace(config="other"), [folder]) is None
    other = wanted._replace(data="ffffffffffffffff")
    assert archive_files.find(other, [folder]) is None
    assert archive_files.other_data(other, [folder]) == [wanted.data[:8]]


def test_the_command(folder, capsys):
    assert main(["archive", "parabola", "--groups", "adam", "--out", str(folder)]) == 0
    said = capsys.readouterr()
    assert "adam 1/1  parabola  measured" in said.err
    assert str(folder) in said.out
    assert main(["archive", "parabola", "--groups", "adams"]) == 2
    assert "did you mean 'adam'" in capsys.readouterr().err
    assert main(["archive", "parabola", "--limit", "3"]) == 2
    assert "--limit needs --workers" in capsys.readouterr().err


def test_every_group_can_be_made():
    for group in groups.GROUPS.values():
        policy = group.optimizer()
        record = empty_record("small_mlp_family_seed200", None, "embedded")
        theta = policy.init_theta(jax.random.key(0))
        for setting, entries in group.thetas(record).items():
            assert set(entries) <= set(theta), (group.name, setting)


def test_candidates_are_what_their_names_say():
    from learned.architectures.nadamw import schedule

    base = {"constant_fraction": 0.0}
    for name, theta in groups.CANDIDATES.items():
        _, kind, rate = name.split("/")
        given = {**base, **theta}
        at = [
            float(schedule(jax.tree.map(jnp.float32, given), jnp.float32(t), 1000))
            / float(rate)
            for t in (0, 25, 500, 999)
        ]
        if kind == "constant":
            assert at == pytest.approx([1, 1, 1, 1])
        else:
            assert at[2] == pytest.approx(0.5)
            assert at[3] < 1e-5
            assert at[0] == pytest.approx(1.0 if kind == "cosine" else 0.0)
