"""The synthetic problems: the data and starts that are drawn, floors of losses, settings."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.records import SPLITS, Batch
from opt_gym.tasks import losg_tasks
from opt_gym.tasks.losg import losg_data
from opt_gym.tasks.losg.losg_settings import BASES, KINDS
from tests.tasks.losg import (
    PARITY_KIND,
    ROWS,
    build,
    config,
    jit,
    start,
    starts,
)


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
        return draw(losg_data.from_state(np.random.RandomState(0)))
    arrays = jit(lambda key: draw(losg_data.from_key(key)))(jax.random.key(0))
    return jax.tree.map(np.asarray, arrays)


@pytest.mark.parametrize("source", ["numpy", "jax"])
def test_data_sets_are_what_they_say(source):
    rows, labels = drawn(source, losg_data.symmetric_rows(7, 3))
    assert (rows.shape, rows.dtype, labels) == ((6, 3), np.float32, None)
    np.testing.assert_array_equal(rows[:3], -rows[3:])
    ids, labels = drawn(source, losg_data.noisy_parity(4000))
    assert set(np.unique(ids)) == {0, 1}
    # 4,000 draws give a share of 1/4 within 0.007.
    assert np.mean(ids.sum(1) % 2 != labels) == pytest.approx(0.25, abs=0.03)
    inputs, labels = drawn(source, losg_data.random_mlp(200, 4))
    assert (inputs.dtype, labels.dtype) == (np.float32, np.int32)
    assert set(np.unique(labels)) == {0, 1}


def test_labels_come_from_a_network_of_six_layers():
    rng = np.random.RandomState(0)
    inputs = hidden = rng.standard_normal((50, 4)).astype(np.float32)
    for layer in range(6):
        weight = rng.standard_normal((20 if layer else 4, 20)).astype(np.float32)
        hidden = np.maximum(hidden @ (np.float32(math.sqrt(0.5)) * weight), 0)
    ours = drawn("numpy", losg_data.random_mlp(50, 4))
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
    assert largest < losg_data.largest_square_norm(5000, 30) < 3 * largest
    assert rows.max() < losg_data.largest_normal(rows.size) < 2 * rows.max()
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
    for sampled in configs:
        kind, settings, seed = losg_tasks.published(sampled)
        assert (kind, settings) == (sampled["kind"], sampled["settings"])
        assert 0 <= seed < 100000
        built = losg_tasks.build(sampled)
        assert built.config == {"family": "losg_tasks", **sampled}
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
