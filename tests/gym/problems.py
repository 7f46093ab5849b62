"""Tiny problems and the loops over them that several tests use."""

from typing import Any

import gymnasium as gym
import numpy as np

import opt_gym  # noqa: F401 — registers the ids
from opt_gym.gym.opt_env import OptEnv

ID = "OptTask-quadratic-v0"


def quadratic(dims: int = 3, **changes: Any) -> dict[str, Any]:
    config = {
        "family": "quadratic",
        "A_dist": ["normal", {"mean": 0.0, "std": 1.0}],
        "initial_dist": ["normal", {"mean": 0.0, "std": 1.0}],
        "output_fn": "identity",
        "dims": dims,
        "seed": None,
        "loss_scale": 1.0,
        "noise": None,
    }
    return {**config, **changes}


SMALL_MLP = {
    "family": "small_mlp",
    "layer_sizes": [4],
    "activation": "tanh",
    "w_init": ["he_normal", None],
    "dataset": ["digits", {"bs": 16}, None],
    "center_data": True,
}


def single(**keywords: Any) -> gym.Env:
    return gym.make(ID, **{"task": quadratic(), "horizon": 5, **keywords})


def unwrapped(**keywords: Any) -> OptEnv:
    env = single(**keywords).unwrapped
    assert isinstance(env, OptEnv)
    return env


def vector(num_envs: int = 3, **keywords: Any) -> gym.vector.VectorEnv:
    given = {"task": quadratic(), "horizon": 5, **keywords}
    return gym.make_vec(ID, num_envs=num_envs, **given)


def sync(
    num_envs: int, mode: gym.vector.AutoresetMode, **keywords: Any
) -> gym.vector.VectorEnv:
    given = {"task": quadratic(), "horizon": 5, **keywords}
    return gym.make_vec(
        ID,
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **given,
    )


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal bit for bit: types, shapes, values; infos as dictionaries of arrays."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, tuple) or getattr(ours, "dtype", None) == np.object_:
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs
