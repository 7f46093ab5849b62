"""`opt-gym report`, called as a function, on a task that takes no time."""

import json

import pytest

import learned
from envs_registry import judge_suites
from learned import theta_file
from opt_gym.cli import main
from opt_gym.report import looks, writing
from tests.cli.test_cli import failed
from tests.report.test_assembly import (  # noqa: F401 — fixtures
    SUITE,
    archive,
    measured_once,
)

HERE = ("--suite", "made up", "--workers", "0", "--no-timing")


@pytest.fixture
def suite(monkeypatch, archive):  # noqa: F811
    monkeypatch.setitem(judge_suites.SUITES, "made up", SUITE)


def test_it_writes_a_page_and_every_number(suite, tmp_path, capsys):
    out = tmp_path / "report"
    brought = learned.save(tmp_path / "brought.safetensors", *learned.load("mlp_small"))
    words = ["report", str(brought), "optax:sgd(cosine 0.1)", *HERE, "--out", str(out)]
    stale = out / "figures/matched_trials_7.svg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    assert main(words) == 0
    assert not stale.exists()
    said = capsys.readouterr()
    assert f"wrote {out / 'report.html'}" in said.out
    assert "sgd(cosine 0.1)" in (out / "report.html").read_text()
    numbers = json.loads((out / "report.json").read_text())
    names = [one["name"] for one in numbers["entrants"]]
    assert names == ["brought", "sgd(cosine 0.1)"]
    digest = theta_file.digest(*learned.load("mlp_small"))
    assert numbers["entrants"][0]["digest"] == digest
    assert numbers["suite"]["name"] == "made up"
    assert (out / "figures/aggregate_curve.png").exists()
    assert "parabola" in (out / "tasks.csv").read_text()


def test_a_test_suite_is_told_of_every_look(suite, monkeypatch, tmp_path, capsys):
    tested = SUITE._replace(name="tested", status="test")
    monkeypatch.setitem(judge_suites.SUITES, "tested", tested)
    monkeypatch.setattr(writing, "write", lambda *args, **kwargs: [tmp_path])
    words = ["report", "nn_adam_small", "--suite", "tested", *HERE[2:]]
    for number in (1, 2):
        assert main(words) == 0
        assert f"nn_adam_small: look {number} of 2 at tested" in capsys.readouterr().out
    assert "more than 2 looks" in failed(capsys, *words)
    assert looks.look_table().exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "unknown θ file, bundled name, architecture"),
        (["optax:adm(1e-3)"], "did you mean 'adam'"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["sgd", "--suite", "smal"], "did you mean 'small'"),
        (["sgd", "--horizons", "0"], "--horizons must be a number >= 1"),
        (["sgd", "sgd"], "two entrants are named 'sgd'"),
        ([], "at least one entrant"),
    ],
)
def test_what_cannot_be_is_named(words, said, suite, capsys, tmp_path):
    given = words if "--suite" in words else [*words, *HERE]
    assert said in failed(capsys, "report", *given, "--out", str(tmp_path))
