"""The synthetic problems: objectives by hand, noise and zeros in gradients, what is drawn."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.records import SPLITS, Batch
from opt_gym.tasks import _losg_data, losg_tasks
from opt_gym.tasks._losg_gradient import perturb
from opt_gym.tasks._losg_plane import FUNCTIONS, SAMPLED
from opt_gym.tasks._losg_settings import BASES, KINDS

ROWS = {"dim": 2, "bs": 2, "n_samples": 6}
PARITY = {"n_features": 2, "n_classes": 2, "noise_stdev": 0.0, "bs": 4, "n_samples": 8}
NET = {
    "n_features": 2,
    "n_classes": 2,
    "activation": "tanh",
    "bs": 3,
    "n_samples": 5,
    "hidden_sizes": [1],
}
SETTINGS = {
    "bowl": {"cond": 4.0, "angle": math.pi / 2, "noise_stdev": 0.0},
    "dependency_chain": ROWS,
    "fully_connected": NET,
    "min_max_well": {"dim": 3, "noise_stdev": 0.0},
    "norm": {"dim": 2, "norm_power": 0.5},
    "optimization_test_problems": {"problem": "rosenbrock", "noise_stdev": 0.0},
    "outward_snake": ROWS,
    "projection_quadratic": ROWS,
    "quadratic": {"dim": 2, "noise_stdev": 0.0},
    "sparse_softmax_regression": PARITY,
    "sum_of_quadratics": ROWS,
    "log_objective": {"base": ["quadratic", {"dim": 2, "noise_stdev": 3.0}]},
    "rescale_problems": {
        "base": ["quadratic", {"dim": 2, "noise_stdev": 3.0}],
        "scale": 2.0,
    },
    "sparse_problems": {
        "base": ["quadratic", {"dim": 2, "noise_stdev": 3.0}],
        "zero_probability": 0.9,
        "noise_stdev": 0.5,
    },
}
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Everything here runs once."""

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


def config(kind, seed: int | None = 3, **changes):
    settings = {**SETTINGS[kind], **changes}
    return {"kind": kind, "settings": settings, "problem_seed": seed}


def build(kind, seed: int | None = 3, **changes):
    return losg_tasks.build(config(kind, seed, **changes))


def start(task):
    """(φ, ψ, a batch) of one key, as numpy arrays."""
    return jax.tree.map(lambda array: array[0], starts(task, 1))


def starts(task, num):
    """(φ, ψ, a batch), each with a leading axis of so many keys."""
    data = task.load_data("embedded")

    def both(key, data):
        params, instance = task.init(key, data)
        k_batch = jax.random.fold_in(key, 1)
        return params, instance, task.sample_batch(k_batch, data, instance, "train")

    keys = jax.random.split(jax.random.key(0), num)
    found = jit(jax.vmap(both, in_axes=(0, None)))(keys, data)
    return jax.tree.map(np.asarray, found)


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


PARITY_KIND = "sparse_softmax_regression"


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


def test_a_system_follows_the_problem_seed_as_numpy_draws_it():
    task, same = build("quadratic"), build("quadratic")
    data = task.load_data("embedded")
    rng = np.random.RandomState(3)
    expected = rng.randn(2, 2).astype(np.float32), rng.randn(2, 1).astype(np.float32)
    for split in SPLITS:
        np.testing.assert_array_equal(data[split].inputs, expected[0])
        np.testing.assert_array_equal(data[split].targets, expected[1])
        assert data[split].inputs is same.load_data("auto")["train"].inputs
    with pytest.raises(ValueError, match="read-only"):
        data["train"].inputs[0, 0] = 1.0
    other = build("quadratic", seed=4).load_data("embedded")
    assert not np.allclose(other["train"].inputs, expected[0])
    (points,), instance, batch = starts(task, 2)
    assert jax.tree.leaves(instance) == []
    np.testing.assert_array_equal(batch.inputs, [expected[0]] * 2)
    assert not np.allclose(points[0], points[1])


@pytest.mark.parametrize("kind", ["quadratic", "sum_of_quadratics", PARITY_KIND])
def test_without_a_problem_seed_everything_follows_the_reset_key(kind):
    task = build(kind, seed=None)
    assert sum(array.size for array in task.load_data("embedded").values()) == 0
    _, drawn, batch = starts(task, 2)
    first, second = drawn.inputs
    assert not np.array_equal(first, second)
    seeded = build(kind).load_data("embedded")["train"]
    for ours, numpys in zip(
        jax.tree.leaves(drawn), jax.tree.leaves(seeded), strict=True
    ):
        assert (ours.shape[1:], ours.dtype) == (numpys.shape, numpys.dtype)
    for row in batch.inputs[0]:
        assert np.any(np.all(first == row, axis=1))


