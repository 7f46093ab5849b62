"""Task augmentation: the same task with its weights stored in another scale.

    φ' = φ / α,   loss'(φ') = loss(α φ'),   so that   ∇loss'(φ') = α ∇loss(α φ')

α > 0 is log-uniform in [low, high], drawn anew with every inner problem: one for all weights
(level "global"), one a tensor ("tensor") or one a weight ("parameter"). Every loss is that of
the plain task, and so are its normalizers; but steps are not: a step of SGD with rate η is one
with rate α²η of the plain task, and a step of Adam (ε → 0) one with rate αη. A learned
optimizer that was trained on such tasks cannot rely on the scale of weights and gradients.

    task = reparameterised(make_task(config), level="tensor", low=1e-1, high=1e1)
    task = make_task({**config, "reparameterised": {"level": "tensor", ...}})   # the same

Source: Metz et al. 2022 (VeLO), arXiv 2211.09760, appendix on task augmentation; Moudgil et
al. 2025 (Celo), arXiv 2501.12670: "global", 1e-3 to 1e3. VeLO mixes none, global, tensor and
parameter as 2:2:2:1, with ranges 1e±3, 1e±2 and 1e±1.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from opt_gym.plugins import unknown
from opt_gym.records import Batch, Config, Data, Task

KEY = "reparameterised"
"""Of a task config; its value holds the keywords of `reparameterised`."""

SCALE_LEVELS = ("global", "tensor", "parameter")
SETTINGS = ("level", "low", "high")

_ALPHA = 0xA1FA
"""Folded into the reset key, so that φ and the plain ψ are drawn as without α."""


class Scaled(NamedTuple):
    """ψ of a reparameterised task.

    instance: the plain task's ψ; alpha: shaped like φ, with scalars for tensors where a
    tensor has one scale.
    """

    instance: PyTree
    alpha: PyTree


def reparameterised(
    task: Task, *, level: str = "global", low: float = 1e-3, high: float = 1e3
) -> Task:
    """The task with weights divided by α when stored, multiplied by α when used.

    Args:
        task: any one whose `constrain` is the identity or a mask: it must not notice scales.
        level: how many α there are: one, one a tensor, one a weight.
        low, high: bounds of the log-uniform α; 1 and 1 leave all as it is.

    Raises:
        ValueError: an unknown level, bounds other than 0 < low <= high, or a task that is
            reparameterised already.
    """
    settings = {"level": level, "low": low, "high": high}
    _check(settings)
    if KEY in task.config:
        raise ValueError(f"the task is reparameterised already: {task.config[KEY]}")

    def init(key: PRNGKeyArray, data: Data) -> tuple[PyTree, Scaled]:
        params, instance = task.init(key, data)
        alpha = _draw(jax.random.fold_in(key, _ALPHA), params, **settings)
        return jax.tree.map(jnp.divide, params, alpha), Scaled(instance, alpha)

    def sample_batch(
        key: PRNGKeyArray, data: Data, scaled: Scaled, split: str
    ) -> Batch:
        return task.sample_batch(key, data, scaled.instance, split)

    def loss(
        key: PRNGKeyArray, params: PyTree, scaled: Scaled, batch: Batch
    ) -> tuple[Any, dict[str, Any]]:
        used = jax.tree.map(jnp.multiply, params, scaled.alpha)
        return task.loss(key, used, scaled.instance, batch)

    # A task without a config stays one: its settings would not tell which task it is.
    config = {**task.config, KEY: settings} if task.config else task.config
    return task._replace(config=config, init=init, sample_batch=sample_batch, loss=loss)


def split(config: Config) -> tuple[Config, dict[str, Any] | None]:
    """(the plain task's config, the keywords of `reparameterised` or None).

    Raises:
        ValueError: the value of the key is no dict of these keywords.
    """
    plain = {key: value for key, value in config.items() if key != KEY}
    if KEY not in config:
        return plain, None
    settings = config[KEY]
    if not isinstance(settings, dict):
        raise ValueError(f"{KEY}: expected a dict of {SETTINGS}, got {settings!r}")
    for key in settings:
        if key not in SETTINGS:
            raise ValueError(f"{KEY}: {unknown('key', key, list(SETTINGS))}")
    return plain, dict(settings)


def _draw(
    key: PRNGKeyArray, params: PyTree, *, level: str, low: float, high: float
) -> PyTree:
    def draw(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        between = math.log(low), math.log(high)
        return jnp.exp(jax.random.uniform(key, shape, jnp.float32, *between))

    if level == "global":
        alpha = draw(key, ())
        return jax.tree.map(lambda leaf: alpha, params)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    shapes = [leaf.shape if level == "parameter" else () for leaf in leaves]
    return jax.tree.unflatten(structure, map(draw, keys, shapes))


def _check(settings: dict[str, Any]) -> None:
    level, low, high = (settings[name] for name in SETTINGS)
    if level not in SCALE_LEVELS:
        raise ValueError(f"{KEY}: {unknown('level', level, list(SCALE_LEVELS))}")
    numbers = all(
        isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high)
    )
    if not numbers or not 0 < low <= high < math.inf:
        raise ValueError(
            f"{KEY}: bounds must be numbers, 0 < low <= high, got low={low!r}, "
            f"high={high!r}"
        )
