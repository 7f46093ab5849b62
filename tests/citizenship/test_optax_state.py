"""States: buffers of their own, trees shaped like φ, shardings."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import learned
from opt_gym.records import Memory
from tests.citizenship.subjects import (
    EVERY_ARCHITECTURE,
    HARDEST,
    PARAMS,
    transformation,
)
from tests.learned.problems import moving_theta


def pointers(tree):
    """Where its arrays lie; those without elements lie nowhere."""
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree) if leaf.size]


@EVERY_ARCHITECTURE
def test_a_new_state_may_be_donated(name):
    _, theta = moving_theta(name)
    tx = transformation(name)
    state = tx.init(PARAMS)
    own = pointers(state)
    assert len(set(own)) == len(own)
    assert not set(own) & {*pointers(theta), *pointers(PARAMS)}
    step: Any = jax.jit(tx.update, donate_argnums=1)
    expected, _ = tx.update(PARAMS, state, PARAMS, value=1.0)
    updates, after = step(PARAMS, jax.jit(tx.init)(PARAMS), PARAMS, value=1.0)
    jax.tree.map(np.testing.assert_allclose, updates, expected)
    step(PARAMS, after, PARAMS, value=1.0)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(theta))


@EVERY_ARCHITECTURE
def test_a_state_has_one_structure_for_every_rank(name):
    tx = transformation(name)
    like_params = jax.tree.structure(PARAMS)
    trees = jax.tree.leaves(
        tx.init(PARAMS).tensors,
        is_leaf=lambda node: jax.tree.structure(node) == like_params,
    )
    assert all(jax.tree.structure(tree) == like_params for tree in trees)
    assert tx.init({}).t == 0
    structures = [
        jax.tree.structure(tx.init({"x": jnp.zeros(shape)}))
        for shape in ((), (3,), (3, 4), (2, 2, 3, 4))
    ]
    assert len(set(structures)) == 1
    mapped: Any = optax.tree.map_params(
        tx, lambda leaf, spec: (leaf, spec), tx.init(PARAMS), dict.fromkeys(PARAMS, 7)
    )
    specs = [x for x in jax.tree.leaves(mapped.tensors) if isinstance(x, int)]
    assert len(specs) == len(jax.tree.leaves(tx.init(PARAMS).tensors))


def test_a_memory_that_depends_on_the_rank_is_refused():
    adam = learned.make("adam")
    theta = adam.init_theta(jax.random.key(0))

    def init(theta, params, roles):
        leaves = jax.tree.leaves(params)
        return Memory(tuple((leaf,) * (1 + leaf.ndim) for leaf in leaves))

    with pytest.raises(ValueError, match=r"shape \[4\].*the same of every rank"):
        learned.to_optax(adam._replace(init=init), theta).init(PARAMS)


@EVERY_ARCHITECTURE
def test_nnx_trains_with_it_as_a_plain_loop_does(name):
    tx = transformation(name)
    model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    params = jax.tree.map(jnp.array, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    state = tx.init(params)
    for step in range(3):
        grads = jax.tree.map(lambda leaf: jnp.cos(leaf + step), params)  # noqa: B023
        typed = nnx.state(model, nnx.Param)
        nnx.replace_by_pure_dict(typed, grads)
        optimizer.update(model, typed, value=1.0)
        updates, state = tx.update(grads, state, params, value=1.0)
        params = optax.apply_updates(params, updates)
    trained = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), trained, params
    )


SHARDED = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import learned
from tests.citizenship.subjects import transformation

mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("data", "model"))
cut = NamedSharding(mesh, P("data", "model"))
params = {
    "w": jax.device_put(jnp.linspace(-1.0, 1.0, 128).reshape(8, 16), cut),
    "b": jax.device_put(jnp.linspace(-1.0, 1.0, 16), NamedSharding(mesh, P("model"))),
}
whole = jax.device_get(params)
told = {}
for name in sys.argv[1:]:
    tx = optax.chain(optax.clip_by_global_norm(1.0), transformation(name))
    shardings = learned.state_sharding(tx, params)
    state = jax.jit(tx.init, out_shardings=shardings)(params)
    step = jax.jit(tx.update, out_shardings=(None, shardings))
    plain = tx.init(whole)
    for _ in range(2):
        updates, state = step(params, state, params, value=1.0)
        expected, plain = jax.jit(tx.update)(whole, plain, whole, value=1.0)
    far = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), updates, expected)
    shapes = [
        [list(leaf.shape), [str(cut) for cut in leaf.sharding.spec]]
        for leaf in jax.tree.leaves(state[1].tensors)
    ]
    size = max(float(np.abs(x).max()) for x in expected.values())
    told[name] = {"far": max(far.values()) / size, "shapes": shapes}
print(json.dumps(told))
"""


@pytest.mark.parametrize(
    "names", [HARDEST, pytest.param(learned.names(), marks=pytest.mark.slow)]
)
def test_a_state_is_cut_as_its_parameters_are(names, tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    run = subprocess.run(
        [sys.executable, script, *names],
        capture_output=True,
        text=True,
        env=environment(XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} {EIGHT_DEVICES}"),
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    for name, told in json.loads(run.stdout.splitlines()[-1]).items():
        assert told["far"] < 1e-4, name
        for shape, cuts in told["shapes"]:
            known = [*cuts, *["None"] * len(shape)][: len(shape)]
            if shape[-2:] == [8, 16]:  # the tensor's own axes, behind those of a block
                expected = ["None"] * (len(shape) - 2) + ["data", "model"]
                assert known == expected, (name, shape)
            for size, cut in zip(shape, known, strict=True):
                ways = {"None": 1, "data": 2, "model": 4}[cut]
                assert size % ways == 0, (name, shape)
                assert cut == "None" or size in (8, 16), (name, shape)


EIGHT_DEVICES = "--xla_force_host_platform_device_count=8"


def environment(**changes):
    """That of this process, in the root of the checkout."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu", **changes}
