"""Writes what users have on disk, as this version writes it, for later versions to read.

    python -m tests.compatibility.write tests/compatibility/v0.1

`v0.1` was written by the commit before the rooms were moved. A folder is never written again:
a version whose formats differ on purpose adds one, and says so in the CHANGELOG.

What must come out is written beside it: runs stop after half of their outer steps, and
`expected.safetensors` has the θ of the whole ones. They are short, on ten weights, so that the
numbers of two processors agree to five digits.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

TASK_NAME = "quadratic_family_seed94"
TASK = Path(__file__).with_name("v0.1") / "task.json"
RECIPE_ARGS = (
    "--tasks",
    TASK_NAME,
    "--outer-steps",
    "8",
    "--architecture",
    "mlp",
    *("--architecture-options", "hidden", "8"),
    "--options",
    *("num_pairs", "2", "trunc_length", "4", "horizon", "[4,8]", "sigma", "0.05"),
    "--tasks-per-step",
    "1",
    "--data",
    "embedded",
)
"""Of `opt-gym train`."""

OUTER_STEPS = 8
TRAINERS: dict[str, dict[str, Any]] = {
    "es": {
        "num_pairs": 2,
        "trunc_length": 4,
        "horizon": (4, 8),
        "sigma": 0.05,
        "theta_average": 0.0,
    },
    "backprop": {"num_problems": 2, "trunc_length": 4, "horizon": (4, 8)},
    "inverse_variance": {"num_pairs": 2, "trunc_length": 4, "horizon": 8},
    "hyperparameter_search": {
        "space": "adam_lr",
        "population": 4,
        "trunc_length": 4,
        "horizon": 4,
    },
    "ppo": {"num_envs": 4, "num_steps": 4, "horizon": 8, "num_minibatches": 2},
    "sb3_ppo": {"num_envs": 4, "horizon": 4, "num_minibatches": 2},
}
"""Trainers beside `pes` whose checkpoints are kept, and their settings."""


def main(folder: Path) -> None:
    """Writes everything."""
    folder.mkdir(parents=True)
    expected: dict[str, Any] = {"run": run(folder / "run")}
    for name in TRAINERS:
        expected[name] = checkpoint(name, folder / "checkpoints" / name)
    expected["normalizer"] = normalizer(folder / "cache" / "normalizers.csv")
    data_cache(folder / "cache")
    expected["optax"] = optax_state(folder / "optax.safetensors")
    expected["torch"] = torch_state(folder / "torch")
    arrays = {name: np.array(numbers, np.float32) for name, numbers in expected.items()}
    save_file(arrays, folder / "expected.safetensors")


def quadratic() -> dict[str, Any]:
    """A config of ten weights, as the processor that wrote the files drew it.

    Runs of 0.1 are known by every bit of their config, and the last bit of a drawn float is
    another on another processor; so is that of a provisional normalizer, but this config is
    in the shipped table.
    """
    return json.loads(TASK.read_text())


def ten_weights() -> dict[str, Any]:
    """A config that no shipped table has."""
    from envs_registry.benchmark_sets import QUADRATIC_10

    return {**QUADRATIC_10, "seed": 3}


def run(folder: Path) -> list[float]:
    """`opt-gym train`, cut in its middle; the θ that the whole run gives."""
    from opt_gym.cli import main as opt_gym_cli

    whole = folder.parent / "whole"
    assert opt_gym_cli(["train", "--out", str(whole), *RECIPE_ARGS]) == 0
    theta = flat_theta(whole / "theta.safetensors")
    shutil.copytree(whole, folder, ignore=lambda *_: _but("run.json", whole))
    half_run(folder)
    shutil.rmtree(whole)
    return theta


def half_run(folder: Path) -> None:
    """The first half of a recipe's run, as a Ctrl-C would have left it."""
    import agents
    import opt_gym
    from opt_gym.cli import _recipe, _training

    recipe = _recipe.read_recipe(folder)
    optimizer, _ = _training._optimizer(recipe)
    trainer = _training._trainer(recipe, optimizer)
    data = [opt_gym.load_data(env) for env in trainer.envs]
    agents.train(trainer, data, outer_steps=recipe.outer_steps // 2, seed=0, out=folder)


def _but(kept: str, folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != kept]


def trainer_of(name: str) -> tuple[Any, list[Any]]:
    """(the trainer of `TRAINERS`, its data)."""
    import optax

    import agents
    import learned
    import opt_gym

    searches = name == "hyperparameter_search"
    if searches:
        optimizer = learned.make("adam")
    else:
        options = {"action_scale": 0.1} if name == "sb3_ppo" else {}
        optimizer = learned.make("mlp", hidden=8, **options)
    env = opt_gym.make(quadratic(), learned_optimizer=optimizer)
    outer = optax.adam(1e-2) if agents.takes_outer_optimizer(name) else None
    trainer = agents.make(
        name,
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=outer,
        **TRAINERS[name],
    )
    return trainer, [opt_gym.load_data(env)]


def checkpoint(name: str, folder: Path) -> list[float]:
    """A checkpoint in the middle of a run; the θ that the whole run gives."""
    import agents

    trainer, data = trainer_of(name)
    whole = agents.train(trainer, data, outer_steps=OUTER_STEPS)
    agents.train(trainer, data, outer_steps=OUTER_STEPS // 2, out=folder)
    return flat(whole.theta)


def normalizer(path: Path) -> list[float]:
    """A user's table with one row; (initial, best) of it."""
    from opt_gym.cli import main as opt_gym_cli
    from opt_gym.normalize import user_table

    task = path.parent / "task.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    task.write_text(json.dumps(ten_weights()))
    assert opt_gym_cli(["normalize", str(task)]) == 0
    task.unlink()
    shutil.copyfile(user_table(), path)
    import csv

    (row,) = csv.DictReader(path.open())
    return [float(row["initial"]), float(row["best"])]


TEXTS = (b"a text of a few words", b"and another one", b"the third of them")


def data_cache(folder: Path) -> None:
    """What `opt_gym.data` keeps: arrays of a text set, and a vocabulary."""
    from opt_gym.data import encoders
    from opt_gym.runtime import array_files
    from opt_gym.runtime.files import cache_folder

    texts = encoders.from_bytes(TEXTS, [0, 1, 1])
    array_files.keep_arrays(folder / "texts" / "kept.npz", texts._asdict)
    encoders.subword_model(texts)
    shutil.copytree(cache_folder() / "vocabularies", folder / "vocabularies")


def optax_state(path: Path) -> list[float]:
    """The state of `to_optax` after three steps; the update of the fourth."""
    updates, state = optax_steps(3)
    del updates
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    save_file({_name(path): np.asarray(leaf) for path, leaf in leaves}, path)
    return flat(optax_steps(1, state)[0])


def optax_steps(num_steps: int, state: Any = None) -> tuple[Any, Any]:
    """(last update, state) of a bundled θ on made-up gradients."""
    import learned

    optimizer, theta = learned.load("adafactor_mlp_small")
    tx = learned.to_optax(optimizer, theta, horizon=100, warn=False)
    params = {"b": jax.numpy.zeros(3), "w": jax.numpy.full((4, 3), 0.5)}
    begun = tx.init(params) if state is None else state
    updates = None
    for number in range(num_steps):
        count = number if state is None else 3 + number
        updates, begun = tx.update(gradients(count), begun, params, value=1.0)
    return updates, begun


def gradients(number: int) -> dict[str, Any]:
    """Of step `number`."""
    rng = np.random.default_rng(number)
    return {
        "b": jax.numpy.asarray(rng.normal(size=3), np.float32),
        "w": jax.numpy.asarray(rng.normal(size=(4, 3)), np.float32),
    }


def torch_state(folder: Path) -> list[float]:
    """`LearnedOptim.state_dict` after three steps; the parameters after the fourth."""
    optimizer, params = torch_steps(0, 3)
    state = optimizer.state_dict()
    save_torch(state, params, folder)
    _, params = torch_steps(3, 4, optimizer, params)
    return [float(x) for param in params for x in param.detach().flatten()]


def torch_steps(
    first: int, end: int, optimizer: Any = None, params: Any = None
) -> tuple[Any, Any]:
    """(optimizer, parameters) after the steps first ... end - 1."""
    import torch

    from learned.torch import LearnedOptim

    if params is None:
        params = [
            torch.nn.Parameter(torch.zeros(3)),
            torch.nn.Parameter(torch.full((4, 3), 0.5)),
        ]
    if optimizer is None:
        optimizer = LearnedOptim(params, "adafactor_mlp_small", horizon=100, warn=False)
    for number in range(first, end):
        grads = gradients(number)
        for param, grad in zip(params, grads.values(), strict=True):
            param.grad = torch.tensor(np.array(grad))
        optimizer.step(loss=torch.tensor(1.0))
    return optimizer, params


def save_torch(state: dict[str, Any], params: Any, folder: Path) -> None:
    """As tensors and JSON: no pickle."""
    tensors: dict[str, np.ndarray] = {}

    def rest(value: Any, path: str) -> Any:
        if hasattr(value, "detach"):
            tensors[path] = value.detach().numpy()
            return {"tensor": path}
        if isinstance(value, dict):
            return {
                "dict": [[key, rest(x, f"{path}/{key}")] for key, x in value.items()]
            }
        if isinstance(value, list | tuple):
            return {"list": [rest(x, f"{path}/{i}") for i, x in enumerate(value)]}
        return {"value": value}

    folder.mkdir()
    text = json.dumps(rest(state, "state"), indent=1) + "\n"
    for index, param in enumerate(params):
        tensors[f"params/{index}"] = param.detach().numpy()
    save_file(
        {k: np.ascontiguousarray(v) for k, v in tensors.items()},
        folder / "t.safetensors",
    )
    (folder / "state.json").write_text(text)


def load_torch(folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """(state, parameters) of `save_torch`."""
    import torch
    from safetensors.numpy import load_file

    tensors = load_file(folder / "t.safetensors")

    def whole(value: dict[str, Any]) -> Any:
        ((kind, content),) = value.items()
        if kind == "tensor":
            return torch.tensor(tensors[content])
        if kind == "dict":
            return {key: whole(x) for key, x in content}
        return [whole(x) for x in content] if kind == "list" else content

    count = sum(name.startswith("params/") for name in tensors)
    params = [
        torch.nn.Parameter(torch.tensor(tensors[f"params/{i}"])) for i in range(count)
    ]
    return whole(json.loads((folder / "state.json").read_text())), params


def flat(tree: Any) -> list[float]:
    """All numbers of a pytree."""
    return [float(x) for leaf in jax.tree.leaves(tree) for x in np.ravel(leaf)]


def flat_theta(path: Path) -> list[float]:
    """All numbers of a θ file."""
    import learned

    return flat(learned.load(path)[1])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import opt_gym

    opt_gym.use_all_cores(2)
    main(Path(sys.argv[1]))
