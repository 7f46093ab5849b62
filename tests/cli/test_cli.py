"""The command line, called as a function, on a task that takes no time."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import learned
from envs_registry import names
from opt_gym import normalize
from opt_gym.cli import main
from opt_gym.cli.scores import one_of_each_family
from opt_gym.evaluation import measure_normalizers
from tests.evaluation.made_up import TINY

PARABOLA = {"family": "parabola", "number": 3}


def failed(capsys, *args):
    """The one line on stderr of a command that must fail with exit code 2."""
    assert main(args) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("opt-gym: ")
    return line


def test_help_and_listing_import_no_jax():
    code = """
import sys
from opt_gym.cli import main
assert main(["list", "--contains", "quadratic-v0"]) == 0
try:
    main(["--help"])
except SystemExit as done:
    assert done.code == 0
assert not {"jax", "torch", "matplotlib", "sklearn"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OptTask-quadratic-v0\n")
    for command in ("list", "show", "train", "resume", "evaluate", "normalize"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "command", ["list", "show", "train", "resume", "evaluate", "normalize"]
)
def test_every_command_teaches_by_examples(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"opt-gym {command} " in capsys.readouterr().out


def test_list(capsys):
    assert main(["list"]) == 0
    ids = capsys.readouterr().out.splitlines()
    assert ids == [names.env_id(name) for name in names.task_names()]
    assert main(["list", "--family", "mlp", "--contains", "seed1"]) == 0
    some = capsys.readouterr().out.splitlines()
    assert some == [i for i in ids if i.startswith("OptTask-mlp_family_seed1")]
    assert main(["list", "trainers"]) == 0
    assert "pes" in capsys.readouterr().out.splitlines()
    assert main(["list", "sets"]) == 0
    assert "small_mlp/held_out  12 tasks" in capsys.readouterr().out
    assert main(["list", "suites"]) == 0
    assert "taskset-small-v2  test: forty tasks" in capsys.readouterr().out
    assert "'mpl'; did you mean 'mlp'" in failed(capsys, "list", "--family", "mpl")


def test_show(capsys, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(TINY))
    assert main(["show", str(path), "--config-only"]) == 0
    assert json.loads(capsys.readouterr().out) == TINY
    assert main(["show", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "64x6", "kernel", "384"] in lines
    assert ["3", "10", "bias", "10"] in lines
    assert ["all", str(64 * 6 + 6 + 6 * 10 + 10)] in lines
    assert ["data", "digits"] in lines
    assert lines[-1][:3] == ["normalizer", "objective", "'train':"]
    assert "(provisional:" in lines[-1]
    assert main(["show", "small_mlp_family_seed200"]) == 0
    assert "from the shipped table" in capsys.readouterr().out


def test_normalize(parabola_family, capsys):
    assert main(["normalize", "parabola", "--num-seeds", "1"]) == 0
    assert "parabola  1 at 0.5, 0 at " in capsys.readouterr().out
    row, beside = normalize.read_table(normalize.user_table()).values()
    assert (row["objective"], beside["objective"]) == ("train", "valid")
    assert row["name"] == "parabola"
    assert float(row["best"]) < 1e-9
    assert len(row["adam_mean_cost"].split()) == 14
    assert main(["normalize", "parabola"]) == 0
    assert "already" in capsys.readouterr().out
    # Who asks for the validation loss gets what the table lacks: its costs.
    assert main(["normalize", "parabola", "--objective", "valid"]) == 0
    table = normalize.read_table(normalize.user_table())
    assert [len(row["adam_mean_cost"].split()) for row in table.values()] == [14, 14]


def test_normalize_goes_on_after_a_task_that_cannot_be(
    parabola_family, capsys, monkeypatch
):
    measured = []

    def measure(task, *args, name, **settings):
        measured.append(name)
        raise ValueError(f"cannot be {name}")

    monkeypatch.setattr(measure_normalizers, "measure", measure)
    assert main(["normalize", "parabola", "parabola_family_seed2"]) == 2
    assert measured == ["parabola", "parabola_family_seed2"]
    errors = [x for x in capsys.readouterr().err.splitlines() if "opt-gym: " in x]
    assert errors == [f"opt-gym: {name}: cannot be {name}" for name in measured]


def test_train_resume_and_evaluate(parabola_family, capsys, monkeypatch):
    folder = parabola_family / "run"
    command = ["train", "--out", str(folder), "--tasks", "parabola"]
    command += ["--architecture", "sgd"]
    command += ["--architecture-options", "learning_rate", "0.5"]
    command += ["--options", "num_pairs", "2", "trunc_length", "5", "horizon", "[5,10]"]
    command += ["--outer-steps", "3", "--evaluate-on", "parabola", "--tensorboard"]
    command += ["--evaluate-every", "2", "--evaluate-seeds", "1"]
    assert "holds no run" in failed(capsys, "resume", str(folder))
    with monkeypatch.context() as patched:
        interrupt_after(2, patched)
        assert main(command) == 130
    assert "after 2 outer steps" in capsys.readouterr().out
    assert "holds a run already" in failed(capsys, *command)
    assert main(["resume", str(folder)]) == 0
    assert "after 3 outer steps" in capsys.readouterr().out
    assert main(["resume", str(folder)]) == 0
    assert "is done" in capsys.readouterr().out
    check_evaluations(folder)
    optimizer, theta = learned.load(folder / "theta.safetensors")
    assert optimizer.trained_horizon == 10
    assert optimizer.config == {"learning_rate": 0.5}
    assert float(theta["learning_rate"]) != 0.5
    with (folder / "log.csv").open() as file:
        assert [row["outer_step"] for row in csv.DictReader(file)] == ["1", "2", "3"]

    path = parabola_family / "parabola.json"
    path.write_text(json.dumps(PARABOLA))
    out = parabola_family / "results"
    command = ["evaluate", str(folder / "theta.safetensors"), "--tasks", str(path)]
    command += ["--horizon", "20", "--num-seeds", "2", "--out", str(out)]
    command += ["--training-tasks", "parabola_family_seed1"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "Adam, global best of 14: learning rate 0.3" in captured.out
    assert "Adam, per-task best of 14" in captured.out
    assert (out / "comparison_20.png").stat().st_size > 10_000
    with (out / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["optimizer"] for row in rows} == {
        "sgd",
        "Adam, global best of 14",
        "Adam, per-task best of 14",
    }
    assert {row["seed"] for row in rows} == {"0", "1"}
    final = [row for row in rows if row["optimizer"] == "sgd"][-1]
    rate = float(theta["learning_rate"])
    assert final["inner_step"] == "20"
    expected = 0.5 * (1 - rate) ** 40
    assert float(final["train_loss"]) == pytest.approx(expected, rel=1e-3, abs=1e-12)
    # What was computed is found again, and says the same.
    assert main(command) == 0
    assert capsys.readouterr().out == captured.out


def check_evaluations(folder):
    with (folder / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["outer_step"] for row in rows] == ["2", "3"]
    best = min(rows, key=lambda row: float(row["mean_cost"]))
    _, of_best = learned.load(folder / "best.safetensors")
    _, kept = learned.load(folder / f"theta-0000000{best['outer_step']}.safetensors")
    assert of_best == kept
    assert len(list((folder / "tensorboard").glob("events*"))) == 2


def interrupt_after(outer_step, monkeypatch):
    """As if Ctrl-C were pressed in that outer step."""
    from agents.callbacks import CsvLog

    write = CsvLog.__call__

    def and_interrupt(self, progress):
        write(self, progress)
        if progress.outer_step == outer_step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(CsvLog, "__call__", and_interrupt)


@pytest.mark.slow  # two processes start, twice
def test_train_on_tasks_that_workers_hold(tmp_path, capsys):
    tasks = [f"quadratic_family_seed{seed}" for seed in range(500, 504)]
    command = ["train", "--out", str(tmp_path / "run"), "--tasks", *tasks]
    command += ["--workers", "2", "--tasks-per-step", "2", "--grow-by", "1"]
    command += ["--architecture", "sgd", "--options", "num_pairs", "2"]
    assert main([*command, "--outer-steps", "3"]) == 0
    told = capsys.readouterr().err
    assert "compiling 0 of 4" in told
    assert "compiling 4 of 4" in told
    assert main(["resume", str(tmp_path / "run"), "--outer-steps", "4"]) == 0
    assert "holds θ after 4 outer steps" in capsys.readouterr().out
    both = [*command, "--ray-workers", "2"]
    both[2] = str(tmp_path / "other")
    assert "or by --ray-workers, not by both" in failed(capsys, *both)


def test_several_seeds_in_one_command(parabola_family, capsys):
    folder = parabola_family / "run"
    command = ["train", "--out", str(folder), "--tasks", "parabola", "--seeds", "2"]
    command += ["--architecture", "sgd", "--seed", "4", "--outer-steps", "1"]
    command += ["--options", "num_pairs", "2", "trunc_length", "5", "horizon", "5"]
    command += ["--outer-optimizer", "nominal_small", "--learning-rate", "0.1"]
    assert main(command) == 0
    logs = [(folder / f"seed{i}" / "log.csv").read_text() for i in (4, 5)]
    assert logs[0] != logs[1]
    # One that was killed between its last checkpoint and its θ:
    theta = folder / "seed5" / "theta.safetensors"
    content = theta.read_bytes()
    theta.unlink()
    assert main(["resume", str(folder)]) == 0
    assert "seed4 is done" in capsys.readouterr().out
    assert theta.read_bytes() == content
    # Alone it is what it was after another seed of the same trainer.
    shutil.rmtree(folder / "seed5")
    assert main(["resume", str(folder)]) == 0
    assert theta.read_bytes() == content


def test_compare_trainers(parabola_family, capsys):
    out = parabola_family / "compared"
    command = ["compare-trainers", "--tasks", "parabola", "--architecture", "sgd"]
    command += ["--trainers", "es", "random_search", "sb3_ppo", "--seeds", "2"]
    command += ["--inner-steps", "200", "--points", "2", "--horizon", "10"]
    command += ["--trunc-length", "5", "--out", str(out), "--options"]
    command += ["es.num_pairs", "2", "random_search.population", "4"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "sb3_ppo is left out: " in told
    assert "| es | " in told
    with (out / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["trainer"] for row in rows} == {"es", "random_search"}
    last = {row["trainer"]: int(row["inner_steps"]) for row in rows}
    assert all(200 <= steps <= 240 for steps in last.values())
    first = {row["outer_loss"] for row in rows if row["inner_steps"] == "0"}
    assert len(first) == 1  # every run begins with the same θ
    assert (out / "comparison.png").stat().st_size > 10_000
    command = ("compare-trainers", "--trainers", "es")
    for words, message in {
        ("--options", "sigma", "1"): "is trainer.setting, got 'sigma'",
        ("--options", "es.sgima", "1"): "unknown option of trainer 'es': 'sgima'",
        ("--options", "pes.sigma", "1"): "unknown trainer of --options: 'pes'",
        ("pess",): "unknown trainer: 'pess'",
    }.items():
        assert message in failed(capsys, *command, *words)


def test_scores_take_a_task_of_each_family_by_default():
    tasks = one_of_each_family()
    assert len({names.family_of(task) for task in tasks}) == len(tasks) == 12


@pytest.mark.slow
def test_scores(parabola_family, capsys):
    out = parabola_family / "scores.md"
    command = ["scores", "--tasks", "parabola", "--horizon", "10", "--num-seeds", "2"]
    assert main([*command, "--out", str(out)]) == 0
    header, _, row = out.read_text().splitlines()
    assert header.startswith("| environment | zero | random | best SGD | best Adam |")
    name, zero, noise, sgd, adam, _, solved = row.strip("| ").split(" | ")
    assert (name, solved) == ("parabola", adam)
    assert float(zero) < float(adam) < float(sgd) == 0.0  # rate 1 is there at once
    assert abs(float(noise) - float(zero)) < 0.1


def test_errors_are_one_line(capsys, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    other = tmp_path / "other.json"
    other.write_text("[1]")
    theta = tmp_path / "theta.safetensors"
    theta.write_bytes(b"nonsense")
    adam = ("evaluate", "adam", "--tasks")
    assert "did you mean 'small_mlp'" in failed(capsys, "show", "smal_mlp")
    assert "is not JSON" in failed(capsys, "show", str(bad))
    assert "holds no task config" in failed(capsys, "show", str(other))
    assert "No such file" in failed(capsys, "show", str(tmp_path / "none.json"))
    assert "takes one task" in failed(capsys, "show", "small_mlp/train")
    assert "unknown frozen list" in failed(capsys, *adam, "small_mlp/tran")
    assert "no tasks given" in failed(capsys, "normalize")
    assert "--horizon must be a number >= 1 and <= 16777216, got 0" in failed(
        capsys, *adam, "quadratic", "--horizon", "0", "--no-baselines"
    )
    line = failed(capsys, "evaluate", "adma", "--tasks", "mlp")
    assert "unknown θ file, bundled name or architecture: 'adma'" in line
    assert "damaged" in failed(capsys, "evaluate", str(theta), "--tasks", "mlp")
    out = ("train", "--out", str(tmp_path / "run"))
    line = failed(capsys, *out, "--options", "sgima", "0.1")
    assert "unknown option of trainer 'pes': 'sgima'; did you mean 'sigma'" in line
    assert "unknown trainer: 'pse'" in failed(capsys, *out, "--trainer", "pse")
    line = failed(
        capsys, *out, "--start", str(theta), "--architecture-options", "a", "1"
    )
    assert "--start brings its own architecture" in line
    line = failed(capsys, *out, "--tasks", "small_mpl/train")
    assert "unknown frozen list" in line
    assert "num_pairs must be" in failed(capsys, *out, "--options", "num_pairs", "0")
    assert "--outer-steps must be a number >= 1 and <= 2147483647" in failed(
        capsys, *out, "--outer-steps", "0"
    )
    assert "unknown frozen list" in failed(capsys, *out, "--evaluate-on", "a/b")
    assert not (tmp_path / "run").exists()


def test_a_word_that_is_no_command():
    with pytest.raises(SystemExit) as done:
        main(["trian"])
    assert done.value.code == 2
