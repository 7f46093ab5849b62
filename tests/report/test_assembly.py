"""The judge judges itself, on a task that takes no time; entrants of all kinds."""
# pyright: reportOptionalMemberAccess=false

import shutil
from functools import partial

import numpy as np
import pytest

import learned
from opt_gym import factory
from opt_gym.archive import archive_files
from opt_gym.archive.measuring import measure
from opt_gym.report import looks, running
from opt_gym.report.archive_baselines import BEST_ADAM
from opt_gym.report.assembly import judge, look_up, timed_tasks, trained_on
from opt_gym.report.entrants import Entrant, from_optax_text, from_python_file
from opt_gym.report.running import RunSettings
from opt_gym.report.suites import Suite
from opt_gym.report.verdict import judged
from tests.report.made_up import task

CONFIG = {"family": "parabola", "number": 3}
SUITE = Suite("made up", "development", "one task", {"all": {"parabola": CONFIG}})
SETTINGS = RunSettings(source="embedded")


@pytest.fixture(scope="module")
def measured_once(tmp_path_factory):
    """Where the first test that needs it leaves what it measured."""
    return tmp_path_factory.mktemp("measured") / "archive"


@pytest.fixture
def archive(parabola_family, measured_once):
    done = measure({"parabola": CONFIG}, ["adam"], measured_once)
    assert [step.error for step in done] in ([""], [])
    shutil.copytree(measured_once, archive_files.user_folder())


def adam(rate):
    """The archive's own Adam."""
    return Entrant(f"adam {rate:g}", partial(_made, rate))


def _made(rate):
    return learned.make("adam", learning_rate=rate), None


def broken():
    raise RuntimeError("cannot be made")


def result(entrants, **keywords):
    outcome = judge(SUITE, entrants, SETTINGS, timed=False, **keywords)
    return outcome, judged(outcome.comparisons[0], outcome.known.records)


def test_the_best_adam_is_no_better_than_itself(archive):
    record = look_up(SUITE, "embedded").records["parabola"]
    rates = record.of_group("adam")
    best = min(rates, key=lambda name: rates[name].mean_cost.mean())
    lowest = min(rates, key=lambda name: rates[name].final_losses[:, 0].mean())
    entrants = [adam(float(name.split()[1])) for name in {best, lowest}]
    outcome, found = result(entrants)
    assert outcome.known.notes == ()
    np.testing.assert_array_equal(found.matched[best]["Adam's rate per task (14)"], 0.0)
    mine = found.per_task[best, "parabola"]
    theirs = found.per_task[BEST_ADAM, "parabola"]
    assert mine.mean_cost == theirs.mean_cost
    # At the rate that is lowest at T, Adam needs as long as it took.
    speed_up = found.per_task[lowest, "parabola"].speed_up
    assert not speed_up.censored
    assert 0.8 <= speed_up.factor <= 1.0


