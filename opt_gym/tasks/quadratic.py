"""TaskSet's quadratics: one weight vector, a random matrix, noise on the matrix."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.plugins import Spec
from opt_gym.records import Batch, Config, Data, Task
from opt_gym.tasks.building import config_checks, samplers
from opt_gym.tasks.building.initializers import qr
from opt_gym.tasks.building.model import no_data

FAMILY = "quadratic"
KEYS = (
    "A_dist",
    "initial_dist",
    "output_fn",
    "dims",
    "seed",
    "loss_scale",
    "noise",
)
ENTRIES = {"normal": ("mean", "std"), "uniform": ("min", "max")}
SPECTRA = {"linspace_eigen": ("min", "max"), "logspace_eigen": ("min", "max")}
LOG_OFFSET = 1e-8


class Weight(NamedTuple):
    """φ of a quadratic. Shapes: weight [d]."""

    weight: Float[Array, " d"]


def sample_config(seed: int) -> Config:
    """TaskSet's published config `quadratic_family_seed<seed>`."""
    rng = RandomState(seed)
    matrix = _sample_matrix(
        rng,
        normal=((0, 1), (0, 2)),
        uniform=((-3, 1), 5),
        linspace=((0.01, 50), 100),
        top=1000,
    )
    if samplers.pick(rng, ("normal", "uniform")) == "normal":
        mean = float(rng.normal(0, 1))
        initial = ["normal", {"mean": mean, "std": samplers.uniform(rng, 0, 2)}]
    else:
        initial = ["uniform", _interval(rng, (-5, 2.5), 5)]
    config = {
        "A_dist": matrix,
        "initial_dist": initial,
        "output_fn": samplers.pick(rng, ("identity", "log")),
        "dims": samplers.log_int(rng, 2, 3000),
        "seed": int(rng.randint(0, 100000)),
        "loss_scale": samplers.log_float(rng, 1e-5, 1e3),
        "noise": None,
    }
    if samplers.pick(rng, (True, False)):
        noise = _sample_matrix(
            rng,
            normal=((0, 0.05), (0, 0.05)),
            uniform=((-0.15, 0.05), 0.25),
            linspace=((0.01, 2), 10),
            top=10,
        )
        config["noise"] = {"A_noise": noise}
    return config


def objective(config: Config, product: Float[Array, " d"]) -> Float[Array, ""]:
    """The loss as a function of A w: scale * x or scale * log(max(x, 0) + 1e-8), x = |Aw|²."""
    square = jnp.sum(product**2)
    if config["output_fn"] == "log":
        square = jnp.log(jnp.maximum(square, 0.0) + LOG_OFFSET)
    return config["loss_scale"] * square


def draw_matrix(key: PRNGKeyArray, dist: list[Any], dims: int) -> Float[Array, "d d"]:
    """A square matrix: independent entries, or Q diag(spectrum) Qᵀ with a random basis Q."""
    kind, settings = dist
    if kind in ENTRIES:
        return _entries(key, dist, (dims, dims))
    basis, spectrum = _basis(key, dims), _spectrum(kind, settings, dims)
    return (basis * spectrum[None, :]) @ basis.T


def noise_product(
    key: PRNGKeyArray, dist: list[Any], weight: Float[Array, " d"]
) -> Float[Array, " d"]:
    """N w for a fresh `draw_matrix` N; Q diag(s) Qᵀ is never multiplied out."""
    kind, settings = dist
    dims = weight.shape[0]
    if kind in ENTRIES:
        return _entries(key, dist, (dims, dims)) @ weight
    basis, spectrum = _basis(key, dims), _spectrum(kind, settings, dims)
    return basis @ (spectrum * (basis.T @ weight))


