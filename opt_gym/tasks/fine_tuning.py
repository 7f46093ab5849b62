"""Training that starts from weights trained beforehand on other data: full, or low-rank."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray
from numpy.random import RandomState

from opt_gym import plugins
from opt_gym.plugins import Spec
from opt_gym.records import Batch, Config, Data, Task
from opt_gym.tasks.building import base_weights, config_checks, samplers

FAMILY = "fine_tuning"
KEYS = ("base", "adapter", "dataset")
OPTIONAL = ("rank", "scale")
ADAPTERS = ("full", "low_rank")


def sample_config(seed: int) -> Config:
    """A config of our own: a base, full or with ranks of 1-8, on one of its other data sets."""
    rng = RandomState(seed)
    base = samplers.pick(rng, tuple(OTHERS))
    adapter = samplers.pick(rng, ADAPTERS)
    name, settings = samplers.pick(rng, OTHERS[base])
    batch = samplers.log_int(rng, 8, 64)
    shrunk: list[Any] = [name, {**settings, _batch_key(base): batch}]
    is_image = _batch_key(base) == "bs"
    rank = {"rank": samplers.pick(rng, (1, 2, 4, 8)), "scale": 2.0}
    return {
        "base": base,
        "adapter": adapter,
        "dataset": [*shrunk, None] if is_image else shrunk,
        **(rank if adapter == "low_rank" else {}),
    }


def build(config: Config) -> Task:
    """The task of the `base`'s own config on another `dataset`, φ begun as it was trained.

    "full": φ is the base's. "low_rank": every kernel W [in, out] of the base becomes
    W + scale · A B with A [in, rank] ~ N(0, 1/in) and B [rank, out] = 0, and all else stays;
    φ = (A, B, A, B, ...), ψ has the base.

    Source: Hu et al. 2022, arXiv 2106.09685 (LoRA). differs: all kernels have an adapter, the
        head's too.

    Raises:
        ValueError: a key or a value that cannot be used, by name, or a data set of another
            shape than the base's.
    """
    config = _checked(config)
    base = base_weights.load(config["base"])
    family = base.config["family"]
    changed = {**base.config, "dataset": config["dataset"]}
    with config_checks.inside(FAMILY):
        inner: Task = plugins.spec("task", family).make(changed)
    _check_shapes(config, inner, base)
    places = [
        place
        for place, (role, leaf) in enumerate(zip(inner.roles, base.params, strict=True))
        if role == "kernel" and leaf.ndim == 2
    ]
    is_full, scale = config["adapter"] == "full", config.get("scale", 1.0)

    def init(key: PRNGKeyArray, data: Data) -> tuple[tuple[Array, ...], Any]:
        k_adapters, k_inner = jax.random.split(key)
        fixed = tuple(map(jnp.asarray, base.params))
        instance = inner.init(k_inner, data)[1]
        if is_full:
            return fixed, instance
        shapes = [fixed[place].shape for place in places]
        return _adapters(k_adapters, shapes, config["rank"]), (fixed, instance)

    def loss(
        key: PRNGKeyArray, params: tuple[Array, ...], instance: Any, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        if is_full:
            return inner.loss(key, params, instance, batch)
        fixed, own = instance
        whole = list(fixed)
        for i, place in enumerate(places):
            whole[place] = fixed[place] + scale * (params[2 * i] @ params[2 * i + 1])
        return inner.loss(key, tuple(whole), own, batch)

    def sample_batch(key: PRNGKeyArray, data: Data, instance: Any, split: str) -> Batch:
        own = instance if is_full else instance[1]
        return inner.sample_batch(key, data, own, split)

    return inner._replace(
        config={"family": FAMILY, **config},
        roles=inner.roles if is_full else ("kernel",) * (2 * len(places)),
        init=init,
        loss=loss,
        sample_batch=sample_batch,
        constrain=inner.constrain if is_full else lambda params: params,
    )


def _adapters(
    key: PRNGKeyArray, shapes: Sequence[tuple[int, ...]], rank: int
) -> tuple[Array, ...]:
    """A, B of every kernel."""
    found: list[Array] = []
    for k, (fan_in, fan_out) in zip(
        jax.random.split(key, len(shapes)), shapes, strict=True
    ):
        found.append(jax.random.normal(k, (fan_in, rank)) / math.sqrt(fan_in))
        found.append(jnp.zeros((rank, fan_out)))
    return tuple(found)


def _check_shapes(config: Config, inner: Task, base: base_weights.Base) -> None:
    data: Any = {}  # shapes do not depend on it
    shapes, _ = jax.eval_shape(lambda key: inner.init(key, data), jax.random.key(0))
    wanted, given = ([leaf.shape for leaf in tree] for tree in (base.params, shapes))
    fits = wanted == given
    expected = (
        f"of the shape and the classes of {base.config['dataset'][0]}, the base's"
    )
    config_checks.check(FAMILY, "dataset", config["dataset"], fits, expected)


def _batch_key(base: str) -> str:
    settings = base_weights.load(base).config["dataset"][1]
    return "bs" if "bs" in settings else "batch_size"


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS, OPTIONAL)
    config_checks.check_choice(FAMILY, "base", config["base"], base_weights.names())
    config_checks.check_choice(FAMILY, "adapter", config["adapter"], ADAPTERS)
    is_low = config["adapter"] == "low_rank"
    for key in OPTIONAL:
        expected = "given with the adapter low_rank, and only there"
        given = config.get(key)
        config_checks.check(FAMILY, key, given, (key in config) == is_low, expected)
    if is_low:
        config_checks.check_int(FAMILY, "rank", config["rank"], 1)
        config_checks.check_positive(FAMILY, "scale", config["scale"])
    return config


_WINDOW = {"patch_length": 32}
_TEN = {"ways": [10, 0], "size": 16}
OTHERS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "english_transformer": (
        ("python_source/bytes", {**_WINDOW, "num_valid": 500}),
        ("tokenized_wikipedia/20190301.ru_bytes", _WINDOW),
        ("tokenized_amazon_reviews/Books_v1_02_bytes", _WINDOW),
    ),
    "photo_vit": (
        ("cifar100", _TEN),
        ("coil100_32x32", _TEN),
        ("food101_32x32", _TEN),
        ("sun397_32x32", _TEN),
    ),
}
"""By base: data sets that fit it, with their settings but for the batch size."""

SPEC = Spec(
    kind="task",
    name=FAMILY,
    make=build,
    sample_config=sample_config,
    source="ours; Hu et al. 2022, arXiv 2106.09685",
)
