"""One file of plain code does what the package does."""

import ast
import importlib.util
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
from learned.exporting import text_of
from learned.exporting.amalgamation import amalgamate
from learned.exporting.module_sources import Place
from opt_gym import plugins
from tests.learned.problems import moving_theta

FAST = ("general", "normalized_direction")
STEPS = 100
PARAMS = {"kernel": (6, 3), "bias": (3,), "stack": (2, 2, 3, 4)}


def loaded(path) -> Any:
    """The module of a file, which imports nothing of this package."""
    tree = ast.parse(path.read_text())
    imported = {
        str(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    roots = {name.partition(".")[0] for name in imported}
    assert roots - sys.stdlib_module_names == {"jax", "numpy", "optax"}
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(tx):
    """What 100 steps make of a small problem; every 40th gradient is not finite."""
    keys = jax.random.split(jax.random.key(0), len(PARAMS))
    start = {
        name: 0.5 * jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, PARAMS.items(), strict=True)
    }

    def loss_of(params, noise):
        return sum(jnp.mean((leaf - 0.3) ** 2) for leaf in params.values()) + noise

    def step(carried, t):
        params, state = carried
        noise = 0.1 * jnp.sin(3.0 * t)
        loss, grads = jax.value_and_grad(loss_of)(params, noise)
        grads = jax.tree.map(lambda g: jnp.where(t % 40 == 39, jnp.nan, g), grads)
        updates, state = tx.update(grads, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), loss

    @jax.jit
    def run():
        return jax.lax.scan(step, (start, tx.init(start)), jnp.arange(float(STEPS)))

    return jax.device_get(run())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in plugins.names("architecture")
    ],
)
def test_a_hundred_steps_are_the_same(name, tmp_path):
    optimizer, theta = moving_theta(name)
    path = learned.export((optimizer, theta), tmp_path / "mine.py")
    tx = loaded(path).optimizer(0.5, horizon=STEPS, weight_decay=0.01)
    ours = learned.to_optax(
        optimizer, theta, horizon=STEPS, learning_rate=0.5, weight_decay=0.01
    )
    (theirs, state), losses = trained(tx)
    (expected, _), expected_losses = trained(ours)
    assert state.skipped == 2
    assert state.t == STEPS - 2
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    for leaf in PARAMS:
        np.testing.assert_allclose(theirs[leaf], expected[leaf], rtol=1e-6, atol=1e-6)


def test_a_bundled_theta_and_what_it_needs(tmp_path):
    path = learned.export("nominal_small", tmp_path / "home.py")
    module = loaded(path)
    assert module.TRAINED_HORIZON == 1000
    assert "from home import optimizer" in module.__doc__
    tx = module.optimizer()
    params = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match="needs the loss"):
        tx.update(params, tx.init(params), params)
    with pytest.raises(ValueError, match="needs params"):
        tx.update(params, tx.init(params))


def test_a_horizon_that_is_only_welcome_is_not_assumed(tmp_path):
    optimizer, theta = learned.load("general")
    module = loaded(learned.export("general", tmp_path / "mine.py"))
    params, grads = {"w": jnp.ones((3, 2))}, {"w": jnp.full((3, 2), 0.1)}

    def late(tx: Any) -> Any:
        state = tx.init(params)._replace(t=jnp.int32(9000))
        return tx.update(grads, state, params, value=1.0)[0]["w"]

    expected = late(learned.to_optax(optimizer, theta))
    np.testing.assert_allclose(late(module.optimizer()), expected, rtol=1e-5)
    assert module.HORIZON is None
    assert module.TRAINED_HORIZON == 5000


def test_under_64_bits_it_is_float32(tmp_path):
    optimizer, theta = learned.load("nominal_small")
    module = loaded(learned.export("nominal_small", tmp_path / "mine.py"))
    both: list[Any] = [module.optimizer(), learned.to_optax(optimizer, theta)]
    with jax.enable_x64(True):
        params = {"w": jnp.ones((3, 2), jnp.float64)}
        grads = {"w": jnp.asarray([[1e60, 0.1], [0.2, 0.3], [0.0, -1.0]], jnp.float64)}
        updates = [
            tx.update(grads, tx.init(params), params, value=1.0)[0]["w"] for tx in both
        ]
    assert updates[0].dtype == jnp.float64
    np.testing.assert_allclose(*updates, rtol=1e-5)


def test_what_cannot_be_exported_is_said(tmp_path):
    for out in ("theta.safetensors", "my-optimizer.py", "two.parts.py"):
        with pytest.raises(ValueError, match="a module's name with"):
            learned.export("nominal_small", tmp_path / out)
    with pytest.raises(FileNotFoundError, match="nominal_smal"):
        learned.export("nominal_smal", tmp_path / "mine.py")


def test_names_that_are_the_same_are_told_apart():
    roots = [Place("opt_gym.actions.update", "make"), Place("learned.decay", "cosine")]
    roots.append(Place("opt_gym.features.none", "make"))
    amalgam = amalgamate(roots, reserved=("cosine",))
    assert amalgam.names[roots[0]] != amalgam.names[roots[2]]
    assert amalgam.names[roots[1]] == "decay_cosine"
    text = "\n".join([*amalgam.imports, *amalgam.definitions])
    found: dict = {}
    exec(compile(text, "amalgam", "exec"), found)
    assert found["decay_cosine"](1.0, 2.0) == pytest.approx(0.5)


def test_a_text_is_the_same_every_time():
    optimizer = learned.make("general")
    theta = jax.jit(optimizer.init_theta)(jax.random.key(0))
    assert text_of(optimizer, theta, "a") == text_of(optimizer, theta, "a")
