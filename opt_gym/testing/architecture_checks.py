"""What every architecture must do: in an environment, as an optax transformation, in torch.

Two programs an architecture: one update of the optax transformation, and three steps in an
environment. What only concerns shapes is traced and not compiled.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import learned
import opt_gym
from opt_gym.maths.limits import LIMIT
from opt_gym.plugins import Spec, build_spec
from opt_gym.records import Config, LearnedOptimizer
from opt_gym.testing import torch_checks
from opt_gym.testing.expectations import (
    QUICK,
    check_settings,
    expect,
    expect_arrays,
    expect_bits,
    expect_close,
    expect_equal,
    expect_finite,
    expect_shapes,
)
from opt_gym.testing.made_up_signals import (
    HORIZON,
    PARAMS,
    ROLES,
    gradient,
    signal_at,
)
from opt_gym.testing.made_up_tasks import bowl, bowl_env

NUM_STEPS = 3
ONE_UNIT = ((3, 1), (1,), (1, 1), (1,), (2, 2, 1, 1), (2, 5))


class Stream(NamedTuple):
    """What an optimizer was given step by step, and what it answered.

    Shapes: entry t of params, grads, losses and updates is step t's; states has one more.
    """

    params: list[Any]
    grads: list[Any]
    losses: list[float]
    updates: list[Any]
    states: list[Any]


class ArchitectureCase(NamedTuple):
    """An architecture whose programs ran.

    drawn: θ of one key, twice; init, update: of its optax transformation, compiled;
    made_up: a stream of made-up gradients; descent: of a plain loop on a bowl; env_losses
    [NUM_STEPS + 1], env_params: of an environment on the same.
    """

    spec: Spec
    optimizer: LearnedOptimizer
    theta: Any
    drawn: tuple[Any, Any]
    transformation: Any
    init: Any
    update: Any
    made_up: Stream
    descent: Stream
    env_losses: Any
    env_params: Any


def check_architecture(spec: Spec, configs: Iterable[Config] = ({},)) -> None:
    """Checks an architecture, with each of these settings.

    Where torch is not installed a warning says that its part was left out.

    Args:
        spec: its SPEC.
        configs: settings, each checked on its own; what one leaves out has its default.

    Raises:
        AssertionError: what is wrong, and with what value.
    """
    check_settings(spec, "architecture", configs, prepare, CHECKS)


def prepare(spec: Spec, config: Config | None = None) -> ArchitectureCase:
    """An architecture whose programs ran."""
    optimizer: LearnedOptimizer = build_spec(spec, config)
    draw = jax.jit(optimizer.init_theta, compiler_options=QUICK)
    drawn = (draw(jax.random.key(1)), draw(jax.random.key(1)))
    theta = moving_theta(optimizer, drawn[0])
    tx: Any = learned.to_optax(optimizer, theta, horizon=HORIZON, warn=False)
    init = jax.jit(tx.init, compiler_options=QUICK)
    update: Any = jax.jit(tx.update, compiler_options=QUICK)
    made_up = _stream(init, update, lambda t, params: (gradient(t), 1.0 / (t + 1)))
    descent = _stream(init, update, lambda t, params: (params, _bowl_loss(params)))
    env_losses, env_params = _in_an_environment(optimizer, theta)
    return ArchitectureCase(
        spec,
        optimizer,
        theta,
        drawn,
        tx,
        init,
        update,
        made_up,
        descent,
        env_losses,
        env_params,
    )


def moving_theta(optimizer: LearnedOptimizer, theta: Any) -> Any:
    """A θ at which every part acts, for some start as Adam: this one and some noise.

    That of a hand-designed optimizer stays, its entries are its settings.
    """
    if isinstance(theta, dict) and theta and set(theta) <= set(optimizer.config):
        return theta
    leaves, structure = jax.tree.flatten(theta)
    random = np.random.default_rng(2)
    moved = [
        leaf + jnp.asarray(0.05 * random.standard_normal(leaf.shape), jnp.float32)
        for leaf in leaves
    ]
    return jax.tree.unflatten(structure, moved)


def _bowl_loss(params: Any) -> float:
    return float(sum(0.5 * np.sum(np.square(leaf)) for leaf in params))


def _stream(init: Any, update: Any, signal: Any) -> Stream:
    params = PARAMS
    stream = Stream([], [], [], [], [init(params)])
    for t in range(NUM_STEPS):
        grads, loss = signal(t, params)
        updates, state = update(
            grads, stream.states[-1], params, value=jnp.float32(loss)
        )
        stream.params.append(params)
        stream.grads.append(grads)
        stream.losses.append(loss)
        stream.updates.append(updates)
        stream.states.append(state)
        params = tuple(
            jnp.asarray(np.asarray(p) + np.asarray(u))
            for p, u in zip(params, updates, strict=True)
        )
    stream.params.append(params)
    return stream


def _in_an_environment(optimizer: LearnedOptimizer, theta: Any) -> tuple[Any, Any]:
    task = bowl(PARAMS, ROLES)
    env = bowl_env(task, optimizer)

    def run(theta: Any, data: Any) -> Any:
        key = jax.random.key(3)
        state = opt_gym.start(key, env, optimizer, theta, data, HORIZON)
        end, out = opt_gym.unroll(env, optimizer, theta, data, state, NUM_STEPS)
        return jnp.concatenate([state.env.loss[None], out.loss]), end.env.params

    program = jax.jit(run, compiler_options=QUICK)
    return program(theta, task.load_data("embedded"))


def theta_follows_its_key(case: ArchitectureCase) -> None:
    """θ is a pytree of float32 arrays, and its numbers follow from the key."""
    first, again = case.drawn
    expect_arrays("θ", first)
    expect_bits("θ of the same key", again, first)
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(first)}
    expect(kinds <= {"float32"}, f"θ has the types {sorted(kinds)}, expected float32")


def carries_and_actions_keep_their_shapes(case: ArchitectureCase) -> None:
    """What a step gives fits into the next one, and into the action map."""
    optimizer, theta = case.optimizer, case.theta
    features, action_map = optimizer.features, optimizer.action_map

    def step(signal: Any) -> Any:
        carry, f = optimizer.init(theta, PARAMS, ROLES), features.init(PARAMS)
        f_after = features.update(f, signal)
        observation = features.observe(f_after, signal)
        after, action = optimizer.step(theta, carry, signal, observation)
        memory = action_map.init(PARAMS)
        kept, delta = action_map.apply(memory, signal, action)
        return (carry, after), (f, f_after), (memory, kept), action, delta

    *memories, action, delta = jax.eval_shape(step, signal_at(0))
    what = ("the carry", "the features' memory", "the action map's memory")
    for name, (before, after) in zip(what, memories, strict=True):
        expect_shapes(f"{name} after a step", after, before)
    expect_equal("the number of controls", len(action), len(action_map.controls))
    expect_shapes("Δφ", delta, PARAMS)
    missing = set(features.needs) - set(optimizer.needs)
    expect(not missing, f"needs leaves out {sorted(missing)}, which its features need")
    unread = set(features.welcomes) - {*optimizer.needs, *optimizer.welcomes}
    expect(not unread, f"welcomes leaves out {sorted(unread)}, which its features use")


def a_net_of_one_unit_has_updates_of_its_shapes(case: ArchitectureCase) -> None:
    """Tensors of one weight, of one, two and four axes, beside others."""
    params = tuple(jnp.zeros(shape) for shape in ONE_UNIT)

    def updates(params: Any) -> Any:
        state = case.transformation.init(params)
        return case.transformation.update(params, state, params, value=jnp.zeros(()))[0]

    found = [one.shape for one in jax.eval_shape(updates, params)]
    expect_equal("the updates' shapes", found, [*ONE_UNIT])


def its_config_builds_it_again(case: ArchitectureCase) -> None:
    """The config that θ files keep."""
    again = build_spec(case.spec, case.optimizer.config)
    expect_equal("the rebuilt config", again.config, case.optimizer.config)


def updates_are_finite_and_move(case: ArchitectureCase) -> None:
    """On made-up gradients, with counts that say how many steps were made."""
    expect_finite("updates", case.made_up.updates)
    moved = any(bool(jnp.any(x)) for x in jax.tree.leaves(case.made_up.updates))
    expect(moved, "its updates are all zero")
    expect_equal("t", int(case.made_up.states[-1].t), NUM_STEPS)
    expect_equal("skipped", int(case.made_up.states[-1].skipped), 0)
    expect_equal("compilations of update", case.update._cache_size(), 1)


def the_environment_and_a_plain_loop_agree(case: ArchitectureCase) -> None:
    """The same losses and weights as the optax transformation's, on a bowl."""
    last = _bowl_loss(case.descent.params[-1])
    losses = np.array([*case.descent.losses, last])
    expect_close("losses in an environment", case.env_losses, losses, rtol=1e-5)
    weights = case.descent.params[-1]
    what = "weights in an environment"
    expect_close(what, case.env_params, weights, rtol=1e-5, atol=1e-6)