def test_batches_are_rows_with_their_labels():
    task = build("fully_connected", bs=64)
    data = task.load_data("embedded")
    _, _, batch = start(task)
    assert (task.batch_size, batch.inputs.shape) == (64, (64, 2))
    inputs, targets = data["train"]
    rows = [int(np.argmin(np.abs(inputs - row).sum(1))) for row in batch.inputs]
    np.testing.assert_array_equal(inputs[rows], batch.inputs)
    np.testing.assert_array_equal(targets[rows], batch.targets)
    assert set(rows) == set(range(5))


def drawn(source, draw):
    if source == "numpy":
        return draw(_losg_data.from_state(np.random.RandomState(0)))
    arrays = jit(lambda key: draw(_losg_data.from_key(key)))(jax.random.key(0))
    return jax.tree.map(np.asarray, arrays)


@pytest.mark.parametrize("source", ["numpy", "jax"])
def test_data_sets_are_what_they_say(source):
    rows, labels = drawn(source, _losg_data.symmetric_rows(7, 3))
    assert (rows.shape, rows.dtype, labels) == ((6, 3), np.float32, None)
    np.testing.assert_array_equal(rows[:3], -rows[3:])
    ids, labels = drawn(source, _losg_data.noisy_parity(4000))
    assert set(np.unique(ids)) == {0, 1}
    # 4,000 draws give a share of 1/4 within 0.007.
    assert np.mean(ids.sum(1) % 2 != labels) == pytest.approx(0.25, abs=0.03)
    inputs, labels = drawn(source, _losg_data.random_mlp(200, 4))
    assert (inputs.dtype, labels.dtype) == (np.float32, np.int32)
    assert set(np.unique(labels)) == {0, 1}


def test_labels_come_from_a_network_of_six_layers():
    rng = np.random.RandomState(0)
    inputs = hidden = rng.standard_normal((50, 4)).astype(np.float32)
    for layer in range(6):
        weight = rng.standard_normal((20 if layer else 4, 20)).astype(np.float32)
        hidden = np.maximum(hidden @ (np.float32(math.sqrt(0.5)) * weight), 0)
    ours = drawn("numpy", _losg_data.random_mlp(50, 4))
    np.testing.assert_array_equal(ours.inputs, inputs)
    np.testing.assert_array_equal(ours.targets, hidden[:, 0] > 0)


def test_a_rescaled_problem_begins_as_much_farther_out():
    base, scaled = build("quadratic"), build("rescale_problems", scale=50.0)
    np.testing.assert_allclose(start(scaled)[0][0], 50 * start(base)[0][0], rtol=1e-6)


def test_classifiers_begin_with_the_spread_of_their_first_axis():
    task = build("fully_connected", hidden_sizes=[400, 100])
    params, _ = jit(task.init)(jax.random.key(0), {})
    for x in params[1:4]:
        assert float(x.std()) == pytest.approx(1.2 / math.sqrt(x.shape[0]), rel=0.2)


def test_a_start_point_can_be_stated():
    for kind in ("bowl", "optimization_test_problems"):
        task = build(kind, initial=[1.5, -2.0])
        (points,), _, _ = starts(task, 2)
        np.testing.assert_array_equal(points.reshape(2, 2), [[1.5, -2.0]] * 2)


FLOOR_KINDS = [k for k in KINDS if k not in ("outward_snake", "sparse_problems")]


@pytest.mark.parametrize("kind", FLOOR_KINDS)
def test_no_loss_is_below_its_floor(kind):
    task = build(kind)
    params, instance, batch = start(task)
    scales = np.geomspace(1e-3, 1e3, 25)
    loss_fn = partial(task.loss, jax.random.key(0))

    def at(scale):
        scaled = jax.tree.map(lambda x: scale * x, params)
        return loss_fn(scaled, instance, batch)[0]

    lowest = float(jnp.min(jit(jax.vmap(at))(jnp.asarray(scales, jnp.float32))))
    assert lowest >= task.loss_floor - 1e-6


def test_floors_of_data_are_bounds_and_not_far():
    rng = np.random.RandomState(1)
    rows = rng.standard_normal((5000, 30))
    largest = np.max(np.sum(rows**2, axis=1))
    assert largest < _losg_data.largest_square_norm(5000, 30) < 3 * largest
    assert rows.max() < _losg_data.largest_normal(rows.size) < 2 * rows.max()
    task = build("sum_of_quadratics", dim=30, n_samples=5000, bs=3)
    inputs = task.load_data("embedded")["train"].inputs
    longest = inputs[np.argmax(np.sum(inputs**2, axis=1))]
    batch = Batch(np.stack([longest] * 3), None)
    lowest, _ = task.loss(jax.random.key(0), (jnp.asarray(longest)[None],), (), batch)
    assert task.loss_floor <= float(lowest) < task.loss_floor / 3


