"""Checkpoints that cannot be read are never begun over, and what is newer is never pruned."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save

import agents
from agents import checkpoint
from opt_gym.cli import main as opt_gym_cli
from opt_gym.runtime.json_digest import json_digest
from tests.agents.test_loop import make_trainer, run, same
from tests.runs.mutations import mutated

STATE = {"a": jnp.arange(6.0), "b": jnp.zeros(0), "c": jnp.int32(3)}
CONFIG = {"sigma": 0.1, "nested": [1.5, "x"]}


def save_at(folder: Path, step: int) -> Path:
    return checkpoint.save(folder, STATE, outer_step=step, seed=0, config=CONFIG)


def load(folder: Path, config: dict[str, Any] = CONFIG) -> Any:
    return checkpoint.load(folder, lambda step: STATE, config)


def test_every_flipped_bit_is_noticed(tmp_path):
    path = save_at(tmp_path, 383)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    where = random.choice(len(content), min(len(content), 400), replace=False)
    for place in where:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        # A bit of the file's own layout may leave all that is read as it was.
        try:
            found = load(tmp_path)
        except ValueError:
            continue
        assert found.header["outer_step"] == 383
        same(found.state, STATE)


@pytest.mark.slow
def test_ten_thousand_mutations_never_give_other_numbers(tmp_path):
    path = save_at(tmp_path, 383)
    content = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(10_000):
        damaged = content
        for _ in range(int(random.integers(1, 4))):
            damaged = mutated(damaged, random)
        path.write_bytes(damaged)
        try:
            found = load(tmp_path)
        except ValueError:
            continue
        same(found.state, STATE)
        assert found.header["outer_step"] == 383


def test_the_name_and_the_header_say_the_same(tmp_path):
    path = save_at(tmp_path, 4)
    path.rename(path.with_name("checkpoint-00000009.safetensors"))
    with pytest.raises(ValueError, match="it is of outer step 4"):
        load(tmp_path)


def test_only_what_is_older_is_pruned(tmp_path):
    for step in (50, 60, 1, 2, 3):
        save_at(tmp_path, step)
    assert steps_in(tmp_path) == [2, 3, 50, 60]
    # A damaged one does not count as one of the last two.
    (tmp_path / "checkpoint-00000003.safetensors").write_bytes(b"damaged")
    save_at(tmp_path, 4)
    assert steps_in(tmp_path) == [2, 3, 4, 50, 60]


def steps_in(folder: Path) -> list[int]:
    return sorted(int(p.name[11:19]) for p in folder.glob("checkpoint-*.safetensors"))


def test_the_last_bits_of_a_config_do_not_count(tmp_path):
    save_at(tmp_path, 1)
    assert load(tmp_path, {"sigma": np.nextafter(0.1, 1), "nested": [1.5, "x"]})
    for other in ({**CONFIG, "sigma": 0.1001}, {**CONFIG, "more": 1}):
        with pytest.raises(ValueError, match="another configuration"):
            load(tmp_path, other)


def test_format_2_is_read(tmp_path):
    tensors = {"00000": np.arange(6, dtype="f4"), "00001": np.int32(3)}
    header = {
        "format": 2,
        "outer_step": 7,
        "seed": 0,
        "config": json_digest(CONFIG, default=str),
        "environment": {},
        "sha256": checkpoint._sha256("", tensors),
    }
    metadata = {"opt_gym": json.dumps(header)}
    arrays = {key: np.asarray(array) for key, array in tensors.items()}
    (tmp_path / "checkpoint-00000007.safetensors").write_bytes(save(arrays, metadata))
    same(load(tmp_path).state, STATE)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    run(tmp_path, outer_steps=3)
    left = tmp_path / ".checkpoint-00000003.safetensors.a1b2"
    left.write_bytes(b"half")
    run(tmp_path, resume=True)
    assert not left.exists()


RUN = (
    *("train", "--tasks", "quadratic_family_seed94", "--outer-steps", "4"),
    *("--architecture", "mlp", "--architecture-options", "hidden", "4"),
    *("--options", "num_pairs", "2", "trunc_length", "2", "horizon", "4"),
    *("--data", "embedded"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    assert opt_gym_cli([*RUN, "--out", str(out)]) == 0
    return out


def test_resume_refuses_what_it_cannot_read_and_can_be_told_to_restart(
    trained, tmp_path, capsys
):
    out = shutil.copytree(trained, tmp_path / "run")
    (newest,) = out.glob("checkpoint-*.safetensors")
    newest.write_bytes(newest.read_bytes()[:-9])
    (out / "theta.safetensors").unlink()
    assert opt_gym_cli(["resume", str(out)]) == 2
    told = capsys.readouterr().err
    assert "can be read" in told
    assert "--restart" in told
    assert steps_in(out) == [4]
    assert opt_gym_cli(["resume", str(out), "--restart"]) == 0
    assert "set aside" in capsys.readouterr().out
    assert [path.name for path in out.glob("*.aside")] == ["checkpoint-00000004.aside"]
    first, again = (
        load_file(folder / "theta.safetensors") for folder in (trained, out)
    )
    same(again, first)


def test_a_run_without_a_checkpoint_begins_at_0_and_says_so(trained, tmp_path, capsys):
    out = shutil.copytree(trained, tmp_path / "run")
    for path in (*out.glob("checkpoint-*"), out / "theta.safetensors"):
        path.unlink()
    assert opt_gym_cli(["resume", str(out)]) == 0
    assert "begins at outer step 0" in capsys.readouterr().out
    rows = (out / "log.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]


def test_a_theta_that_is_not_finite_ends_a_training_loudly(tmp_path):
    rates = iter([0.1, 0.1, np.nan])
    spoilt = make_trainer()._replace(
        theta=lambda state: {"learning_rate": jnp.float32(next(rates))}
    )
    with pytest.raises(ValueError, match=r"outer step 3 θ is not finite \(learning_ra"):
        agents.train(spoilt, [{}], outer_steps=8, out=tmp_path, checkpoint_seconds=0.0)
    assert steps_in(tmp_path) == [1, 2]