def a_permutation_of_parameters_permutes_updates(case: ArchitectureCase) -> None:
    """Nothing depends on where in a vector a parameter stands."""
    order = np.array([3, 0, 5, 1, 4, 2])

    def permuted(tensors: Any) -> Any:
        return (tensors[0][order], *tensors[1:])

    params, grads = permuted(PARAMS), permuted(case.made_up.grads[0])
    loss = jnp.float32(case.made_up.losses[0])
    updates, _ = case.update(grads, case.init(params), params, value=loss)
    expected = permuted(case.made_up.updates[0])
    expect_close("updates of permuted weights", updates, expected, rtol=1e-4, atol=1e-6)


def a_gradient_that_is_not_finite_changes_only_the_count(
    case: ArchitectureCase,
) -> None:
    """And so does a loss that it needs."""
    state, params = case.made_up.states[1], case.made_up.params[1]
    grads = case.made_up.grads[1]
    bad = (grads[0].at[0].set(jnp.nan), *grads[1:])
    attempts = [(bad, 1.0)]
    if "loss" in case.optimizer.needs:
        attempts.append((grads, jnp.inf))
    for attempt, loss in attempts:
        updates, after = case.update(attempt, state, params, value=jnp.float32(loss))
        zeros = jax.tree.map(jnp.zeros_like, params)
        expect_bits("the update of a gradient that is not finite", updates, zeros)
        expect_equal("skipped", int(after.skipped), int(state.skipped) + 1)
        unchanged = after._replace(skipped=state.skipped)
        expect_bits("the state after such a gradient", unchanged, state)


