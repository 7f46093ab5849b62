"""A single environment whose observation is huge copies less; its numbers are the same."""

from typing import Any

import gymnasium as gym
import jax
import numpy as np
import pytest

import opt_gym
from opt_gym.gym import _core, _layout
from opt_gym.records import Normalizer
from tests.gym import problems


def _episode() -> tuple[list[Any], list[dict[str, Any]]]:
    env = gym.make("OptTask-quadratic_family_seed0-v0", horizon=3, data="embedded")
    observation, info = env.reset(seed=0)
    observations, infos = [observation], [info]
    action = np.full(env.action_space.shape or (), 0.3, np.float32)
    for _ in range(3):
        observation, reward, _, _, info = env.step(action)
        observations.append(observation)
        infos.append({"reward": reward, **info})
    env.reset(seed=1)
    return observations, infos


def test_huge_rows_have_the_numbers_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, usual_infos = _episode()
    monkeypatch.setattr(_core, "_HUGE", 0)
    _core._kept.clear()
    huge, huge_infos = _episode()
    _core._kept.clear()
    for a, b in zip(usual, huge, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert a.flags.writeable
        assert not b.flags.writeable
    for a, b in zip(usual_infos, huge_infos, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-5)


@pytest.mark.parametrize("features", ["mlp", "adafactor", "nominal"])
def test_pieces_written_in_place_are_the_whole(
    monkeypatch: pytest.MonkeyPatch, features: str
) -> None:
    env = opt_gym.make(
        problems.SMALL_MLP,
        features=features,
        data="embedded",
        normalizer=Normalizer(2.3, 0.0, "given"),
    )
    state = jax.jit(env.reset)(
        jax.random.key(0), opt_gym.load_data(env), jax.numpy.int32(9)
    )
    layout = _layout.make_layout(env, state.params)

    def shown(hidden: bool) -> np.ndarray:
        """In a program of its own, traced with the sizes of now."""
        array = jax.jit(
            lambda state, hidden: _layout.to_array(
                layout, env.observe(state)[1], hidden
            )
        )
        return np.asarray(array(state, np.bool_(hidden)))

    whole = shown(False)
    monkeypatch.setattr(_layout, "_LARGE", 0)
    monkeypatch.setattr(_layout, "_PIECE", 100)  # no divisor of any tensor's size
    np.testing.assert_allclose(shown(False), whole, rtol=1e-5, atol=1e-7)
    assert not np.any(shown(True))
