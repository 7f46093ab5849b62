"""The figures of the talk, in small: their numbers say what the pictures show."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import opt_gym
from agents.trainers.inverse_variance import merged
from examples import (
    figure_gradient_variance,
    figure_implicit_regularisation,
    figure_loss_surface,
    figure_truncation_bias,
    train_with_learned,
)

TASK = "quadratic_family_seed0"  # compiles fast
RESULTS = Path(__file__).resolve().parent.parent / "results"


def written(out, name):
    """The rows of the table, where the picture is a PNG."""
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (out / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_truncation_misleads_backprop_and_not_pes(tmp_path):
    chosen = (0, 2)  # truncated backprop, PES
    every = figure_truncation_bias.methods
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            figure_truncation_bias,
            "methods",
            lambda *args: [every(*args)[i] for i in chosen],
        )
        found = figure_truncation_bias.main(tmp_path, outer_steps=120, starts=(0.5,))
    truncated, pes = (run.settled for run in found)
    assert abs(pes - 0.7) < 0.1
    assert truncated < 0.4
    at = figure_truncation_bias.outer_losses(np.array([truncated, pes]))
    assert at[1] < at[0] - 0.02
    rows = written(tmp_path, "truncation_bias")
    assert len(rows) == 2 * 121
    assert float(rows[0]["theta"]) == 0.5


def test_the_outer_loss_that_is_drawn_is_that_of_the_task():
    import learned

    optimizer = learned.make("sgd", learning_rate=0.3)
    env = opt_gym.make(
        figure_truncation_bias.noisy_quadratic(),
        learned_optimizer=optimizer,
        normalizer=figure_truncation_bias.NORMALIZER,
    )
    theta, horizon = optimizer.init_theta(jax.random.key(0)), 100

    @jax.jit
    def mean_loss(seed):
        state = opt_gym.start(jax.random.key(seed), env, optimizer, theta, {}, horizon)
        return jnp.mean(
            opt_gym.unroll(env, optimizer, theta, {}, state, horizon)[1].loss
        )

    measured = np.asarray(jax.vmap(mean_loss)(jnp.arange(400)))
    exact = figure_truncation_bias.outer_losses(np.array([0.3]))[0]
    assert abs(measured.mean() - exact) < 4 * measured.std() / 20


@pytest.mark.slow
def test_variances_cross_where_steps_are_large(tmp_path):
    rows = figure_gradient_variance.main(
        tmp_path,
        task=TASK,
        lengths=(2, 24),
        train_length=24,
        outer_steps=1,
        num_points=2,
        num=6,
        step_multiplier=0.3,
    )
    short, long = (
        next(row for row in rows if row.length == n and row.outer_step == 0)
        for n in (2, 24)
    )
    assert short.reparameterisation < short.evolution
    assert long.evolution < long.reparameterisation
    for row in rows:
        both = (row.evolution, row.reparameterisation)
        assert row.merged <= 1.001 * min(both) + 1e-8
    assert len(written(tmp_path, "gradient_variance")) == len(rows) == 4


def test_merged_gradients_survive_slopes_whose_variance_overflows():
    evolution = jnp.array([[1.0, 2.0], [2.0, 2.5]])
    slopes = jnp.array([[1e30, 2.0], [-1e30, 2.0]])
    found = merged(evolution, slopes)
    np.testing.assert_allclose(found.mean, [1.5, 2.0], rtol=1e-3)
    assert np.all(np.isfinite(found.variance))


@pytest.mark.slow
def test_long_unrolls_have_the_rougher_surface(tmp_path):
    surfaces = figure_loss_surface.main(
        tmp_path, task=TASK, lengths=(3, 40), points=7, outer_steps=0
    )
    assert [one.length for one in surfaces] == list(range(1, 41))
    assert surfaces[39].roughness > surfaces[2].roughness
    assert (tmp_path / "loss_surface.png").read_bytes().startswith(b"\x89PNG")
    stored = np.load(tmp_path / "loss_surface.npz")
    np.testing.assert_array_equal(stored["long"], surfaces[39].losses)


def test_roughness_and_minima_of_known_surfaces():
    x = np.arange(9.0)
    plane = figure_loss_surface.Surface(1, x[:, None] + 2 * x)
    bowl = figure_loss_surface.Surface(1, (x[:, None] - 4) ** 2 + (x - 4) ** 2)
    noise = np.random.default_rng(0).normal(size=(200, 200))
    assert (plane.roughness, plane.num_minima) == (0.0, 0)
    assert bowl.num_minima == 1
    np.testing.assert_allclose(bowl.roughness, 2 / bowl.losses.std())
    rough = figure_loss_surface.Surface(1, noise)
    np.testing.assert_allclose(rough.roughness, 1.954, rtol=0.02)


def test_adam_keeps_x_plus_y_and_mlp_small_goes_to_the_origin(tmp_path):
    adam, mlp = figure_implicit_regularisation.main(
        tmp_path, optimizers=("Adam", "mlp_small"), steps=1000
    )
    np.testing.assert_allclose(adam.sums[:, -1], adam.sums[:, 0], atol=1e-5)
    for one in (adam, mlp):  # both find a minimum
        assert np.all(np.abs(one.points[:, -1, 0] - one.points[:, -1, 1]) < 0.02)
    assert np.all(np.abs(mlp.sums[:, -1]) < 0.1)
    assert np.abs(mlp.sums[:, 0]).mean() > 1
    rows = written(tmp_path, "implicit_regularisation")
    assert len(rows) == 2 * 8 * 101


@pytest.mark.slow
def test_a_learned_outer_optimizer_trains_where_a_small_rate_does_not(tmp_path):
    curves = train_with_learned.main(
        tmp_path, outer_steps=8, tasks=(TASK,), num_pairs=2, trunc_length=10, average=2
    )
    assert [one.title for one in curves] == [
        "learned (nominal_small)",
        "Adam, 3e-05",
        "Adam, 0.001",
    ]
    learned, slow, _ = (one.losses for one in curves)
    assert learned[0] == slow[0]  # the same θ, tasks and perturbations
    assert learned[-2:].mean() < slow[-2:].mean()
    assert len(written(tmp_path, "train_with_learned")) == 24


def test_every_figure_is_told_of_and_small():
    page = (RESULTS / "figures.md").read_text(encoding="utf-8")
    pictures = sorted((RESULTS / "figures").glob("*.png"))
    assert len(pictures) == 5
    for picture in pictures:
        assert f"figures/{picture.name}" in page
        assert picture.stat().st_size < 120_000
