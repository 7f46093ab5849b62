"""Files that the public code wrote, and what it makes of them in twenty updates.

`published_files/` was made once, in an environment of its own, with the projects' own code and
serializers, from random weights: `updates.npz` holds what their optimizers do on `inputs`.
"""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import serialization
from safetensors.numpy import load_file, save_file

import learned
from learned.published import read_published
from learned.published.published_formats import FORMATS, places_of
from learned.torch import LearnedOptim
from opt_gym.cli import main
from tests.learned import golden
from tests.learned.published import LOSSES, wave

FILES = Path(__file__).with_name("published_files")
SHAPES = {"kernel": (2, 2, 3, 4), "matrix": (4, 6), "scale": (), "vector": (5,)}
PUBLISHED = golden.FOLDER.parent / "published"
STEPS = 20
CASES = {
    "celo": ("celo.state", {"step_multiplier": 100.0}),
    "celo_adam": ("celo_adam.state", {"learning_rate": 1.0}),
    "velo": ("velo.state", {"step_multiplier": 1.0}),
    "celo2": ("celo2.state", {"orthogonalize": True, "learning_rate": 1.0}),
    "celo2_base": ("celo2.state", {"adamw": False, "learning_rate": 1.0}),
    "adafac_mlp": ("adafac_mlp.state", {"step_multiplier": 1.0}),
    "mlp": ("mlp.state", {"step_multiplier": 1.0}),
    "nn_adam": ("nn_adam.state", {}),
    "rnn_mlp": ("rnn_mlp.state", {"step_multiplier": 1.0}),
    "pylo_mulo": ("pylo_mulo", {"step_multiplier": 1.0}),
    "pylo_elo": ("pylo_mulo", {"step_multiplier": 1.0}),
    "pylo_velo": ("pylo_velo", {"step_multiplier": 1.0}),
    "pylo_celo2": ("pylo_celo2", {"orthogonalize": True, "learning_rate": 1.0}),
}
"""By format, "celo2_base" beside: the file, and settings that the public code was run with."""


def format_of(case):
    return "celo2" if case == "celo2_base" else case


def published_updates(case):
    """The public code's, [steps, *shape] of each tensor that it moved."""
    with np.load(FILES / "updates.npz") as kept:
        names = [name for name in kept.files if name.startswith(f"{case}/")]
        return {name.removeprefix(f"{case}/"): kept[name] for name in names}


def inputs(t, names):
    """Weights and gradients of step t, of tensors in their order."""
    chosen = {name: SHAPES[name] for name in names}
    params = {n: (1 + 0.01 * t) * wave(s, i) for i, (n, s) in enumerate(chosen.items())}
    grads = {
        n: np.float32(10.0 ** (1 - 0.2 * t)) * wave(s, i + 10 * t + 0.5)
        for i, (n, s) in enumerate(chosen.items())
    }
    return params, grads


def updates(optimizer, theta, names):
    ours = {name: torch.zeros(SHAPES[name]) for name in names}
    groups = [
        {"params": [tensor], "role": "kernel", "axes": tuple(range(tensor.ndim))}
        for tensor in ours.values()
    ]
    chosen = LearnedOptim(groups, (optimizer, theta), horizon=STEPS)
    found = {name: [] for name in names}
    for t in range(STEPS):
        params, grads = inputs(t, names)
        for name, tensor in ours.items():
            tensor.copy_(torch.tensor(params[name]))
            tensor.grad = torch.tensor(grads[name])
        chosen.step(loss=LOSSES[t % len(LOSSES)])
        for name, tensor in ours.items():
            found[name].append(tensor.numpy() - params[name])
    return {name: np.stack(parts) for name, parts in found.items()}


def test_every_format_has_a_file_of_the_public_code():
    assert {format_of(case) for case in CASES} == set(FORMATS)


@pytest.mark.parametrize("case", CASES)
def test_twenty_updates_are_the_public_codes(case):
    file, settings = CASES[case]
    theirs = published_updates(case)
    optimizer, theta = learned.load_published(FILES / file, format_of(case), **settings)
    ours = updates(optimizer, theta, list(theirs))
    for name, expected in theirs.items():
        size = np.abs(expected).max()
        np.testing.assert_allclose(
            ours[name], expected, rtol=1e-5, atol=1e-5 * size, err_msg=name
        )


