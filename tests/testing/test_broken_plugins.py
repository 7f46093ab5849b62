"""Each check of the kit is shown to fail, by plug-ins that are broken in one way."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learned
from agents.records import OuterTrainer, Report
from opt_gym import plugins, testing
from opt_gym.maths.array_namespace import is_torch
from opt_gym.plugins import Spec
from opt_gym.records import Memory


def changed(kind, name, change):
    """A built-in plug-in under another name, whose record is changed."""
    spec = plugins.spec(kind, name)

    def of_config(config):
        return change(spec.make(config))

    def of_defaults():
        return change(spec.make())

    make = of_config if kind == "task" else of_defaults
    return spec._replace(make=make, source="a test")


def task(**fields):
    return changed("task", "quadratic", lambda good: good._replace(**fields))


counter = itertools.count()


def counted(seed):
    return {
        **plugins.spec("task", "quadratic").sample_config(seed),
        "seed": next(counter),
    }


def with_loss(change):
    def of_task(good):
        def loss(*arguments):
            value, aux = good.loss(*arguments)
            return change(value), aux

        return good._replace(loss=loss)

    return changed("task", "quadratic", of_task)


BROKEN_TASKS = {
    "roles": (task(roles=("kernel", "bias")), "the number of roles is 2, expected 1"),
    "role": (task(roles=("weights",)), "roles .*weights.* are not all of"),
    "config": (task(config={"family": "quadratic"}), r"task\.config is"),
    "input kind": (task(input_kind="picture"), "unknown input_kind 'picture'"),
    "splits": (task(load_data=lambda source: {}), "the splits of the data is"),
    "vector loss": (with_loss(lambda x: x[None]), "the shape of a loss is"),
    "seed": (
        plugins.spec("task", "quadratic")._replace(sample_config=counted),
        "the config of the same seed is",
    ),
}


@pytest.mark.parametrize(("spec", "message"), BROKEN_TASKS.values(), ids=BROKEN_TASKS)
def test_a_broken_task_is_named_before_anything_compiles(spec, message):
    with pytest.raises(AssertionError, match=f"^task 'quadratic': .*{message}"):
        testing.check_task(spec, seeds=(), traced_seeds=(70,))


BROKEN_LOSSES = {
    "floor": (task(loss_floor=1e9), "are below loss_floor"),
    "NaN": (with_loss(lambda x: x * jnp.nan), "losses at the initial weights are"),
    "no gradient": (with_loss(jax.lax.stop_gradient), "the gradient .* is zero"),
    "constraint": (
        task(constrain=lambda params: jax.tree.map(lambda x: x / 2, params)),
        "the_constraint_is_idempotent",
    ),
}


@pytest.mark.parametrize(("spec", "message"), BROKEN_LOSSES.values(), ids=BROKEN_LOSSES)
def test_a_broken_loss_is_named(spec, message):
    with pytest.raises(AssertionError, match=f"^task 'quadratic': .*{message}"):
        testing.check_task(spec, seeds=(70,))


def features(**fields):
    return changed("features", "momenta", lambda good: good._replace(**fields))


def with_update(change):
    def of_features(good):
        return good._replace(update=lambda f, s: change(good.update(f, s)))

    return changed("features", "momenta", of_features)


def with_observe(change):
    def of_features(good):
        return good._replace(observe=lambda f, s: change(good.observe(f, s), s))

    return changed("features", "momenta", of_features)


BROKEN_FEATURES = {
    "names": (features(row_names=("one",)), "the number of rows is 8, expected 1"),
    "needs": (features(needs=("weather",)), r"needs \['weather'\] are not all of"),
    "memory": (
        with_update(lambda f: jax.tree.map(lambda x: x.astype(jnp.float16), f)),
        "the shapes of f after an update is",
    ),
    "not finite": (
        with_observe(lambda o, s: o._replace(numbers=o.numbers / jnp.max(s.grad[0]))),
        "numbers that are not finite",
    ),
    "not its tensors": (
        with_observe(lambda o, s: o._replace(tensors=o.tensors[1:])),
        "the number of tensors is 3, expected 4",
    ),
}


@pytest.mark.parametrize(
    ("spec", "message"), BROKEN_FEATURES.values(), ids=BROKEN_FEATURES
)
def test_a_broken_feature_set_is_named(spec, message):
    with pytest.raises(AssertionError, match=f"(?s)^features 'momenta': .*{message}"):
        testing.check_features(spec)


def with_apply(change):
    def of_map(good):
        return good._replace(apply=lambda a, s, action: change(a, action[0]))

    return changed("action", "update", of_map)


BROKEN_ACTION_MAPS = {
    "memory": (
        with_apply(lambda a, delta: (Memory(shared=delta), delta)),
        "the shapes of the memory after an action",
    ),
    "shape": (with_apply(lambda a, delta: (a, delta[1:])), "the shapes of Δφ"),
    "nothing": (
        with_apply(lambda a, delta: (a, jax.tree.map(jnp.zeros_like, delta))),
        "an action of 0.1 moves no weight",
    ),
    "level": (
        changed("action", "update", lambda good: good._replace(level="layer")),
        "level 'layer' is none of",
    ),
}


@pytest.mark.parametrize(
    ("spec", "message"), BROKEN_ACTION_MAPS.values(), ids=BROKEN_ACTION_MAPS
)
def test_a_broken_action_map_is_named(spec, message):
    with pytest.raises(AssertionError, match=f"(?s)^action 'update': .*{message}"):
        testing.check_action_map(spec)


def architecture(**fields):
    return changed("architecture", "sgd", lambda good: good._replace(**fields))


def with_action(change):
    """What is changed is the update of every tensor."""

    def of_optimizer(good):
        def step(*arguments):
            carry, (deltas,) = good.step(*arguments)
            return carry, (jax.tree.map(change, deltas),)

        return good._replace(step=step)

    return changed("architecture", "sgd", of_optimizer)


def by_place(delta):
    if is_torch(delta) or delta.ndim != 1:
        return delta
    return delta * jnp.arange(1.0, 1.0 + delta.size)


def remembering(of_gradient):
    """A number a tensor, which changes nothing."""

    def of_optimizer(good):
        def init(theta, params, roles):
            return Memory(tuple(leaf.sum() for leaf in params))

        def step(theta, carry, signal, observation):
            _, action = good.step(theta, Memory(((),) * 4), signal, observation)
            return Memory(tuple(map(of_gradient, signal.grad))), action

        return good._replace(init=init, step=step)

    return changed("architecture", "sgd", of_optimizer)


BROKEN_ARCHITECTURES = {
    "two actions": (
        architecture(step=lambda theta, carry, s, o: (carry, (s.grad, s.grad))),
        "an action, a tuple of 1 .*, got a tuple of 2 for the action",
    ),
    "an action without its comma": (
        architecture(step=lambda theta, carry, s, o: (carry, s.grad)),
        "an action, a tuple of 1 .*, got a tuple of 4 for the action",
    ),
    "carry": (
        architecture(step=lambda theta, carry, s, o: (Memory(shared=s.t), (s.grad,))),
        "a memory with the structure, shapes and types that it had",
    ),
    "a memory that overflows": (
        remembering(lambda grad: (grad**4).mean()),
        "what is remembered of a huge gradient",
    ),
    "a place in a vector": (with_action(by_place), "a_permutation_of_parameters"),
    "another number in torch": (
        with_action(lambda delta: 2 * delta if is_torch(delta) else delta),
        "torch's update 0 of tensor 0",
    ),
    "no move": (with_action(lambda delta: 0 * delta), "its updates are all zero"),
}


@pytest.mark.parametrize(
    ("spec", "message"), BROKEN_ARCHITECTURES.values(), ids=BROKEN_ARCHITECTURES
)
def test_a_broken_architecture_is_named(spec, message):
    with pytest.raises(AssertionError, match=f"(?s)^architecture 'sgd': .*{message}"):
        testing.check_architecture(spec)


def trainer(**broken):
    """A random walk whose step is not a JAX program, so that trying it costs nothing."""

    def make(*, mix, learned_optimizer) -> OuterTrainer:
        calls = itertools.count()

        def step(key, data, state):
            grad = jax.random.normal(key) * data[0]["train"]
            lost = not np.isfinite(grad)
            if broken.get("remembers"):
                grad = grad + next(calls)
            if not (lost and not broken.get("follows_nan")):
                state = jax.tree.map(lambda x: x + 0.01 * grad, state)
            report = Report(1.0, abs(grad), np.nan, 0, 5, lost)
            return state, broken.get("told", lambda report: report)(report)

        return OuterTrainer(
            name=broken.get("name", "walk"),
            config={"walk": {}},
            envs=mix.envs,
            learned_optimizer=learned_optimizer,
            init=lambda key, data, theta, outer_step=0: theta,
            step=step,
            theta=lambda state: state,
        )

    return Spec("trainer", "walk", make, "a test")


BROKEN_TRAINERS: dict[str, Any] = {
    "name": (trainer(name="run"), "the trainer's name is 'run', expected 'walk'"),
    "resume": (trainer(remembers=True), "a_resumed_run_is_the_unbroken_run"),
    "NaN": (trainer(follows_nan=True), "θ after a step of nothing but NaN"),
    "silent": (
        trainer(told=lambda report: report._replace(skipped=0)),
        "dropped and skipped are 0 where all losses are NaN",
    ),
    "steps": (
        trainer(told=lambda report: report._replace(inner_steps=0)),
        "inner_steps is 0",
    ),
}


@pytest.mark.parametrize(
    ("spec", "message"), BROKEN_TRAINERS.values(), ids=BROKEN_TRAINERS
)
def test_a_broken_trainer_is_named(spec, message):
    with pytest.raises(AssertionError, match=f"(?s)^trainer 'walk': .*{message}"):
        testing.check_trainer(spec)


def test_one_that_is_whole_passes():
    testing.check_trainer(trainer(), learned_optimizer=learned.make("sgd"))


@pytest.mark.parametrize(
    "check",
    [
        testing.check_task,
        testing.check_features,
        testing.check_action_map,
        testing.check_architecture,
        testing.check_trainer,
    ],
)
def test_a_spec_of_another_kind_or_none_is_named(check):
    other = "task" if check is not testing.check_task else "features"
    spec = Spec(other, "a_name", lambda: None, "a test", lambda seed: {})
    with pytest.raises(AssertionError, match=f"the kind of the SPEC is '{other}'"):
        check(spec)
    with pytest.raises(AssertionError, match=r"SPEC must be an opt_gym\.plugins\.Spec"):
        check("a_name")
    with pytest.raises(AssertionError, match="name must be a Python identifier"):
        check(spec._replace(name="a name"))
