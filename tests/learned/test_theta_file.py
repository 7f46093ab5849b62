"""θ files: what is written comes back, and what is broken is refused in words."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import learned
from learned import theta_file


@pytest.fixture
def nominal():
    optimizer = learned.make("nominal", hidden=4)._replace(trained_horizon=500)
    return optimizer, optimizer.init_theta(jax.random.key(0))


@pytest.mark.parametrize("name", learned.names())
def test_every_architecture_comes_back(name, tmp_path):
    optimizer = learned.make(name)
    theta = optimizer.init_theta(jax.random.key(0))
    path = learned.save(tmp_path / "theta.safetensors", optimizer, theta)
    loaded, restored = learned.load(path)
    assert (loaded.name, loaded.config) == (optimizer.name, optimizer.config)
    jax.tree.map(np.testing.assert_array_equal, theta, restored)


def test_the_header_says_what_theta_needs(nominal, tmp_path):
    path = tmp_path / "a.safetensors"
    learned.save(path, *nominal, training={"outer_steps": 3})
    header = theta_file.read_header(path)
    assert header["architecture"][0] == "nominal"
    assert header["architecture"][1]["hidden"] == 4
    assert header["features"] == ["nominal", {"time_clamp": 1000}]
    assert header["action_map"] == ["update", {}]
    assert header["training"] == {"outer_steps": 3}
    assert learned.load(path)[0].trained_horizon == 500


def test_damaged_and_foreign_files_are_refused(nominal, tmp_path):
    path = learned.save(tmp_path / "a.safetensors", *nominal)
    whole = path.read_bytes()
    for broken in (whole[:-40], whole[:30], b"", b"\x00" * 100, b"hello" * 50):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"a\.safetensors is damaged or not"):
            learned.load(path)
    save_file({"x": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="not a θ file"):
        learned.load(tmp_path / "b.safetensors")


def test_files_that_do_not_fit_are_refused(nominal, tmp_path):
    optimizer, theta = nominal
    path = learned.save(tmp_path / "a.safetensors", optimizer, theta)
    header = theta_file.read_header(path)
    flat = {name: np.asarray(x) for name, x in theta_file._named(theta)}
    cases = [
        ({**header, "format": 99}, flat, "format 99"),
        ({**header, "architecture": ["nominl", {}]}, flat, "did you mean 'nominal'"),
        ({**header, "features": ["mlp", {}]}, flat, "features and action map"),
        ({k: v for k, v in header.items() if k != "features"}, flat, "lacks"),
        (header, {**flat, "log_step": np.zeros(2, np.float32)}, "log_step"),
    ]
    for changed, tensors, message in cases:
        save_file(tensors, path, metadata={"opt_gym": json.dumps(changed)})
        with pytest.raises(ValueError, match=message):
            learned.load(path)


def test_names_that_do_not_exist_are_named():
    with pytest.raises(FileNotFoundError, match="'no_such_theta'"):
        learned.load("no_such_theta")


def test_theta_of_another_shape_is_not_saved(nominal, tmp_path):
    optimizer, theta = nominal
    with pytest.raises(ValueError, match="log_step"):
        learned.save(tmp_path / "a", optimizer, {**theta, "log_step": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_bundled_thetas_load():
    for name in theta_file.bundled_names():
        optimizer, theta = learned.load(name)
        assert optimizer.trained_horizon
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(theta))
