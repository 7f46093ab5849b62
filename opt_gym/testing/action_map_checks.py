"""What every action map must do."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from opt_gym.plugins import Spec, build_spec
from opt_gym.records import ActionMap, Config
from opt_gym.testing.expectations import (
    QUICK,
    check_settings,
    expect,
    expect_equal,
    expect_finite,
    expect_shapes,
)
from opt_gym.testing.made_up_signals import PARAMS, signal_at

LEVELS = ("parameter", "tensor", "global")


class ActionMapCase(NamedTuple):
    """An action map after two actions: its memory before and after, and the updates."""

    spec: Spec
    action_map: ActionMap
    memories: list[Any]
    deltas: list[Any]


def check_action_map(spec: Spec, configs: Iterable[Config] = ({},)) -> None:
    """Checks an action map, with each of these settings.

    Args:
        spec: its SPEC.
        configs: settings, each checked on its own; what one leaves out has its default.

    Raises:
        AssertionError: what is wrong, and with what value.
    """
    check_settings(spec, "action", configs, prepare, CHECKS)


def prepare(spec: Spec, config: Config | None = None) -> ActionMapCase:
    """An action map whose program ran."""
    action_map: ActionMap = build_spec(spec, config)
    apply: Any = jax.jit(action_map.apply, compiler_options=QUICK)
    memories, deltas = [action_map.init(PARAMS)], []
    for t in range(2):
        memory, delta = apply(memories[-1], signal_at(t), action_of(action_map))
        memories.append(memory)
        deltas.append(delta)
    return ActionMapCase(spec, action_map, memories, deltas)


def action_of(action_map: ActionMap, value: float = 0.1) -> tuple[Any, ...]:
    """The same number for every entry of every control."""
    expect(
        action_map.level in LEVELS, f"level {action_map.level!r} is none of {LEVELS}"
    )
    entry = {
        "parameter": tuple(jnp.full(leaf.shape, value) for leaf in PARAMS),
        "tensor": tuple(jnp.float32(value) for _ in PARAMS),
        "global": jnp.float32(value),
    }[action_map.level]
    return (entry,) * len(action_map.controls)


def memory_keeps_its_shapes(case: ActionMapCase) -> None:
    """`apply` gives the memory that it was given, so that a scan can carry it."""
    for memory in case.memories[1:]:
        expect_shapes("the memory after an action", memory, case.memories[0])


def updates_have_the_shapes_of_the_weights(case: ActionMapCase) -> None:
    """Whatever the level."""
    for delta in case.deltas:
        expect_shapes("Δφ", delta, PARAMS)


def updates_are_finite_and_not_all_zero(case: ActionMapCase) -> None:
    """Of an action of 0.1 for every control."""
    expect_finite("Δφ", case.deltas)
    moved = any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(case.deltas))
    expect(moved, "an action of 0.1 moves no weight")


def its_config_builds_it_again(case: ActionMapCase) -> None:
    """And it has at least one control."""
    again = build_spec(case.spec, case.action_map.config)
    expect_equal("the rebuilt config", again.config, case.action_map.config)
    expect(case.action_map.controls, "it has no controls")


CHECKS = (
    memory_keeps_its_shapes,
    updates_have_the_shapes_of_the_weights,
    updates_are_finite_and_not_all_zero,
    its_config_builds_it_again,
)
