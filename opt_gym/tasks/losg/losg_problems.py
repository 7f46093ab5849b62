"""The problems of losg_tasks: each kind's tensors, objective, data and lower bound."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import layers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import Loss, Params
from opt_gym.tasks.losg import losg_data, losg_plane
from opt_gym.tasks.losg.losg_data import Draw
from opt_gym.tasks.losg.losg_gradient import Objective

PENALTY = 1e-3
CLASSIFIER_GAIN = 1.2
NORM_OFFSET = CHAIN_OFFSET = SNAKE_OFFSET = 1e-6
VALUE_OFFSET = 1e-12
LOG_OFFSET = 1e-6
SMALLEST_LOG_ARGUMENT = 2.0**-43
"""The smallest positive float32 that 1e-6 plus a negative float32 can be."""


class Problem(NamedTuple):
    """One problem: φ's tensors, how they begin, and what is minimized.

    Attributes:
        shapes, roles: of φ's tensors.
        init: key -> φ.
        objective: (φ, batch) -> (value, aux).
        floor: the objective does not go below it, up to rounding.
        draw: what it draws once (`Arrays`); None where it needs nothing.
        batch_size: rows of the drawn data set in a batch; 0: a batch is all that was drawn.
        noise_stdev, zero_probability, spread: see `losg_gradient.perturb`.
    """

    shapes: tuple[tuple[int, ...], ...]
    roles: tuple[str, ...]
    init: Callable[[PRNGKeyArray], Params]
    objective: Objective
    floor: float = 0.0
    draw: Draw | None = None
    batch_size: int = 0
    noise_stdev: float = 0.0
    zero_probability: float = 0.0
    spread: Callable[[Batch], tuple[Any, ...]] | None = None


def make_problem(kind: str, settings: Config) -> Problem:
    """The problem of a kind and its checked settings; wrappers make their base first."""
    if kind not in WRAPPERS:
        return KINDS[kind](settings)
    base = make_problem(*settings["base"])
    return WRAPPERS[kind](settings, base)


def _single(
    shape: tuple[int, ...],
    value: Callable[[Array, Batch], Array],
    settings: Config,
    **fields: Any,
) -> Problem:
    """A problem of one tensor that begins as N(0, 1)."""
    return Problem(
        shapes=(shape,),
        roles=("kernel",),
        init=lambda key: (jax.random.normal(key, shape),),
        objective=lambda params, batch: (value(params[0], batch), {}),
        noise_stdev=settings.get("noise_stdev", 0.0),
        **fields,
    )


def _residual(x: Float[Array, "d 1"], batch: Batch) -> Float[Array, "d 1"]:
    return batch.inputs @ x - batch.targets


def _quadratic(settings: Config) -> Problem:
    """½ |W x - y|² >= 0."""
    dim = settings["dim"]

    def value(x: Float[Array, "d 1"], batch: Batch) -> Float[Array, ""]:
        return 0.5 * jnp.sum(_residual(x, batch) ** 2)

    return _single((dim, 1), value, settings, draw=losg_data.linear_system(dim))


def _norm(settings: Config) -> Problem:
    """(Σ (|W x - y| + 1e-6)^p)^(1/p), at least its value where W x = y: 1e-6 d^(1/p).

    With a small p it overflows float32 far from there, as in the original.
    """
    dim, power = settings["dim"], settings["norm_power"]

    def value(x: Float[Array, "d 1"], batch: Batch) -> Float[Array, ""]:
        distance = jnp.abs(_residual(x, batch)) + NORM_OFFSET
        return jnp.sum(distance**power) ** (1.0 / power)

    # The floor itself stays within float32.
    floor = NORM_OFFSET * math.exp(min(math.log(dim) / power, 80.0))
    draw = losg_data.linear_system(dim)
    return _single((dim, 1), value, settings, draw=draw, floor=floor)


def _bowl(settings: Config) -> Problem:
    """½ |M x|² >= 0 with M = diag(sqrt(cond), 1) times a rotation."""
    cosine, sine = math.cos(settings["angle"]), math.sin(settings["angle"])
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    stretch = np.array([[math.sqrt(settings["cond"])], [1.0]])
    matrix = (stretch * rotation).astype(np.float32)

    def value(x: Float[Array, "2 1"], batch: Batch) -> Float[Array, ""]:
        return 0.5 * jnp.sum((matrix @ x) ** 2)

    return _begun(_single((2, 1), value, settings), settings)


def _test_function(settings: Config) -> Problem:
    """One of `losg_plane.FUNCTIONS`; its infimum is the floor."""
    function = losg_plane.FUNCTIONS[settings["problem"]]

    def value(x: Float[Array, " 2"], batch: Batch) -> Float[Array, ""]:
        return function.value(x[0], x[1])

    problem = _single((2,), value, settings, floor=function.floor)
    start = problem._replace(init=lambda key: (function.start(key),))
    return _begun(start, settings)


def _begun(problem: Problem, settings: Config) -> Problem:
    """At the point that the settings state, if they state one."""
    if "initial" not in settings:
        return problem
    point = np.array(settings["initial"], np.float32).reshape(problem.shapes[0])
    return problem._replace(init=lambda key: (jnp.asarray(point),))


def _dependency_chain(settings: Config) -> Problem:
    """Σᵢ (x₀² + xᵢ₊₁² / (xᵢ² + 1e-6)) >= 0; the data set of the original has no effect."""

    def value(x: Float[Array, " d+1"], batch: Batch) -> Float[Array, ""]:
        square = x**2
        return jnp.sum(square[0] + square[1:] / (square[:-1] + CHAIN_OFFSET))

    return _single((settings["dim"] + 1,), value, settings)


def _outward_snake(settings: Config) -> Problem:
    """Σ_b z_b0 / (|x| + 1e-6) + Σ_bi ((xᵢ₊₁ - π cos xᵢ) z_b,i+1)², z the batch's rows.

    Floor: minus the largest Σ_b |z_b0| of any batch. It holds for |x| >= 1. Nearer to the
    origin the first term has no useful bound (it reaches 1e6 times that at x = 0), and a
    normalizer that started from there would see nothing else.
    """
    num, dim, batch_size = settings["n_samples"], settings["dim"], settings["bs"]

    def value(x: Float[Array, " d"], batch: Batch) -> Float[Array, ""]:
        rows = batch.inputs
        outward = jnp.sum(rows[:, 0]) / (jnp.sqrt(jnp.sum(x**2)) + SNAKE_OFFSET)
        bend = x[1:] - math.pi * jnp.cos(x[:-1])
        return outward + jnp.sum((bend[None, :] * rows[:, 1:]) ** 2)

    return _single(
        (dim,),
        value,
        settings,
        draw=losg_data.normal_rows(num, dim),
        batch_size=batch_size,
        floor=-batch_size * losg_data.largest_normal(num),
    )


def _min_max_well(settings: Config) -> Problem:
    """With a = max x², b = min x²: a + 1/b - 2 + 1e-12 >= b + 1/b - 2 + 1e-12 >= 1e-12."""

    def value(x: Float[Array, " d"], batch: Batch) -> Float[Array, ""]:
        square = x**2
        return jnp.max(square) + 1.0 / jnp.min(square) - 2.0 + VALUE_OFFSET

    return _single((settings["dim"],), value, settings, floor=VALUE_OFFSET)


def _sum_of_quadratics(settings: Config) -> Problem:
    """Σ_b (|x - z_b|² - |z_b|²) + 1e-12, z the batch's rows.

    Floor: it is at least -Σ_b |z_b|², and a batch has at most its size times the largest.
    """
    num, dim, batch_size = settings["n_samples"], settings["dim"], settings["bs"]

    def value(x: Float[Array, "1 d"], batch: Batch) -> Float[Array, ""]:
        distance = jnp.sum((x - batch.inputs) ** 2)
        return distance - jnp.sum(batch.inputs**2) + VALUE_OFFSET

    return _single(
        (1, dim),
        value,
        settings,
        draw=losg_data.symmetric_rows(num, dim),
        batch_size=batch_size,
        floor=-batch_size * losg_data.largest_square_norm(num, dim),
    )


def _projection_quadratic(settings: Config) -> Problem:
    """Σ_b |x * z_b|² >= 0, z the batch's rows."""
    num, dim = settings["n_samples"], settings["dim"]

    def value(x: Float[Array, "1 d"], batch: Batch) -> Float[Array, ""]:
        return jnp.sum((x * batch.inputs) ** 2)

    draw = losg_data.symmetric_rows(num, dim)
    return _single((1, dim), value, settings, draw=draw, batch_size=settings["bs"])


