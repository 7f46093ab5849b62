"""Settings of architectures: sizes that cannot be, parts that can be left out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
from opt_gym import plugins

SIZES = [
    (name, setting)
    for name in learned.names()
    for setting, default in plugins.spec("architecture", name).settings.items()
    if isinstance(default, int)
    and not isinstance(default, bool)
    and "clamp" not in setting
]
"""Every setting that is a whole number: of units, layers, scales, banks."""


@pytest.mark.parametrize(("name", "setting"), SIZES)
def test_a_size_of_zero_is_refused(name, setting):
    with pytest.raises(ValueError, match=r"must be >= [12]|got"):
        learned.make(name, **{setting: 0})


@pytest.mark.parametrize("left_out", ["per_parameter", "per_tensor"])
def test_nominal_without_one_of_its_nets_starts_as_adam(left_out):
    optimizer = learned.make("nominal", learning_rate=0.1, **{left_out: False})
    theta = optimizer.init_theta(jax.random.key(0))
    assert {"per_parameter": "parameter", "per_tensor": "tensor"}[left_out] not in theta
    params = {"w": jnp.linspace(-1.0, 1.0, 6)}
    ours: Any = learned.to_optax(optimizer, theta)
    adam: Any = optax.adam(0.1)
    updates, _ = ours.update(params, ours.init(params), params, value=1.0)
    expected, _ = adam.update(params, adam.init(params))
    np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-4)


def test_nominal_has_at_least_one_net():
    with pytest.raises(ValueError, match="needs per_parameter or per_tensor"):
        learned.make("nominal", per_parameter=False, per_tensor=False)
