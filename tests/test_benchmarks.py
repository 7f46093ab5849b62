"""What benchmarks rest on; their figures are nobody's to assert."""

import ast
import importlib
import json
from pathlib import Path

import jax
import optax
import pytest

import learned
import opt_gym
from benchmarks import _pes, _two_trees, deployment, rollout
from benchmarks.__main__ import names
from benchmarks._scales import number_of

FOLDER = Path(rollout.__file__).parent
PACKAGES = ("agents", "benchmarks", "envs_registry", "learned", "opt_gym")


@pytest.mark.parametrize(
    "file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem
)
def test_what_it_imports_of_ours_exists(file):
    """Where a function imports it, too: a benchmark is run by hand, long after a move."""
    if "sb3" in file.stem:
        pytest.importorskip("stable_baselines3")
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module.partition(".")[0] not in PACKAGES or "torch" in node.module:
            continue
        home = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(home, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")


def test_each_has_a_run_and_one_without_baseline():
    for name in names():
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        functions = {x.name for x in tree.body if isinstance(x, ast.FunctionDef)}
        assert {"alone", "run"} <= functions, name


def test_both_loops_of_rollout_train_alike(monkeypatch):
    adam = learned.make("adam", learning_rate=rollout.LEARNING_RATE)
    env = opt_gym.make(
        _pes.task(64),
        learned_optimizer=adam,
        data="embedded",
        normalizer=_pes.NORMALIZER,
    )
    data = opt_gym.load_data(env)
    with jax.numpy_rank_promotion("allow"):  # as in the process of a benchmark
        assert rollout.check_alike(env, adam, data) <= rollout.TOLERANCE
        other = optax.adam(1.01 * rollout.LEARNING_RATE)
        monkeypatch.setattr(rollout, "ADAM", other)
        with pytest.raises(RuntimeError, match="losses of the first 20 steps differ"):
            rollout.check_alike(env, adam, data)


def made_up_run(monkeypatch, figures):
    """Replaces the processes of `_two_trees`; returns in which trees they ran."""
    ran = []

    def run(arguments, tree, folder):
        if arguments[0] == "-c":
            return "\n".join(f"{tree}/{p}/__init__.py" for p in _two_trees.PACKAGES)
        ran.append(tree)
        return json.dumps(next(figures[tree]))

    monkeypatch.setattr(_two_trees, "run", run)
    return ran


def test_two_trees_take_turns_and_are_compared_round_by_round(tmp_path, monkeypatch):
    for package in _two_trees.PACKAGES:
        (tmp_path / package).mkdir()
    rates = {
        _two_trees.HERE: iter(
            [{"row": {"rate": x, "size": 3}} for x in (2.0, 6.0, 4.0)]
        ),
        tmp_path: iter([{"row": {"rate": x}, "gone": 1.0} for x in (1.0, 2.0, 4.0)]),
    }
    ran = made_up_run(monkeypatch, rates)
    result = _two_trees.compare("rollout", tmp_path, 3, [])
    here, there = _two_trees.HERE, tmp_path
    assert ran == [here, there, there, here, here, there]
    assert list(result["figures"]) == ["row.rate"]
    row = {key: tuple(x.values()) for key, x in result["figures"]["row.rate"].items()}
    assert row == {
        "here": (4.0, 2.0, 6.0),
        "there": (2.0, 1.0, 4.0),
        "ratio": (2.0, 1.0, 3.0),
    }
    assert "row.rate" in _two_trees.table(result)


def test_two_trees_refuse_what_is_no_checkout(tmp_path):
    with pytest.raises(ValueError, match="lacks"):
        _two_trees.check_tree(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="rounds must be >= 1, got 0"):
        _two_trees.compare("rollout", tmp_path, 0, [])
    for package in _two_trees.PACKAGES:
        (tmp_path / package).mkdir()
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(_two_trees, "run", lambda *_: str(_two_trees.HERE / "agents"))
        with pytest.raises(ValueError, match="was imported, not that of"):
            _two_trees.check_tree(tmp_path, tmp_path)


def test_a_process_finds_the_packages_of_its_tree(tmp_path):
    _two_trees.check_tree(_two_trees.HERE, tmp_path)
    (tmp_path / "opt_gym.py").write_text("NUMBER = 3")
    program = ("-c", "import opt_gym; print(opt_gym.NUMBER)")
    assert _two_trees.run(program, tmp_path, FOLDER).strip() == "3"


def test_scales_are_numbers_of_weights_or_unrolls():
    assert [number_of(scale) for scale in ("4096", "3k", "10M", "2G")] == [
        4096,
        3000,
        10**7,
        2 * 10**9,
    ]
    for scale in ("", "M", "0M", "10MM", "-3", "1.5M"):
        with pytest.raises(ValueError, match=f"got '{scale}'"):
            number_of(scale)
    for asked in (10**4, 10**7, 10**8):
        found = deployment.num_weights(deployment.sizes_of(asked))
        assert abs(found - asked) < 0.03 * asked
    shapes = [array.shape for array in deployment.arrays(0, (3, 2, 1))]
    assert shapes == [(3, 2), (2,), (2, 1), (1,)]