def _classifier(
    shapes: Sequence[tuple[int, ...]],
    roles: Sequence[str],
    logits: Callable[[Params, Array], Array],
    settings: Config,
    **fields: Any,
) -> Problem:
    """Cross entropy of the first logit, and a penalty on all tensors; >= 0.

    Every tensor begins as N(0, 1.2² / its first axis), biases too.
    """
    sizes = [math.prod(shape) for shape in shapes]

    def init(key: PRNGKeyArray) -> Params:
        draws = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
        return tuple(
            CLASSIFIER_GAIN / math.sqrt(shape[0]) * draw.reshape(shape)
            for shape, draw in zip(shapes, draws, strict=True)
        )

    def objective(params: Params, batch: Batch) -> Loss:
        error, accuracy = _binary_cross_entropy(
            logits(params, batch.inputs)[:, 0], batch.targets
        )
        squares = sum(jnp.sum(x**2) for x in params)
        return error + PENALTY * squares / len(params), {"accuracy": accuracy}

    return Problem(
        tuple(shapes),
        tuple(roles),
        init,
        objective,
        batch_size=settings["bs"],
        noise_stdev=settings.get("noise_stdev", 0.0),
        **fields,
    )


def _binary_cross_entropy(
    logit: Float[Array, " b"], labels: Int[Array, " b"]
) -> tuple[Array, Array]:
    """(mean of softplus(z) - label z, accuracy); a logit of 0 is right half the time."""
    error = jnp.mean(jax.nn.softplus(logit) - labels * logit)
    right = jnp.where(logit == 0, 0.5, (logit > 0) == (labels > 0))
    return error, jnp.mean(right)


