# %% [markdown]
# # A physics-informed net, in JAX
#
# Three layers of 32 learn a solution of Burgers' equation from the equation alone: the loss
# takes second derivatives of the net, and falls over decades. `compare_on` trains with the
# bundled `general` and with AdamW (weight decay, cosine, three rates), three times each.
#
# **What came, in four minutes of one core: AdamW at 3e-3 is better by seven times (.0054
# against .036)**, over a run of four times the steps of the longest that `general` was trained
# for ([the figures](../../results/at_work.md)).
#
# ![Training loss by steps and by seconds](../../results/at_work/physics/losses.png)

# %%
"""A physics-informed net in JAX: Burgers' equation, of which only the beginning is known.

    python -m examples.at_work.physics

u_t + u·u_x = .01/π·u_xx on [−1, 1] x [0, 1], u(x, 0) = −sin(πx), u(±1, t) = 0: the net is to be
0 where these say so, at points that are drawn anew for every step (Raissi et al. 2019).
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro

import learned
from examples.at_work.shown import OPTIMIZERS, show
from learned.how_they_fared import Contest

SIZES = (2, 32, 32, 32, 1)
VISCOSITY = 0.01 / jnp.pi
NUM_POINTS = 256


def params_at_first(key: Any) -> list[dict[str, Any]]:
    """Layers with Glorot's kernels."""
    layers = []
    for a, b in pairwise(SIZES):
        key, own = jax.random.split(key)
        kernel = jax.random.normal(own, (a, b)) * jnp.sqrt(2 / (a + b))
        layers.append({"kernel": kernel, "bias": jnp.zeros(b)})
    return layers


def u(params: list[dict[str, Any]], x: Any, t: Any) -> Any:
    """The net's answer at one point."""
    h = jnp.stack([x, t])
    for layer in params[:-1]:
        h = jnp.tanh(h @ layer["kernel"] + layer["bias"])
    return (h @ params[-1]["kernel"] + params[-1]["bias"])[0]


def residual(params: Any, x: Any, t: Any) -> Any:
    """What the equation has left over at one point."""
    u_x = jax.grad(u, 1)
    u_xx = jax.grad(u_x, 1)(params, x, t)
    at = params, x, t
    return jax.grad(u, 2)(*at) + u(*at) * u_x(*at) - VISCOSITY * u_xx


def loss(params: Any, points: Any) -> Any:
    """Mean squares: of the equation inside, at the beginning, and at both ends."""
    x, t = 2 * points[:, 0] - 1, points[:, 1]
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    at = jax.vmap(u, (None, 0, 0))
    inside = jax.vmap(residual, (None, 0, 0))(params, x, t)
    start = at(params, x, zero) + jnp.sin(jnp.pi * x)
    ends = at(params, one, t), at(params, -one, t)
    return sum(jnp.mean(jnp.square(part)) for part in (inside, start, *ends))


def points(number: int) -> Any:
    """[NUM_POINTS, 2] in [0, 1]."""
    return jax.random.uniform(jax.random.key(number), (NUM_POINTS, 2))


def main(out: Path = Path("runs/at_work/physics"), budget_s: float = 540.0) -> Contest:
    """Trains with each optimizer, three times.

    Args:
        out: folder of table and picture.
        budget_s: seconds for all of it.
    """
    contest = learned.compare_on(
        loss,
        params_at_first(jax.random.key(0)),
        points,
        valid_batches=lambda number: points(-1 - number),
        optimizers=OPTIMIZERS,
        budget_s=budget_s,
    )
    return show(out, contest)


if __name__ == "__main__":
    tyro.cli(main)
