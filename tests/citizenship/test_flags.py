"""Whatever the user's flags of JAX, the same id and seed are the same numbers, float32."""

import json
import subprocess
import sys

import pytest

import agents
import learned
from tests.citizenship.subjects import HARDEST
from tests.citizenship.test_optax_state import environment

PROGRAM = """
import inspect, json, sys
import gymnasium as gym
import jax, jax.numpy as jnp, numpy as np, optax
import agents, learned, opt_gym
from opt_gym import plugins
from opt_gym.evaluation import evaluate
from opt_gym.testing.trainer_checks import SMALL

numbers = {}

def keep(name, tree):
    leaves = jax.tree.leaves(tree)
    kinds = {str(np.asarray(leaf).dtype) for leaf in leaves}
    numbers[name] = [np.asarray(leaf, float).ravel().tolist() for leaf in leaves]
    assert "float64" not in kinds and "int64" not in kinds, (name, kinds)

task = {
    "family": "quadratic",
    "A_dist": ["normal", {"mean": 0.0, "std": 1.0}],
    "initial_dist": ["normal", {"mean": 0.0, "std": 1.0}],
    "output_fn": "identity", "dims": 4, "seed": 3, "loss_scale": 1.0, "noise": None,
}
made = {"features": "mlp", "horizon": 5, "data": "embedded"}
for name, given in (("quadratic", {"task": task}), ("small_mlp", {})):
    env = gym.make(f"OptTask-{name}-v0", **made, **given)
    seen, _ = env.reset(seed=7)
    keep(f"{name} reset", seen)
    assert env.observation_space.contains(seen)
    for _ in range(2):
        seen, reward, *_ = env.step(0.1 * np.ones(env.action_space.shape, np.float32))
    keep(f"{name} step", [seen, np.float32(reward)])
envs = gym.make_vec("OptTask-quadratic-v0", num_envs=2, task=task, **made)
seen, _ = envs.reset(seed=7)
assert envs.observation_space.contains(seen)
keep("vector", seen)

params = {
    "w": jnp.linspace(-1.0, 1.0, 12, dtype="float32").reshape(3, 4),
    "b": jnp.linspace(-1.0, 1.0, 4, dtype="float32"),
}
architectures, trainers = map(json.loads, sys.argv[1:])
for name in architectures:
    optimizer = learned.make(name)
    theta = optimizer.init_theta(jax.random.key(1, impl="threefry2x32"))
    keep(f"{name} theta", theta)
    tx = learned.to_optax(optimizer, theta, horizon=10)
    state = tx.init(params)
    for _ in range(2):
        updates, state = jax.jit(tx.update)(params, state, params, value=1.0)
    keep(name, [updates, state])

trained = {
    "hyperparameter_search": learned.make("sgd"),
    "sb3_td3": learned.make("mlp", hidden=4, squashing="tanh"),
}
for name in trainers:
    spec = plugins.spec("trainer", name)
    small = {**SMALL, "space": "sgd_lr"}
    given = {key: value for key, value in small.items() if key in spec.settings}
    optimizer = trained.get(name, learned.make("mlp", hidden=4))
    env = opt_gym.make(task, learned_optimizer=optimizer, data="embedded")
    if "outer_optimizer" in inspect.signature(spec.make).parameters:
        given["outer_optimizer"] = optax.adam(0.01)
    trainer = agents.make(name, envs=[env], learned_optimizer=optimizer, **given)
    result = agents.train(trainer, [opt_gym.load_data(env)], outer_steps=2)
    keep(name, result.theta)
theta = optimizer.init_theta(jax.random.key(2, impl="threefry2x32"))
runs = evaluate(
    optimizer, [task], theta, horizon=4, num_seeds=2, num_points=2, data="embedded",
    cache=None,
)
numbers["evaluate"] = [np.asarray(runs[0].costs, float).ravel().tolist()]
print(json.dumps(numbers))
"""


def numbers(script, architectures, trainers, **flags):
    run = subprocess.run(
        [sys.executable, script, json.dumps(architectures), json.dumps(trainers)],
        capture_output=True,
        text=True,
        env=environment(**flags),
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("architectures", "trainers"),
    [
        (HARDEST[1:2], ["pes"]),
        pytest.param(learned.names(), agents.names(), marks=pytest.mark.slow),
    ],
)
def test_flags_of_jax_change_no_number(architectures, trainers, tmp_path):
    script = tmp_path / "flagged.py"
    script.write_text(PROGRAM)
    plain = numbers(script, architectures, trainers)
    flagged = numbers(
        script,
        architectures,
        trainers,
        JAX_ENABLE_X64="1",
        JAX_DEFAULT_PRNG_IMPL="rbg",
        JAX_THREEFRY_PARTITIONABLE="0",
    )
    assert flagged == plain