def test_floors_follow_the_wrappers():
    logged = build("log_objective")
    assert logged.loss_floor == pytest.approx(0.0, abs=1e-12)
    base = ["norm", {"dim": 9, "norm_power": 0.5}]
    # 1e-6 * 9^2, plus 1e-6, over 1e-6.
    assert build("log_objective", base=base).loss_floor == pytest.approx(math.log(82))
    below = build("log_objective", base=["sum_of_quadratics", ROWS])
    assert below.loss_floor == pytest.approx(math.log(2**-43 / 1e-6))
    plain = build("sum_of_quadratics")
    scaled = build("rescale_problems", base=["sum_of_quadratics", ROWS])
    assert scaled.loss_floor == plain.loss_floor < 0


def test_settings_are_published_ones_of_all_kinds():
    configs = [losg_tasks.sample_config(seed) for seed in range(300)]
    assert {config["kind"] for config in configs} == set(KINDS)
    for config in configs:
        kind, settings, seed = losg_tasks.published(config)
        assert (kind, settings) == (config["kind"], config["settings"])
        assert 0 <= seed < 100000
        built = losg_tasks.build(config)
        assert built.config == {"family": "losg_tasks", **config}
    shares = [c["settings"]["base"][0] for c in configs if "base" in c["settings"]]
    assert set(shares) == set(BASES)
    angles = {c["settings"]["angle"] for c in configs if c["kind"] == "bowl"}
    assert angles == {0.0, math.pi / 4, math.pi / 3}


BAD = [
    ("bowl", {"cond": 0}, "bowl: cond must be a number > 0, got 0"),
    ("bowl", {"angle": "x"}, "angle must be a number, got 'x'"),
    ("bowl", {"initial": [1.0]}, r"initial must be two numbers, got \[1.0\]"),
    ("bowl", {"conds": 1}, "unknown key: 'conds'; did you mean 'cond'"),
    ("quadratic", {"dim": 0}, "dim must be an integer >= 1, got 0"),
    ("quadratic", {"initial": [0, 0]}, "unknown key: 'initial'"),
    ("quadratic", {"noise_stdev": -1.0}, "noise_stdev must be a number >= 0, got -1.0"),
    ("norm", {"norm_power": 0.0}, "norm_power must be a number > 0, got 0.0"),
    ("optimization_test_problems", {"problem": "akley"}, "did you mean 'ackley'"),
    ("sum_of_quadratics", {"n_samples": 1}, "n_samples must be an integer >= 2, got 1"),
    ("outward_snake", {"bs": 2.5}, "bs must be an integer >= 1, got 2.5"),
    ("fully_connected", {"activation": "relo"}, "did you mean 'relu'"),
    ("fully_connected", {"n_classes": 3}, "n_classes must be 2, got 3"),
    ("fully_connected", {"hidden_sizes": [0]}, r"hidden_sizes must be .*got \[0\]"),
    (
        "sparse_problems",
        {"zero_probability": 1.0},
        "zero_probability must be .*got 1.0",
    ),
    ("rescale_problems", {"scale": -2}, "scale must be a number > 0, got -2"),
    ("rescale_problems", {"base": "bowl"}, "base must be .*got 'bowl'"),
    ("log_objective", {"base": ["log_objective", {}]}, "kind of base: 'log_objective'"),
    (
        "log_objective",
        {"base": ["norm", {"dim": 2}]},
        "base norm: missing 'norm_power'",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "message"), BAD)
def test_bad_settings_are_refused_by_name(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        build(kind, **changes)


def test_bad_configs_are_refused_by_name():
    good = config("bowl")
    for change, message in (
        ({"kind": "bowel"}, "unknown kind: 'bowel'; did you mean 'bowl'"),
        ({"problem_seed": -1}, "problem_seed must be .*got -1"),
        ({"problem_seed": 1.5}, "problem_seed must be .*got 1.5"),
        ({"settings": []}, r"bowl: expected a dict, got \[\]"),
        ({"seed": 1}, "unknown key: 'seed'"),
    ):
        with pytest.raises(ValueError, match=message):
            losg_tasks.build({**good, **change})
    with pytest.raises(ValueError, match="missing 'kind'"):
        losg_tasks.build({"settings": {}, "problem_seed": 0})
