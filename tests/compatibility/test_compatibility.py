"""What users of version 0.1 have on disk still loads, and goes on as it would have then."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import agents
import opt_gym
from opt_gym.cli import main as opt_gym_cli
from tests.compatibility import write

FOLDER = Path(__file__).with_name("v0.1")
EXPECTED = load_file(FOLDER / "expected.safetensors")


@pytest.fixture
def user_cache(tmp_path, monkeypatch):
    """The cache folder of a user of that version."""
    shutil.copytree(FOLDER / "cache", tmp_path / "cache")
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def close(found, name):
    # Another processor rounds otherwise; eight outer steps do not blow that up.
    np.testing.assert_allclose(found, EXPECTED[name], rtol=1e-4, atol=1e-5)


def test_a_half_done_run_goes_on_to_the_theta_of_the_whole_one(tmp_path):
    shutil.copytree(FOLDER / "run", tmp_path / "run")
    recipe = tmp_path / "run" / "run.json"
    recipe.write_text(recipe.read_text().replace(write.TASK_NAME, str(write.TASK)))
    assert opt_gym_cli(["resume", str(tmp_path / "run")]) == 0
    close(write.flat_theta(tmp_path / "run" / "theta.safetensors"), "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", write.TRAINERS)
def test_so_does_a_checkpoint_of_other_trainers(tmp_path, name):
    folder = shutil.copytree(FOLDER / "checkpoints" / name, tmp_path / name)
    trainer, data = write.trainer_of(name)
    result = agents.train(
        trainer, data, outer_steps=write.OUTER_STEPS, out=folder, resume=True
    )
    close(write.flat(result.theta), name)


def test_a_users_table_of_normalizers_is_read(user_cache):
    found = opt_gym.make(write.ten_weights()).normalizer
    assert found.source == "cache"
    close([found.initial, found.best], "normalizer")


def test_the_data_cache_is_read_not_made_again(user_cache, monkeypatch):
    from opt_gym.data import encoders
    from opt_gym.runtime import array_files

    texts = encoders.from_bytes(write.TEXTS, [0, 1, 1])

    def never(*arguments, **keywords):
        raise AssertionError("made again")

    kept = array_files.keep_arrays(user_cache / "texts" / "kept.npz", never)
    jax.tree.map(np.testing.assert_array_equal, kept, texts._asdict())
    monkeypatch.setattr(encoders, "learn_subwords", never)
    model = encoders.subword_model(texts)
    subwords = encoders.to_subwords(texts, model)
    first = encoders.decode_subwords(subwords.tokens[: subwords.lengths[0]], model)
    assert first.encode() == write.TEXTS[0]


def test_an_optax_state_goes_on():
    _, template = write.optax_steps(3)
    stored = load_file(FOLDER / "optax.safetensors")
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    read = set()

    def value(path, leaf):
        # Then a tensor's memory stood where the tensor was: tensors.w.1.momentum.
        part, *inner = write._name(path).split(".")
        name = ".".join([part, *inner[-1:], *inner[:-1]]) if inner else part
        name = name if name in stored else write._name(path)
        read.add(name)
        return stored.get(name, leaf)

    leaves = [value(path, leaf) for path, leaf in paths]
    assert read > set(stored)
    state = jax.tree.unflatten(structure, map(jax.numpy.asarray, leaves))
    close(write.flat(write.optax_steps(1, state)[0]), "optax")


def test_a_torch_state_goes_on():
    state, params = write.load_torch(FOLDER / "torch")
    optimizer, _ = write.torch_steps(0, 0, params=params)
    optimizer.load_state_dict(state)
    write.torch_steps(3, 4, optimizer, params)
    close(np.concatenate([p.detach().numpy().ravel() for p in params]), "torch")
