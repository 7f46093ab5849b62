"""What every outer-trainer must do: resume bit for bit, drop what is not finite, report."""

import inspect
import json
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import agents
import learned
from agents.records import OuterTrainer, Report, TrainResult
from opt_gym.plugins import Spec, with_defaults
from opt_gym.records import LearnedOptimizer
from opt_gym.testing.expectations import (
    expect,
    expect_arrays,
    expect_bits,
    expect_equal,
    expect_finite,
    expect_shapes,
    expect_spec,
    naming,
    run_checks,
)
from opt_gym.testing.made_up_tasks import bowl, bowl_env, scaled

SMALL: dict[str, Any] = {
    "batch_size": 4,
    "buffer_size": 64,
    "critic_hidden": 4,
    "horizon": 4,
    "num_envs": 2,
    "num_epochs": 1,
    "num_minibatches": 2,
    "num_pairs": 2,
    "num_problems": 2,
    "num_steps": 2,
    "num_trials": 8,
    "num_updates": 2,
    "population": 4,
    "trunc_length": 2,
}
"""Settings by which a run is short, where a trainer has them."""

OUTER_STEPS, BROKEN_OFF_AT = 4, 2


class TrainerCase(NamedTuple):
    """An outer-trainer that ran on a bowl of two weights.

    unbroken, resumed: runs of the same seed, the second begun by one trainer and ended by
    another; lost: (state before, state, report) of a step whose losses are all NaN.
    """

    spec: Spec
    trainer: OuterTrainer
    theta: Any
    unbroken: TrainResult
    resumed: TrainResult
    lost: tuple[Any, Any, Report]


def check_trainer(
    spec: Spec,
    settings: Mapping[str, Any] | None = None,
    learned_optimizer: LearnedOptimizer | None = None,
) -> None:
    """Checks an outer-trainer.

    Args:
        spec: its SPEC.
        settings: beside those of `SMALL` that it has.
        learned_optimizer: whose θ it trains; by default SGD, its learning rate is θ.

    Raises:
        AssertionError: what is wrong, and with what value.
    """
    expect_spec(spec, "trainer")
    with naming(spec, "building and running it"):
        case = prepare(spec, settings, learned_optimizer)
    run_checks(spec, case, CHECKS)


def prepare(
    spec: Spec,
    settings: Mapping[str, Any] | None = None,
    learned_optimizer: LearnedOptimizer | None = None,
) -> TrainerCase:
    """An outer-trainer that ran; arguments as those of `check_trainer`."""
    optimizer = learned_optimizer or learned.make("sgd", learning_rate=0.1)
    small = {key: value for key, value in SMALL.items() if key in spec.settings}
    whole = with_defaults(spec, {**small, **(settings or {})})

    def make() -> OuterTrainer:
        task = bowl((jnp.array([1.0, -0.5]),), ("kernel",), noise=0.1)
        given: dict[str, Any] = {"learned_optimizer": optimizer}
        if "outer_optimizer" in inspect.signature(spec.make).parameters:
            given["outer_optimizer"] = optax.adam(1e-2)
        mix = agents.task_mix([bowl_env(task, optimizer)])
        return spec.make(mix=mix, **given, **whole)

    trainer, data = make(), [scaled(1.0)]
    unbroken = agents.train(trainer, data, outer_steps=OUTER_STEPS)
    with tempfile.TemporaryDirectory() as out:
        agents.train(trainer, data, outer_steps=BROKEN_OFF_AT, out=out)
        resumed = agents.train(
            make(), data, outer_steps=OUTER_STEPS, out=out, resume=True
        )
    theta = jax.jit(optimizer.init_theta)(jax.random.key(0))
    nothing = (jax.device_put(scaled(np.nan)),)
    before = trainer.init(jax.random.key(1), nothing, theta)
    # A step may donate the arrays of its state.
    kept = jax.tree.map(lambda leaf: leaf.copy(), trainer.theta(before))
    after, report = trainer.step(jax.random.key(2), nothing, before)
    lost = (kept, trainer.theta(after), report)
    return TrainerCase(spec, trainer, theta, unbroken, resumed, lost)


def the_record_says_what_it_is(case: TrainerCase) -> None:
    """Its name, its tasks, and a config in JSON that identifies the run."""
    expect(isinstance(case.trainer, OuterTrainer), f"make gave {type(case.trainer)}")
    expect_equal("the trainer's name", case.trainer.name, case.spec.name)
    expect_equal("the number of envs", len(case.trainer.envs), 1)
    expect(case.trainer.config, "the trainer's config is empty")
    json.dumps(case.trainer.config, default=str)


def theta_keeps_its_shapes(case: TrainerCase) -> None:
    """And stays finite; the state is a pytree of arrays."""
    expect_shapes("the trained θ", case.unbroken.theta, case.theta)
    expect_finite("the trained θ", case.unbroken.theta)
    expect_arrays("the state", case.unbroken.state)


def a_resumed_run_is_the_unbroken_run_bit_for_bit(case: TrainerCase) -> None:
    """Also where another trainer with the same settings goes on."""
    expect_equal("outer steps", case.resumed.outer_step, OUTER_STEPS)
    expect_bits("θ of the resumed run", case.resumed.theta, case.unbroken.theta)
    expected = np.array(case.unbroken.reports[BROKEN_OFF_AT:])
    resumed = np.array(case.resumed.reports)
    np.testing.assert_array_equal(
        resumed, expected, err_msg="the resumed run's reports"
    )


def reports_are_whole(case: TrainerCase) -> None:
    """Every step's is a `Report` of scalars, and counts the inner steps."""
    expect_equal("the number of reports", len(case.unbroken.reports), OUTER_STEPS)
    for report in case.unbroken.reports:
        expect(isinstance(report, Report), f"a step gave {report!r}, no Report")
        expect(np.isfinite(report.outer_loss), f"outer_loss is {report.outer_loss}")
        expect(report.inner_steps > 0, f"inner_steps is {report.inner_steps}")
        lost = (report.dropped, report.skipped)
        expect_equal("(dropped, skipped) where nothing diverges", lost, (0, 0))


def a_gradient_that_is_not_finite_does_not_reach_theta(case: TrainerCase) -> None:
    """Where all losses are NaN θ stays finite, and the report counts what was lost."""
    _, theta, report = case.lost
    expect_finite("θ after a step of nothing but NaN", theta)
    lost = float(report.dropped) + float(report.skipped)
    expect(
        lost > 0,
        "dropped and skipped are 0 where all losses are NaN (or it "
        "loads its data itself, and does not see them)",
    )


CHECKS = (
    the_record_says_what_it_is,
    theta_keeps_its_shapes,
    a_resumed_run_is_the_unbroken_run_bit_for_bit,
    reports_are_whole,
    a_gradient_that_is_not_finite_does_not_reach_theta,
)