def build(config: Config) -> Task:
    """loss(w) = out(sum(((A + N) w)²)), N fresh in every evaluation, no data.

    φ = Weight(w [d]); ψ = A [d, d]. A follows `config["seed"]`, or the reset key where that
    is None; w always follows the reset key.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    Source: Metz et al. 2020, arXiv 2002.11887, quadratic_family. Differs: A comes from
        JAX's generator, so it equals TaskSet's in distribution only, and w is not the same
        in every replica.
    """
    config = _check(config)
    dims, seed, noise = config["dims"], config["seed"], config["noise"]

    def init(key: PRNGKeyArray, data: Data) -> tuple[Weight, Array]:
        k_weight, k_matrix = jax.random.split(key)
        if seed is not None:
            k_matrix = jax.random.key(seed)
        weight = _entries(k_weight, config["initial_dist"], (dims,))
        return Weight(weight), draw_matrix(k_matrix, config["A_dist"], dims)

    def loss(
        key: PRNGKeyArray, params: Weight, instance: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        product = instance @ params.weight
        if noise is not None:
            product = product + noise_product(key, noise["A_noise"], params.weight)
        return objective(config, product), {}

    scale = config["loss_scale"]
    return Task(
        config={"family": FAMILY, **config},
        batch_size=0,
        dataset="none",
        input_kind="none",
        loss_floor=scale * math.log(LOG_OFFSET)
        if config["output_fn"] == "log"
        else 0.0,
        roles=("kernel",),
        load_data=no_data,
        init=init,
        sample_batch=lambda key, data, instance, split: Batch(None, None),
        loss=loss,
        constrain=lambda params: params,
    )


def _interval(
    rng: RandomState, low: tuple[float, float], widest: float
) -> dict[str, float]:
    start = samplers.uniform(rng, *low)
    return {"min": start, "max": start + samplers.uniform(rng, 0, widest)}


def _sample_matrix(
    rng: RandomState,
    normal: tuple[tuple[float, float], tuple[float, float]],
    uniform: tuple[tuple[float, float], float],
    linspace: tuple[tuple[float, float], float],
    top: float,
) -> list[Any]:
    kinds = ("normal", "linspace_eigen", "uniform", "logspace_eigen")
    kind = samplers.pick(rng, kinds)
    if kind == "normal":
        mean = float(rng.normal(*normal[0]))
        return [kind, {"mean": mean, "std": samplers.uniform(rng, *normal[1])}]
    if kind == "uniform":
        return [kind, _interval(rng, *uniform)]
    if kind == "linspace_eigen":
        return [kind, _interval(rng, *linspace)]
    return [kind, {"min": 1e-5, "max": samplers.uniform(rng, 1, top)}]


def _entries(key: PRNGKeyArray, dist: list[Any], shape: tuple[int, ...]) -> Array:
    kind, settings = dist
    if kind == "normal":
        noise = jax.random.normal(key, shape)
        return settings["mean"] + settings["std"] * noise
    low, high = settings["min"], settings["max"]
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _basis(key: PRNGKeyArray, dims: int) -> Float[Array, "d d"]:
    square = jax.random.uniform(key, (dims, dims), minval=-1.0, maxval=1.0)
    q, r = qr(square)
    return q * jnp.sign(jnp.diagonal(r))[None, :]


def _spectrum(kind: str, settings: dict[str, float], dims: int) -> Array:
    low, high = settings["min"], settings["max"]
    space: Callable[..., np.ndarray] = (
        np.linspace if kind == "linspace_eigen" else np.geomspace
    )
    return jnp.asarray(space(low, high, dims), jnp.float32)


def _check(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    _check_dist("A_dist", config["A_dist"], {**ENTRIES, **SPECTRA})
    _check_dist("initial_dist", config["initial_dist"], ENTRIES)
    config_checks.check_choice(
        FAMILY, "output_fn", config["output_fn"], ("identity", "log")
    )
    dims, seed, scale = config["dims"], config["seed"], config["loss_scale"]
    config_checks.check_side(FAMILY, "dims", dims)
    valid = seed is None or config_checks.is_int(seed, 0, 2**63 - 1)
    config_checks.check(FAMILY, "seed", seed, valid, "an integer in [0, 2^63) or null")
    config_checks.check_positive(FAMILY, "loss_scale", scale)
    if config["noise"] is not None:
        config_checks.check_keys(f"{FAMILY}: noise", config["noise"], ("A_noise",))
        _check_dist("A_noise", config["noise"]["A_noise"], {**ENTRIES, **SPECTRA})
    return config


def _check_dist(key: str, value: Any, kinds: dict[str, tuple[str, str]]) -> None:
    pair = isinstance(value, list | tuple) and len(value) == 2
    config_checks.check(FAMILY, key, value, pair, "[kind, {settings}]")
    kind, settings = value
    config_checks.check_choice(FAMILY, f"kind of {key}", kind, list(kinds))
    config_checks.check_keys(f"{FAMILY}: {key} {kind}", settings, kinds[kind])
    for name, number in settings.items():
        where = f"{FAMILY}: {key} {kind}"
        config_checks.check(
            where, name, number, config_checks.is_number(number), "a number"
        )
    if kind == "logspace_eigen":
        low = settings["min"]
        config_checks.check(f"{FAMILY}: {key}", "min", low, low > 0, "> 0")


SPEC = Spec(
    kind="task",
    name=FAMILY,
    make=build,
    sample_config=sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, quadratic_family (google-research)",
)
