"""Distance from the optimum after 30,000 steps on a parabola and Rosenbrock's valley.

What optax asks of its contributed optimizers, at a tolerance of 0.03. Untrained architectures
are measured too, at their default settings; `+ cosine` is `to_optax(decay="cosine")`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import learned
from learned import theta_file

STEPS = 30_000
TOLERANCE = 0.03


def parabola(x: Any) -> Any:
    """Optimum (1, −1, 1)."""
    return jnp.sum((x - jnp.array([1.0, -1.0, 1.0])) ** 2)


def rosenbrock(x: Any) -> Any:
    """Optimum (1, 1)."""
    return (1.0 - x[0]) ** 2 + 100.0 * (x[1] - x[0] ** 2) ** 2


PROBLEMS = {
    "parabola": (parabola, (-1.0, 10.0, 1.0), (1.0, -1.0, 1.0)),
    "rosenbrock": (rosenbrock, (0.0, 0.0), (1.0, 1.0)),
}


def alone() -> dict[str, Any]:
    """All; there is no baseline but the hand-designed ones."""
    return run()


def run() -> dict[str, Any]:
    """By optimizer: the largest distance of a coordinate from the optimum."""
    found: dict[str, Any] = {}
    for name in (*learned.names(), *theta_file.bundled_names()):
        if name in theta_file.bundled_names():
            lopt, theta = learned.load(name)
        else:
            lopt = learned.make(name)
            theta = lopt.init_theta(jax.random.key(0))
        for decay in (None, "cosine"):
            tx = learned.to_optax(lopt, theta, horizon=STEPS, decay=decay, warn=False)
            row = {problem: distance(tx, problem) for problem in PROBLEMS}
            found[f"{name}{'' if decay is None else ' + cosine'}"] = row
    return found


def distance(tx: Any, problem: str) -> float:
    """After all steps; not a number where it diverged."""
    loss_fn, start, optimum = PROBLEMS[problem]

    @jax.jit
    def descend() -> Any:
        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            params, state = carry
            value, grads = jax.value_and_grad(loss_fn)(params)
            updates, state = tx.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        params = jnp.array(start)
        begin = (params, tx.init(params))
        return jax.lax.scan(step, begin, None, length=STEPS)[0][0]

    away = jnp.max(jnp.abs(descend() - jnp.array(optimum)))
    return float(f"{float(away):.3g}")