def _fully_connected(settings: Config) -> Problem:
    """An MLP on a set that a random network labels; φ = (w0, b0, w1, b1, ...)."""
    features, num = settings["n_features"], settings["n_samples"]
    activation = ACTIVATIONS[settings["activation"]]
    sizes = [features, *settings["hidden_sizes"], settings["n_classes"]]
    shapes: list[tuple[int, ...]] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        shapes += [(fan_in, fan_out), (fan_out,)]

    def logits(params: Params, inputs: Array) -> Array:
        return layers.mlp(params, inputs, activation)

    roles = ("kernel", "bias") * (len(sizes) - 1)
    draw = losg_data.random_mlp(num, features)
    return _classifier(shapes, roles, logits, settings, draw=draw)


def _sparse_softmax(settings: Config) -> Problem:
    """(Σ of five embeddings) W + c on the noisy parity; φ = (embeddings, W, c).

    Noise: the original adds one vector to each lookup's gradient. The sum of k such vectors
    is sqrt(k) times one, which is how it is drawn here.
    """
    features, classes = settings["n_features"], settings["n_classes"]
    shapes = [(losg_data.NUM_SYMBOLS, features), (features, classes), (classes,)]

    def logits(params: Params, inputs: Array) -> Array:
        embeddings, weight, bias = params
        # Counts times embeddings: the gradient is a product, where a gather's is a scatter.
        return layers.linear(_counts(inputs) @ embeddings, weight, bias)

    def spread(batch: Batch) -> tuple[Any, ...]:
        lookups = jnp.sum(_counts(batch.inputs), axis=0)
        return jnp.sqrt(lookups)[:, None], 1.0, 1.0

    return _classifier(
        shapes,
        ("embedding", "kernel", "bias"),
        logits,
        settings,
        draw=losg_data.noisy_parity(settings["n_samples"]),
        spread=spread,
    )


def _counts(ids: Int[Array, "b t"]) -> Float[Array, "b 2"]:
    """How often an example has the symbols 0 and 1."""
    ones = jnp.sum(ids, axis=1)
    return jnp.stack([ids.shape[1] - ones, ones], axis=1).astype(jnp.float32)


def _sparse(settings: Config, base: Problem) -> Problem:
    """The base, with its own noise replaced and most gradient entries zero."""
    return base._replace(
        noise_stdev=settings["noise_stdev"],
        zero_probability=settings["zero_probability"],
    )


def _rescaled(settings: Config, base: Problem) -> Problem:
    """base(φ / scale), begun at scale times the base's start, without noise."""
    scale = settings["scale"]
    return base._replace(
        init=lambda key: tuple(scale * x for x in base.init(key)),
        objective=lambda params, batch: base.objective(
            tuple(x / scale for x in params), batch
        ),
        noise_stdev=0.0,
    )


def _logged(settings: Config, base: Problem) -> Problem:
    """log(base + 1e-6) - log(1e-6), without noise; not a number below -1e-6, as was.

    Floor: that of the base's; where the base goes below zero, the lowest finite float32.
    """

    def objective(params: Params, batch: Batch) -> Loss:
        value, aux = base.objective(params, batch)
        return jnp.log(value + LOG_OFFSET) - math.log(LOG_OFFSET), aux

    lowest = base.floor + LOG_OFFSET if base.floor >= 0 else SMALLEST_LOG_ARGUMENT
    floor = math.log(lowest) - math.log(LOG_OFFSET)
    return base._replace(objective=objective, floor=floor, noise_stdev=0.0)


KINDS: dict[str, Callable[[Config], Problem]] = {
    "bowl": _bowl,
    "dependency_chain": _dependency_chain,
    "fully_connected": _fully_connected,
    "min_max_well": _min_max_well,
    "norm": _norm,
    "optimization_test_problems": _test_function,
    "outward_snake": _outward_snake,
    "projection_quadratic": _projection_quadratic,
    "quadratic": _quadratic,
    "sparse_softmax_regression": _sparse_softmax,
    "sum_of_quadratics": _sum_of_quadratics,
}
WRAPPERS: dict[str, Callable[[Config, Problem], Problem]] = {
    "log_objective": _logged,
    "rescale_problems": _rescaled,
    "sparse_problems": _sparse,
}
