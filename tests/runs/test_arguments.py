"""Every numeric option of every command: accepted and sound, or refused by name."""

import inspect
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

from opt_gym import cli
from opt_gym.cli import _numbers, main

ODD = (math.nan, math.inf, -1, 0, 2**31, 1e30)
NEEDED = {
    "train": ("--out", "{folder}"),
    "evaluate": ("adam", "--tasks", "quadratic"),
    "import": ("theta.state", "--out", "{folder}"),
    "normalize": ("quadratic",),
    "resume": ("{folder}",),
    "show": ("quadratic",),
}
"""What a command cannot be called without."""


def numeric_options() -> Iterator[tuple[str, str, str]]:
    for command, function in cli.commands().items():
        for name, parameter in inspect.signature(function).parameters.items():
            words = str(parameter.annotation)
            if "int" in words or "float" in words:
                yield command, name, words


def test_every_command_and_number_is_known():
    files = {m.name for m in pkgutil.iter_modules(cli.__path__) if m.name[0] != "_"}
    told = {run.__module__.rpartition(".")[2] for run in cli.commands().values()}
    assert told == files
    assert {name for _, name, _ in numeric_options()} == set(_numbers.RANGES)


@pytest.mark.parametrize(("command", "name", "words"), [*numeric_options()])
def test_odd_numbers_are_accepted_or_named(command, name, words, tmp_path, capsys):
    option = f"--{name.replace('_', '-')}"
    needed = [word.format(folder=tmp_path / "run") for word in NEEDED.get(command, ())]
    for value in ODD:
        whole = "float" not in words
        if whole and not (isinstance(value, int) or value == 1e30):
            text = str(value)
        else:
            text = str(int(value)) if whole else str(value)
        if _numbers.RANGES[name].has(value):
            continue  # and is: zero of a count that may be none
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.exit", _exited)
            try:
                status = main([command, *needed, option, text])
            except _ExitedError as done:
                status = done.args[0]  # tyro's own: no number at all
        told = capsys.readouterr()
        assert status == 2, (value, told)
        said = " ".join((told.err + told.out).split())
        assert option in said or name in said, (value, said)
        assert "Traceback" not in said
        assert not (tmp_path / "run").exists()


class _ExitedError(Exception):
    pass


def _exited(status: Any = 0) -> None:
    raise _ExitedError(status)


def test_zeros_that_are_accepted_are_sound():
    zero = {name for name, among in _numbers.RANGES.items() if among.has(0)}
    assert zero == {
        *("clip_coordinate", "clip_norm", "max_params", "max_programs", "min_params"),
        *("grow_by", "hide_loss", "hide_horizon", "ray_workers", "seed", "workers"),
    }


def test_files_with_one_name_are_two_tasks(tmp_path):
    import json

    from opt_gym.cli._tasks import expand
    from tests.gym.problems import quadratic

    paths = []
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "q.json")
        paths[-1].write_text(json.dumps(quadratic(seed=seed)))
    tasks = expand([str(path) for path in paths])
    assert [config["seed"] for config in tasks.values()] == [1, 2]
    assert [*tasks] == ["q", str(paths[1])]


def test_an_out_that_is_a_file_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for command in ("train", "evaluate"):
        needed = ["adam"] if command == "evaluate" else []
        args = [command, *needed, "--tasks", "quadratic_family_seed94", "--out"]
        assert main([*args, str(tmp_path / "file")]) == 2
        told = capsys.readouterr().err
        assert str(tmp_path / "file") in told
        assert "Traceback" not in told


def test_an_infeasible_config_names_its_file(tmp_path, capsys):
    import json

    from tests.gym.problems import quadratic

    for name, config in (("good", quadratic()), ("bad", quadratic(dims=0))):
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    files = [str(tmp_path / f"{name}.json") for name in ("good", "bad")]
    assert main(["train", "--tasks", *files, "--out", str(tmp_path / "run")]) == 2
    assert "bad.json" in capsys.readouterr().err