@pytest.mark.parametrize(
    ("name", "config", "weights"),
    [
        ("velo", {"lstm_hidden": 512, "num_banks": 256}, 2_320_385),
        ("celo", {"lstm_hidden": 64, "num_banks": 1, "form": "celo"}, 37_089),
        ("celo_adam", {"lstm_hidden": 64}, 36_865),
        ("celo2", {}, 347),
        ("rnn_mlp", {}, 35_799),
        ("adafac_mlp", {"hidden": 32}, 2_409),
    ],
)
def test_every_weight_lies_in_one_place_of_their_file(name, config, weights):
    form = FORMATS[name]
    unused = {"unused_layer": True} if form.architecture == "velo_like" else {}
    made = learned.make(form.architecture, **config, **unused)
    _, laid = places_of(form, made)
    found = np.sort(np.concatenate([np.ravel(place) for place in laid.values()]))
    np.testing.assert_array_equal(found, np.arange(weights))


def tree(**changes):
    """Celo's file as a tree, changed."""
    found = serialization.msgpack_restore((FILES / "celo.state").read_bytes())
    found["rnn_params"]["step_size"] |= changes
    return found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"w": np.zeros((7, 1))}, r"of another shape: rnn_params/step_size/w \[7, 1\]"),
        ({"c": np.zeros(1)}, "unexpected: rnn_params/step_size/c"),
        (
            {"b": np.full(1, np.nan)},
            "multiplier.b is float32 with numbers that are not",
        ),
        ({"b": {}}, "missing: rnn_params/step_size/b"),
        ({"b": "text"}, "rnn_params/step_size/b is a str, not an array"),
    ],
)
def test_what_does_not_fit_is_named(changes, said, tmp_path):
    path = tmp_path / "theta.state"
    path.write_bytes(serialization.msgpack_serialize(tree(**changes)))
    for format in (None, "celo"):
        with pytest.raises(ValueError, match=said):
            learned.load_published(path, format)


def test_files_that_are_none_are_refused(tmp_path):
    for content, said in (
        (b"\x80\x04\x95", "pickle"),
        (b"PK\x03\x04rest", "pickle"),
        (b"anything at all", "damaged, or neither"),
        (b"", "damaged, or neither"),
        ((FILES / "celo.state").read_bytes()[:-9], "damaged, or neither"),
    ):
        path = tmp_path / "theta.state"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            learned.load_published(path)
    with pytest.raises(FileNotFoundError, match="is no file"):
        learned.load_published(tmp_path / "other.state")
    with pytest.raises(FileNotFoundError, match="a folder without"):
        learned.load_published(tmp_path)
    with pytest.raises(ValueError, match="unknown format: 'cello'"):
        learned.load_published(FILES / "celo.state", "cello")
    with pytest.raises(ValueError, match=r"unknown option .* 'sigma'"):
        learned.load_published(FILES / "celo.state", sigma=3)
    shutil.copytree(FILES / "pylo_velo", tmp_path / "twice")
    names = load_file(FILES / "pylo_celo2" / "model.safetensors")
    save_file(names, tmp_path / "twice" / "a.safetensors")
    save_file(names, tmp_path / "twice" / "b.safetensors")
    with pytest.raises(ValueError, match="what another file has too"):
        learned.load_published(tmp_path / "twice")


def test_a_file_that_fits_no_format_is_compared_with_the_nearest(tmp_path):
    path = tmp_path / "theta.state"
    path.write_bytes(serialization.msgpack_serialize(tree(w=np.zeros((7, 1)))))
    with pytest.raises(ValueError, match="do not fit any format, least 'celo'"):
        learned.load_published(path)


def test_an_imported_theta_is_a_theta_file_like_all_others(tmp_path, capsys):
    out = tmp_path / "celo.safetensors"
    given = ["import", str(FILES / "celo.state"), "--out", str(out)]
    assert main([*given, "--trained-horizon", "2000"]) == 0
    assert "velo_like" in capsys.readouterr().out
    optimizer, theta = learned.load(out)
    assert optimizer.trained_horizon == 2000
    assert optimizer.config["form"] == "celo"
    expected = learned.load_published(FILES / "celo.state")[1]
    jax.tree.map(np.testing.assert_array_equal, theta, expected)
    assert main(given) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "format", "weights"),
    [("celo_theta", "celo", 37_089), ("celo_adam_theta", "celo_adam", 36_865)],
)
def test_published_thetas_are_read(file, format, weights):
    path = PUBLISHED / f"{file}.state"
    if not path.exists():
        pytest.skip(f"no {path}")
    found = read_published(path, None, {})
    assert found.format == format
    assert sum(leaf.size for leaf in jax.tree.leaves(found.theta)) == weights