def test_a_copy_ties_and_a_broken_one_is_a_row(archive):
    twin = adam(0.1)._replace(name="twin")
    told = []
    outcome, found = result(
        [adam(0.1), twin, Entrant("broken", broken)],
        progress=lambda finished, done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    first, second = found.of("adam 0.1"), found.of("twin")
    assert first._replace(optimizer="twin", rank=None) == second._replace(rank=None)
    assert first.rank == second.rank
    row = found.per_task["broken", "parabola"]
    assert row.error == "RuntimeError: cannot be made"
    assert found.of("broken").num_failed == 1
    assert outcome.timings == {}


def test_a_task_that_the_archive_lacks_is_said(parabola_family):
    outcome, found = result([adam(0.1)])
    (lacks, provisional) = outcome.known.notes
    assert "the archive lacks 1 of 1 tasks (parabola)" in lacks
    assert "provisional normalizer" in provisional
    assert found.of("adam 0.1").primary is None
    assert found.comparison.primary == ""


def test_other_data_are_said(archive, monkeypatch):
    from opt_gym.archive import measuring

    monkeypatch.setattr(measuring, "digest_data", lambda data: "f" * 16)
    (other, _) = look_up(SUITE, "embedded").notes
    assert "1 of 1 tasks have other data here than in the archive" in other


def test_a_task_with_another_loss_is_not_the_archives(archive):
    original = factory.as_task(CONFIG)
    other = original._replace(loss=lambda *a: (0.0, {}))
    parts = {"all": {"parabola": original}}
    assert look_up(SUITE._replace(parts=parts), "embedded").records["parabola"].groups
    parts = {"all": {"parabola": other}}
    known = look_up(SUITE._replace(parts=parts), "embedded")
    assert not known.records["parabola"].groups


def test_entrants_that_cannot_be_told_apart(archive):
    with pytest.raises(ValueError, match=r"two entrants are named 'adam 0.1'"):
        judge(SUITE, [adam(0.1), adam(0.1)], SETTINGS)
    with pytest.raises(ValueError, match="at least one entrant"):
        judge(SUITE, [], SETTINGS)


def test_an_entrant_may_have_the_name_of_a_baseline(archive):
    namesake = adam(0.1)._replace(name=BEST_ADAM)
    _, found = result([namesake])
    names = [one.name for one in found.comparison.optimizers]
    assert names.count(BEST_ADAM) == 1
    mine, theirs = found.of(BEST_ADAM), found.of(f"{BEST_ADAM} (archive)")
    assert mine.mean_cost != theirs.mean_cost


def test_what_a_theta_was_trained_on():
    tasks = ["small_mlp_family_seed0", "small_mlp_family_seed1"]
    given = Entrant("mine", broken, training={"tasks": tasks})
    assert trained_on(given) == {"num_weights": (2710, 8520), "batch_size": (55, 76)}
    assert trained_on(given._replace(training={"tasks": ["nobody's"]})) is None
    assert trained_on(given._replace(training={})) is None


def test_a_python_file(archive, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import optax\n"
        "def optimizer(horizon):\n"
        "    steps = int(horizon) if horizon > 10 else 10\n"
        "    return optax.sgd(optax.cosine_decay_schedule(0.1, steps))\n"
    )
    ready = tmp_path / "ready.py"
    ready.write_text(
        "from optax import contrib\n"
        "optimizer = contrib.schedule_free_sgd(0.1)\n"
        "evaluated = contrib.schedule_free_eval_params\n"
    )
    entrants = [from_python_file(path), from_python_file(ready)]
    assert [len(one.digest) for one in entrants] == [16, 16]
    _, found = result([*entrants, from_optax_text("optax:sgd(0.1)")])
    costs = [found.of(name).mean_cost.value for name in ("mine", "ready", "sgd(0.1)")]
    assert len({round(cost, 6) for cost in costs}) == 3
    assert max(costs) < 0.1
    for text, said in (
        ("optimizer = 3", "expected an optax.GradientTransformation"),
        ("x = 3", "defines no `optimizer`"),
        ("import nowhere_to_be_found", "cannot be run: ModuleNotFoundError"),
        ("def optimizer(horizon): return 1 / 0", "division by zero"),
        ("from optax import adam as optimizer", r"must be `optimizer\(horizon\)`"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            from_python_file(path)


def test_a_file_is_made_anew_for_every_horizon(archive, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import optax\n"
        "def optimizer(horizon):\n"
        "    return optax.sgd(0.1 if horizon == 20 else 0.0)\n"
    )
    settings = SETTINGS._replace(horizons=(20, 30), num_seeds=1)
    outcome = judge(SUITE, [from_python_file(path)], settings, timed=False)
    first, second = (one.results["mine", "parabola"] for one in outcome.comparisons)
    assert first.final_losses[0, 0] < 0.1 < second.final_losses[0, 0] == 0.5


def test_suites_that_cannot_be():
    for parts in ({}, {"a": {"x": CONFIG}, "b": {"x": CONFIG}}):
        with pytest.raises(ValueError, match="has no tasks, or one name for two"):
            look_up(SUITE._replace(parts=parts))


def test_an_entrant_that_cannot_be_sent_is_a_row(archive):
    _, found = result([Entrant("mine", lambda: _made(0.1))], workers=1)
    assert "cannot be sent to a process" in found.per_task["mine", "parabola"].error


def test_a_quick_suite_is_a_part_with_one_seed():
    parts = {"a": {f"a{i}": f"a{i}" for i in range(5)}, "b": {"b0": "b0", "b1": "b1"}}
    quick = Suite("s", "test", "", parts, num_quick=3).quick
    assert quick.num_seeds == 1
    assert quick.parts == {"a": {"a0": "a0", "a2": "a2", "a4": "a4"}}
    few = Suite("s", "test", "", parts, num_quick=50).quick
    assert few.parts == parts


@pytest.mark.parametrize(("patience", "rounds"), [(1e9, 7), (-1.0, 2)])
def test_long_steps_are_timed_twice_and_no_more(patience, rounds, monkeypatch, archive):
    from opt_gym.evaluation import program

    called = []
    monkeypatch.setattr(running, "PATIENCE", patience)
    monkeypatch.setattr(
        program, "seconds_per_step", lambda *given: called.append(given) or 1.0
    )
    running.time_job(running.TimingJob(adam(0.1), "parabola", CONFIG, SETTINGS))
    assert len(called) == 2 * rounds


def test_steps_are_timed_on_small_and_large(archive):
    sizes = {"a": 4, "b": 1, "c": 9, "d": 5}
    sizes = [task(name)._replace(num_weights=size) for name, size in sizes.items()]
    assert timed_tasks(sizes) == ["b", "d", "c"]
    assert timed_tasks(sizes[:1]) == ["a"]
    job = running.TimingJob(adam(0.1), "parabola", CONFIG, SETTINGS)
    found = running.time_job(job)
    assert found.seconds > 0
    assert found.adamw > 0
    assert found.state_bytes == 8.0  # two momenta
    assert found.adamw_bytes == 12.0  # and optax's count, for one weight


def test_a_theta_looks_twice_at_a_test_suite(parabola_family):
    suite = SUITE._replace(status="test")
    mine = Entrant("mine", broken, digest="abc")
    by_hand = Entrant("adam", broken)
    assert looks.write_down(SUITE, [mine]) == []
    (first,) = looks.write_down(suite, [mine, by_hand])
    assert "look 1 of 2 at made up, digest abc" in first
    (second,) = looks.write_down(suite, [mine._replace(name="renamed")])
    assert "look 2 of 2" in second
    with pytest.raises(ValueError, match="more than 2 looks"):
        looks.check(suite, [mine])
    looks.check(suite, [by_hand])
    assert len(looks.write_down(suite, [mine._replace(digest="other")])) == 1
