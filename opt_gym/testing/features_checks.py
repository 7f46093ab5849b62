"""What every feature set must do: one compiled step, shown several signals."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from opt_gym.plugins import Spec, build_spec
from opt_gym.records import Config, Features, Observation
from opt_gym.testing.expectations import (
    QUICK,
    check_settings,
    expect,
    expect_close,
    expect_equal,
    expect_finite,
    expect_shapes,
)
from opt_gym.testing.made_up_signals import PARAMS, signal_at

NEEDS = {"loss", "valid_loss", "horizon"}
SCALES = (0.0, 1e-20, 1e15)


class FeaturesCase(NamedTuple):
    """A feature set after three signals.

    memories: f before each signal and after the last; seen: the observations; extreme: by
    scale of the gradient, the observation after one such signal; shapes: of an observation
    and its blocks.
    """

    spec: Spec
    features: Features
    memories: list[Any]
    seen: list[Observation]
    extreme: dict[float, Observation]
    shapes: Any


def check_features(spec: Spec, configs: Iterable[Config] = ({},)) -> None:
    """Checks a feature set, with each of these settings.

    Args:
        spec: its SPEC.
        configs: settings, each checked on its own; what one leaves out has its default.

    Raises:
        AssertionError: what is wrong, and with what value.
    """
    check_settings(spec, "features", configs, prepare, CHECKS)


def prepare(spec: Spec, config: Config | None = None) -> FeaturesCase:
    """A feature set whose program ran."""
    features: Features = build_spec(spec, config)

    def advance(f: Any, signal: Any) -> Any:
        f = features.update(f, signal)
        return f, features.observe(f, signal)

    def with_blocks(f: Any, signal: Any) -> Any:
        f, observation = advance(f, signal)
        return f, observation, tuple(tensor.blocks for tensor in observation.tensors)

    start = features.init(PARAMS)
    shapes = jax.eval_shape(with_blocks, start, signal_at(0))
    step = jax.jit(advance, compiler_options=QUICK)
    memories, seen = [start], []
    if jax.tree.structure(shapes[0]) == jax.tree.structure(start):
        for t in range(3):
            f, observation = step(memories[-1], signal_at(t))
            memories.append(f)
            seen.append(observation)
    extreme = {scale: step(start, signal_at(0, scale))[1] for scale in SCALES}
    return FeaturesCase(spec, features, memories, seen, extreme, shapes)


def memory_keeps_its_shapes(case: FeaturesCase) -> None:
    """`update` gives what it was given, so that a scan can carry it."""
    expect_shapes("f after an update", case.shapes[0], case.memories[0])


def observations_have_the_named_numbers(case: FeaturesCase) -> None:
    """As many features as names, blocks that broadcast to their tensors, all float32."""
    features, (_, observation, blocks) = case.features, case.shapes
    shared = observation.numbers.shape
    expect_equal("the shape of shared numbers", shared, (len(features.shared_names),))
    expect_equal("the number of tensors", len(observation.tensors), len(PARAMS))
    each = zip(PARAMS, observation.tensors, blocks, strict=True)
    for leaf, tensor, own in each:
        count = sum(block.shape[0] for block in own)
        expect_equal("the number of rows", count, len(features.row_names))
        expect_equal("the shape of scale", tensor.scale.shape, (count,))
        numbers, names = tensor.numbers.shape, features.tensor_names
        expect_equal("the shape of a tensor's numbers", numbers, (len(names),))
        for block in own:
            shape = jnp.broadcast_shapes(block.shape[1:], leaf.shape)
            expect_equal("the shape of a block with its tensor", shape, leaf.shape)
    for leaf in jax.tree.leaves((observation, blocks)):
        expect_equal("the type of an observation", str(leaf.dtype), "float32")


def observations_are_finite(case: FeaturesCase) -> None:
    """Every step's, those of no gradient and of extreme ones included."""
    for t, observation in enumerate(case.seen):
        expect_finite(f"the observation after {t} updates", _numbers(observation))
    for scale, observation in case.extreme.items():
        expect_finite(f"the observation of gradients of {scale}", _numbers(observation))


def _numbers(observation: Observation) -> Any:
    return observation.numbers, [(x.sources, x.scale) for x in observation.tensors]


def jit_is_eager(case: FeaturesCase) -> None:
    """The last observation, operation by operation."""
    eager = case.features.observe(case.memories[-1], signal_at(2))
    what = "the observation without jit"
    # Differences of logarithms cancel: seven digits are left of numbers near 1.
    expect_close(what, eager, case.seen[-1], rtol=1e-4, atol=2e-5)


def its_config_builds_it_again(case: FeaturesCase) -> None:
    """And what it needs is known."""
    again = build_spec(case.spec, case.features.config)
    expect_equal("the rebuilt config", again.config, case.features.config)
    needs = set(case.features.needs)
    expect(needs <= NEEDS, f"needs {sorted(needs)} are not all of {sorted(NEEDS)}")
    welcomes = set(case.features.welcomes)
    told = f"welcomes {sorted(welcomes)} are not all of {sorted(NEEDS - needs)}"
    expect(welcomes <= NEEDS - needs, told)


CHECKS = (
    memory_keeps_its_shapes,
    observations_have_the_named_numbers,
    observations_are_finite,
    jit_is_eager,
    its_config_builds_it_again,
)
