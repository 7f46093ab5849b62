"""The synthetic problems: objectives by hand, noise and zeros in gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.records import Batch
from opt_gym.tasks import losg_tasks
from opt_gym.tasks.losg.losg_gradient import perturb
from opt_gym.tasks.losg.losg_plane import FUNCTIONS, SAMPLED
from opt_gym.tasks.losg.losg_settings import BASES, KINDS
from tests.tasks.losg import PARITY_KIND, SETTINGS, build, config, jit

SYSTEM = Batch(np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[1.0], [1.0]]))
COLUMN = (np.array([[1.0], [-1.0]]),)
"""W x - y = (-2, -4) there."""

IDS = np.array([[0, 1, 1, 0, 0]])
EMBEDDED = (
    np.array([[1.0, 0.0], [0.0, 2.0]]),
    np.array([[0.1, 5.0], [-0.2, 5.0]]),
    np.array([0.25, 1.0]),
)
LAYERS = (
    np.array([[1.0], [2.0]]),
    np.array([0.5]),
    np.array([[2.0, 7.0]]),
    np.array([-1.0, 0.0]),
)
NO_BATCH = Batch(None, None)


def softplus(x):
    return math.log1p(math.exp(x))


HAND = [
    ("quadratic", {}, COLUMN, SYSTEM, 10.0),
    ("norm", {}, COLUMN, SYSTEM, (math.sqrt(2) + 2) ** 2),
    ("norm", {"norm_power": 2}, COLUMN, SYSTEM, math.sqrt(20)),
    # The rotation by a right angle makes (-2, 1) of (1, 2), the condition (-4, 1).
    ("bowl", {}, (np.array([[1.0], [2.0]]),), NO_BATCH, 8.5),
    (
        "dependency_chain",
        {},
        (np.array([1.0, 2.0, 3.0]),),
        NO_BATCH,
        (1 + 4 / 1) + (1 + 9 / 4),
    ),
    (
        "outward_snake",
        {},
        (np.array([3.0, 4.0]),),
        Batch(np.array([[2.0, 1.0], [-1.0, 2.0]]), None),
        1 / 5 + (4 - math.pi * math.cos(3)) ** 2 * (1 + 4),
    ),
    ("min_max_well", {}, (np.array([2.0, -0.5, 1.0]),), NO_BATCH, 4 + 4 - 2),
    (
        "sum_of_quadratics",
        {},
        (np.array([[1.0, 2.0]]),),
        Batch(np.array([[1.0, 0.0], [0.0, 3.0]]), None),
        (4 + 1 + 1) - (1 + 9),
    ),
    (
        "projection_quadratic",
        {},
        (np.array([[1.0, 2.0]]),),
        Batch(np.array([[1.0, 0.0], [0.0, 3.0]]), None),
        1 + 36,
    ),
    # 3 (1, 0) + 2 (0, 2) = (3, 4); times W, plus c: -0.25. The label is 1.
    (
        "sparse_softmax_regression",
        {},
        EMBEDDED,
        Batch(IDS, np.array([1])),
        softplus(0.25) + 1e-3 * (5 + 50.05 + 1.0625) / 3,
    ),
    (
        "fully_connected",
        {},
        LAYERS,
        Batch(np.array([[0.5, -0.5], [0.0, 0.0]]), np.array([0, 1])),
        0.5 * (softplus(-1) + softplus(1 - 2 * math.tanh(0.5)))
        + 1e-3 * (5 + 0.25 + 53 + 1) / 4,
    ),
    ("optimization_test_problems", {}, (np.array([2.0, 3.0]),), NO_BATCH, 101.0),
    (
        "optimization_test_problems",
        {"problem": "half_squared_difference"},
        (np.array([2.0, 5.0]),),
        NO_BATCH,
        4.5,
    ),
    ("log_objective", {}, COLUMN, SYSTEM, math.log(10 + 1e-6) - math.log(1e-6)),
    ("rescale_problems", {}, (2 * COLUMN[0],), SYSTEM, 10.0),
    ("sparse_problems", {}, COLUMN, SYSTEM, 10.0),
]


def as_float32(tree):
    return jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32 if a.dtype.kind == "f" else jnp.int32),
        tree,
    )


@pytest.mark.parametrize(("kind", "changes", "params", "batch", "expected"), HAND)
def test_objectives_by_hand(kind, changes, params, batch, expected):
    task = build(kind, **changes)
    params, batch = as_float32((params, batch))
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0), {})
    assert [x.shape for x in params] == [x.shape for x in shapes]
    assert len(task.roles) == len(params)
    loss, aux = jit(task.loss)(jax.random.key(0), params, (), batch)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert loss.shape == ()
    assert ("accuracy" in aux) == (kind in ("fully_connected", PARITY_KIND))


def test_every_kind_is_checked_by_hand():
    assert {kind for kind, *_ in HAND} == set(KINDS) == set(SETTINGS)
    assert set(BASES) < set(KINDS)


def test_accuracy_is_that_of_the_first_logit():
    task = build("sparse_softmax_regression")
    params = as_float32(EMBEDDED)
    for label, expected in ((1, 0.0), (0, 1.0)):
        batch = as_float32(Batch(IDS, np.array([label])))
        aux = task.loss(jax.random.key(0), params, (), batch)[1]
        assert float(aux["accuracy"]) == expected
    zero = jax.tree.map(jnp.zeros_like, params)
    assert float(task.loss(jax.random.key(0), zero, (), batch)[1]["accuracy"]) == 0.5


OPTIMA = {
    "StyblinskiTang": (-2.903534, -2.903534),
    "ackley": (0.0, 0.0),
    "beale": (3.0, 0.5),
    "branin": (math.pi, 2.275),
    "half_squared_difference": (1.5, 1.5),
    "logsumexp": (-math.log(2) / 2, 0.0),
    "matyas": (0.0, 0.0),
    "rosenbrock": (1.0, 1.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_the_plane_reach_their_floor_and_stay_above_it(name):
    function = FUNCTIONS[name]
    with jax.enable_x64(True):
        line = jnp.linspace(-12.0, 12.0, 241)
        values = jit(function.value)(line[:, None], line[None, :])
        assert float(values.min()) >= function.floor - 1e-9
        if name in OPTIMA:
            point = map(jnp.float64, OPTIMA[name])
            lowest = float(function.value(*point))
            assert lowest == pytest.approx(function.floor, abs=2e-5)
        else:
            # sin^10 where the textbook has sin^20: found by a fine grid in numpy.
            lowest = float(function.value(jnp.float64(2.18498), jnp.float64(1.570796)))
            assert lowest == pytest.approx(0.193378, abs=1e-5)


def test_plane_functions_start_where_the_original_does():
    assert set(SAMPLED) == set(FUNCTIONS) - {"half_squared_difference"}
    keys = jax.random.split(jax.random.key(0), 400)
    bounds = {"branin": ([-5, 0], [10, 15]), "ackley": (-32.768, 32.768)}
    bounds |= {
        "rosenbrock": (-5, 10),
        "michalewicz": (0, math.pi),
        "beale": (-4.5, 4.5),
    }
    for name, (low, high) in bounds.items():
        points = np.asarray(jit(jax.vmap(FUNCTIONS[name].start))(keys))
        reach = (points.max(0) - points.min(0)) / (np.array(high) - np.array(low))
        assert np.all(points >= np.array(low))
        assert np.all(points <= np.array(high))
        assert np.all(reach > 0.97)
    normal = jax.vmap(FUNCTIONS["logsumexp"].start)(keys)
    assert float(jnp.std(normal)) == pytest.approx(1, abs=0.1)


PLAIN = [kind for kind in KINDS if kind != "sparse_problems"]


@pytest.mark.parametrize("kind", PLAIN)
def test_gradients_equal_finite_differences(kind):
    problem = losg_tasks.design(config(kind))
    _, _, params, batch, _ = next(row for row in HAND if row[0] == kind)
    rng = np.random.RandomState(0)
    params = [x + 0.05 * rng.randn(*x.shape) for x in params]
    way = [rng.randn(*x.shape) for x in params]
    with jax.enable_x64(True):
        both = jit(
            jax.value_and_grad(
                lambda params: problem.objective(tuple(params), batch)[0]
            )
        )
        _, grad = both(params)
        slope = sum(float(np.sum(g * w)) for g, w in zip(grad, way, strict=True))
        values = [
            float(both([x + s * w for x, w in zip(params, way, strict=True)])[0])
            for s in (1e-5, -1e-5)
        ]
    # Central differences err by step^2 times a third derivative.
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def gradients(task, params, batch, num=2000):
    keys = jax.random.split(jax.random.key(1), num)

    def one(key):
        return jax.value_and_grad(
            lambda p: task.loss(key, p, (), batch)[0],
        )(params)

    return jit(jax.vmap(one))(keys)


def test_noise_is_in_the_gradient_and_not_in_the_value():
    stdev = 0.7
    params, batch = as_float32((COLUMN, SYSTEM))
    losses, (grads,) = gradients(build("quadratic", noise_stdev=stdev), params, batch)
    np.testing.assert_array_equal(losses, 10.0)
    # W' (W x - y) = (-2, -16); 2,000 draws give the mean within stdev / sqrt(2000).
    noise = np.asarray(grads)[..., 0] - [-2.0, -16.0]
    assert np.all(np.abs(noise.mean(0)) < 5 * stdev / math.sqrt(2000))
    np.testing.assert_allclose(noise.std(0), stdev, rtol=0.08)
    assert abs(np.mean(noise[:, 0] * noise[:, 1])) < 0.1 * stdev**2


@pytest.mark.parametrize("kind", ["log_objective", "rescale_problems"])
def test_rescaled_and_log_problems_lose_their_bases_noise(kind):
    params, batch = as_float32((COLUMN, SYSTEM))
    _, (grads,) = gradients(build(kind), params, batch, num=3)
    np.testing.assert_array_equal(grads, np.stack([grads[0]] * 3))


def test_an_embeddings_noise_grows_with_its_lookups():
    task = build("sparse_softmax_regression", noise_stdev=0.5)
    params = as_float32(EMBEDDED)
    batch = as_float32(Batch(np.array([[0, 1, 1, 1, 1]] * 2), np.array([1, 0])))
    _, noisy = gradients(task, params, batch)
    spreads = [np.asarray(g).std(0) for g in noisy]
    # Two lookups of the first symbol, eight of the second.
    expected = 0.5 * np.sqrt([[2.0, 2.0], [8.0, 8.0]])
    np.testing.assert_allclose(spreads[0], expected, rtol=0.1)
    np.testing.assert_allclose(spreads[1], 0.5, rtol=0.1)
    np.testing.assert_allclose(spreads[2], 0.5, rtol=0.1)


def test_sparse_problems_zero_entries_and_use_their_own_noise():
    params, batch = as_float32((COLUMN, SYSTEM))
    task = build("sparse_problems", zero_probability=0.75)
    losses, (grads,) = gradients(task, params, batch, num=4000)
    np.testing.assert_array_equal(losses, 10.0)
    grads = np.asarray(grads)[..., 0]
    zero = grads == 0
    assert np.all(np.abs(zero.mean(0) - 0.75) < 0.035)
    # Entry by entry: both zero as often as independence says.
    assert abs(np.mean(zero.all(1)) - 0.75**2) < 0.04
    kept = grads[:, 1][~zero[:, 1]]
    assert kept.mean() == pytest.approx(-16, abs=0.1)
    assert kept.std() == pytest.approx(0.5, rel=0.1)


def test_second_derivatives_are_the_masked_objectives():
    matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    x = jnp.array([1.0, -2.0])

    def objective(params, batch):
        return 0.5 * params[0] @ matrix @ params[0], {}

    loss_fn = perturb(objective, 0.3, 0.5)

    def derivatives(key):
        def value(x):
            return loss_fn(key, (x,), NO_BATCH)[0]

        grad = jax.grad(value)
        # A value that came beside a gradient varies as the objective does.
        beside = jax.grad(lambda x: jax.value_and_grad(value)(x)[0])
        return grad(x), jax.jacrev(grad)(x), jax.jacfwd(grad)(x), beside(x)

    keys = jax.random.split(jax.random.key(0), 16)
    grads, backward, forward, beside = jit(jax.vmap(derivatives))(keys)
    keeps = np.asarray(grads) != 0
    assert len(np.unique(keeps, axis=0)) > 2
    for keep, first, second in zip(keeps, backward, forward, strict=True):
        np.testing.assert_allclose(first, keep[:, None] * matrix, rtol=1e-6)
        np.testing.assert_allclose(second, keep[:, None] * matrix, rtol=1e-6)
    np.testing.assert_allclose(beside, [np.asarray(matrix @ x)] * 16, rtol=1e-6)