def what_it_remembers_stays_finite(case: ArchitectureCase) -> None:
    """After a gradient as large as is ever shown, and the next one."""
    state, params = case.made_up.states[1], case.made_up.params[1]
    grads = case.made_up.grads[1]
    huge = jax.tree.map(lambda x: jnp.sign(x) * LIMIT, grads)
    for attempt in (huge, grads):
        updates, state = case.update(attempt, state, params, value=jnp.float32(1.0))
        expect_finite("updates after a huge gradient", updates)
        expect_finite("what is remembered of a huge gradient", state)


def it_does_without_what_it_only_welcomes(case: ArchitectureCase) -> None:
    """A loss that is not told, or is NaN, and a horizon that is not known."""
    welcomes = case.optimizer.welcomes
    state, params = case.made_up.states[1], case.made_up.params[1]
    grads = case.made_up.grads[1]
    if "loss" in welcomes:
        given = case.update(grads, state, params, value=jnp.float32(jnp.nan))
        expect_finite("updates without a loss", given[0])
        expect_equal("skipped", int(given[1].skipped), int(state.skipped))
    if "horizon" in welcomes:
        tx: Any = learned.to_optax(case.optimizer, case.theta)
        updates, after = jax.eval_shape(tx.update, grads, state, params)
        expect_shapes("updates without a horizon", updates, params)
        expect_shapes("the state without a horizon", after, state)


def it_is_a_good_citizen_of_optax(case: ArchitectureCase) -> None:
    """A chain with accumulation and a mask; bfloat16 weights; unknown extra arguments."""
    mask = (True, True, True, False)
    scale = learned.scale_by_learned(
        case.optimizer, case.theta, horizon=HORIZON, warn=False
    )
    tx: Any = optax.MultiSteps(
        optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.masked(scale, mask),
            optax.add_decayed_weights(1e-2),
            optax.scale_by_learning_rate(optax.cosine_decay_schedule(1.0, 10)),
        ),
        every_k_schedule=2,
    )
    params = (*PARAMS[:3], PARAMS[3].astype(jnp.bfloat16))
    state = jax.eval_shape(tx.init, params)
    updates, after = jax.eval_shape(
        lambda s: tx.update(params, s, params, value=0.5, unexpected=1.0), state
    )
    expect_shapes("the state of a chain", after, state)
    expect_shapes("the updates of a chain", updates, params)


def its_optax_state_can_be_mapped(case: ArchitectureCase) -> None:
    """`optax.tree.map_params` finds what is remembered of every tensor."""
    state = case.made_up.states[-1]
    mapped = optax.tree.map_params(case.transformation, lambda leaf: leaf, state)
    expect_bits("a state whose parameters were mapped", mapped, state)


def torch_and_optax_give_the_same_updates(case: ArchitectureCase) -> None:
    """Transposed kernels included; one that is not finite is skipped there, too."""
    torch_checks.expect_the_same_updates(
        case.optimizer, case.theta, HORIZON, case.made_up
    )


CHECKS = (
    theta_follows_its_key,
    carries_and_actions_keep_their_shapes,
    its_config_builds_it_again,
    updates_are_finite_and_move,
    the_environment_and_a_plain_loop_agree,
    a_permutation_of_parameters_permutes_updates,
    a_gradient_that_is_not_finite_changes_only_the_count,
    what_it_remembers_stays_finite,
    it_does_without_what_it_only_welcomes,
    it_is_a_good_citizen_of_optax,
    its_optax_state_can_be_mapped,
    torch_and_optax_give_the_same_updates,
    a_net_of_one_unit_has_updates_of_its_shapes,
)
