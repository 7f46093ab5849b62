"""What every task of every family must do.

Two programs a task: `probe` draws the weights, a batch of every split and its loss; the
other gives loss and gradient for two keys under `vmap`. Compiling is nearly all the time
this takes, so that shapes are checked without it, for more seeds than numbers.
"""

import functools
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from opt_gym.plugins import Spec
from opt_gym.records import SPLITS, Batch, Config, Data, Images, Task, Texts
from opt_gym.testing.expectations import (
    QUICK,
    expect,
    expect_bits,
    expect_close,
    expect_equal,
    expect_finite,
    expect_shapes,
    expect_spec,
    naming,
    run_checks,
)

ROLES = {"kernel", "bias", "embedding", "norm"}
INPUT_KINDS = ("image", "text", "array", "none")


class Probe(NamedTuple):
    """What a task gives for one key. Shapes: losses [4], leaves of batches [4, ...], by split.

    once, twice: the weights after the constraint, and after it once more.
    """

    params: Any
    instance: Any
    batches: Any
    losses: Any
    aux: Any
    once: Any
    twice: Any
    k_loss: Any


class TracedTask(NamedTuple):
    """A task of a family's seed, and the shapes of its `Probe`; nothing was compiled."""

    config: Config
    task: Task
    data: Data
    shapes: Probe
    spec: Spec
    seed: int


SPARSE_TRIES = 16


class TaskCase(NamedTuple):
    """A task whose programs ran.

    first, other: for two keys; again: for the first once more; together: losses [2] and
    gradients of both on their train batches, computed under `vmap` (of other keys where
    these are zero).
    """

    traced: TracedTask
    first: Probe
    other: Probe
    again: Probe
    together: Any


def check_task(
    spec: Spec, seeds: Iterable[int] = (0,), traced_seeds: Iterable[int] = ()
) -> None:
    """Checks the tasks of a family.

    Args:
        spec: of the family.
        seeds: of the configs that are checked in full.
        traced_seeds: of those of which only shapes and configs are, without compiling.

    Raises:
        AssertionError: what is wrong, and with what value.
    """
    expect_spec(spec, "task")
    for seed in traced_seeds:
        with naming(spec, f"building and tracing the task of seed {seed}"):
            traced = trace(spec, seed)
        run_checks(spec, traced, TRACED_CHECKS)
    for seed in seeds:
        with naming(spec, f"building and running the task of seed {seed}"):
            case = prepare(spec, seed)
        run_checks(spec, case.traced, TRACED_CHECKS)
        run_checks(spec, case, CHECKS)


def trace(spec: Spec, seed: int) -> TracedTask:
    """A task of a family and the shapes of what it gives."""
    config = {"family": spec.name, **spec.sample_config(seed)}
    task = spec.make(config)
    data = task.load_data("embedded")
    shapes = jax.eval_shape(functools.partial(_probe, task), jax.random.key(0), data)
    return TracedTask(config, task, data, shapes, spec, seed)


def prepare(spec: Spec, seed: int = 0) -> TaskCase:
    """A task of a family whose programs ran."""
    traced = trace(spec, seed)
    task, placed = traced.task, jax.device_put(traced.data)
    program = jax.jit(functools.partial(_probe, task), compiler_options=QUICK)
    keys = jax.random.split(jax.random.key(7), 2)
    first, other, again = (program(key, placed) for key in (keys[0], keys[1], keys[0]))

    def loss(params: Any, instance: Any, batches: Any, k_loss: Any) -> Any:
        batch = jax.tree.map(lambda leaf: leaf[0], batches)
        return task.loss(k_loss, params, instance, batch)[0]

    def together(first: Probe, other: Probe) -> Any:
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, other)
        gradient = jax.vmap(jax.value_and_grad(loss))
        return gradient(both.params, both.instance, both.batches, both.k_loss)

    differentiate = jax.jit(together, compiler_options=QUICK)
    losses, gradients = differentiate(first, other)
    for more in range(SPARSE_TRIES):  # some tasks show a gradient only now and then
        if _any_number(gradients):
            break
        pair = (program(key, placed) for key in jax.random.split(keys[more % 2], 2))
        keys = jax.random.split(keys[1], 2)
        _, gradients = differentiate(*pair)
    return TaskCase(
        traced,
        _on_host(first),
        _on_host(other),
        _on_host(again),
        jax.tree.map(np.asarray, (losses, gradients)),
    )


def _any_number(tree: Any) -> bool:
    """Whether anything in it is not zero."""
    return any(bool(np.any(leaf)) for leaf in jax.tree.leaves(tree))


def _on_host(probe: Probe) -> Probe:
    """But for its key, which numpy has no type for."""
    arrays = jax.tree.map(np.asarray, probe._replace(k_loss=()))
    return arrays._replace(k_loss=probe.k_loss)


def _probe(task: Task, key: Any, data: Data) -> Probe:
    k_init, k_batch, k_loss = jax.random.split(key, 3)
    params, instance = task.init(k_init, data)
    each = [task.sample_batch(k_batch, data, instance, split) for split in SPLITS]
    batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def of_split(item: Any) -> Any:
        return task.loss(k_loss, params, instance, item[1])

    losses, aux = jax.lax.map(of_split, (jnp.arange(len(SPLITS)), batches))
    once = task.constrain(params)
    twice = task.constrain(once)
    return Probe(params, instance, batches, losses, aux, once, twice, k_loss)


def the_config_is_json_and_says_everything(case: TracedTask) -> None:
    """The same seed gives the same config, and the config read from JSON the same program."""
    drawn = {"family": case.spec.name, **case.spec.sample_config(case.seed)}
    expect_equal("the config of the same seed", drawn, case.config)
    expect_equal("task.config", case.task.config, case.config)
    config = json.loads(json.dumps(case.config))
    expect_equal("the config read back from JSON", config, case.config)
    rebuilt = case.spec.make(config)
    expect_equal("the rebuilt task's config", rebuilt.config, config)
    for field in ("batch_size", "dataset", "input_kind", "loss_floor", "roles"):
        expect_equal(
            f"the rebuilt task's {field}",
            getattr(rebuilt, field),
            getattr(case.task, field),
        )
    (text, arrays), (again, arrays_again) = (
        _program_text(task, case.data) for task in (case.task, rebuilt)
    )
    expect(text == again, "the task rebuilt from its config is another program")
    for array, other in zip(arrays, arrays_again, strict=True):
        np.testing.assert_array_equal(array, other)


def _program_text(task: Task, data: Data) -> tuple[str, Any]:
    """The program of a task as text, and the arrays in it."""
    traced = jax.make_jaxpr(functools.partial(_probe, task))(jax.random.key(0), data)
    return re.sub(r"0x[0-9a-f]+", "", str(traced.jaxpr)), traced.consts


def shapes_and_types(case: TracedTask) -> None:
    """φ is a tuple of float32 with a role each; losses and aux are scalars."""
    task, shapes = case.task, case.shapes
    leaves = jax.tree.leaves(shapes.params)
    kind = type(shapes.params).__name__
    expect(isinstance(shapes.params, tuple), f"φ is a {kind}, not a tuple")
    expect_equal("the number of roles", len(task.roles), len(leaves))
    expect(set(task.roles) <= ROLES, f"roles {task.roles} are not all of {ROLES}")
    expect_equal("the types of φ", {str(x.dtype) for x in leaves}, {"float32"})
    expect_equal("the shape of a loss", shapes.losses.shape[1:], ())
    expect_equal("the type of a loss", str(shapes.losses.dtype), "float32")
    for name, value in shapes.aux.items():
        expect_equal(f"the shape of aux {name!r}", value.shape[1:], ())
    expect_shapes("the constrained φ", shapes.once, shapes.params)


def batches_have_the_form_of_their_kind(case: TracedTask) -> None:
    """Every split gives a `Batch` of batch_size, of the shape and type of its input_kind."""
    task, batch = case.task, case.shapes.batches
    expect(isinstance(batch, Batch), f"sample_batch gave a {type(batch).__name__}")
    expect_equal("the splits of the data", tuple(case.data), SPLITS)
    if task.dataset != "none":
        sizes = {leaf.shape[1] for leaf in jax.tree.leaves(batch)}
        expect_equal("the sizes of a batch", sizes, {task.batch_size})
    expect(task.input_kind in INPUT_KINDS, f"unknown input_kind {task.input_kind!r}")
    form = {"image": (4, "float32"), "text": (2, "int32")}.get(task.input_kind)
    if form:
        actual = (batch.inputs.ndim - 1, str(batch.inputs.dtype))
        expect_equal(f"axes and type of {task.input_kind} inputs", actual, form)


def inputs_are_in_their_range(case: TaskCase) -> None:
    """Images are in [0, 1], token ids at least 0."""
    kind, inputs = case.traced.task.input_kind, case.first.batches.inputs
    if kind == "image":
        # Changes of colour leave [0, 1] a little, as TensorFlow's do.
        low, high = np.min(inputs), np.max(inputs)
        expect(-2 < low < 0.5 < high < 3, f"images have values in [{low}, {high}]")
    elif kind == "text":
        expect(np.min(inputs) >= 0, f"token ids begin at {np.min(inputs)}")


def initial_weights_are_finite(case: TaskCase) -> None:
    """All numbers of φ are."""
    expect_finite("φ", case.first.params)


def losses_are_finite_and_above_the_floor(case: TaskCase) -> None:
    """At the initial weights, on every split; and there is a finite gradient somewhere."""
    losses, floor = case.first.losses, case.traced.task.loss_floor
    expect(np.isfinite(losses).all(), f"losses at the initial weights are {losses}")
    below = losses < floor - 1e-5 * abs(floor)
    expect(not below.any(), f"losses {losses} are below loss_floor {floor}")
    _, gradients = case.together
    expect_finite("the gradient", gradients)
    moved = _any_number(gradients)
    expect(moved, "the gradient of the loss is zero for every weight and key")


def the_constraint_is_idempotent(case: TaskCase) -> None:
    """constrain(constrain(φ)) is constrain(φ)."""
    expect_bits("the constraint applied twice", case.first.twice, case.first.once)


def a_key_gives_the_same_bits(case: TaskCase) -> None:
    """Another call with the same key gives the same numbers."""
    for field in Probe._fields:
        first, again = (getattr(probe, field) for probe in (case.first, case.again))
        expect_bits(f"{field} of a second call", again, first)


def vmap_is_a_loop(case: TaskCase, rtol: float = 1e-5) -> None:
    """Losses of two keys at once are those of one after the other."""
    expected = np.stack([case.first.losses[0], case.other.losses[0]])
    expect_close("the losses under vmap", case.together[0], expected, rtol=rtol)


def jit_is_eager(case: TaskCase, rtol: float = 1e-5) -> None:
    """The loss computed operation by operation is that of the compiled program."""
    probe = case.first
    batch = jax.tree.map(lambda leaf: leaf[0], probe.batches)
    arguments = jax.device_put((probe.params, probe.instance, batch))
    loss, _ = case.traced.task.loss(probe.k_loss, *arguments)
    expect_close("the loss without jit", loss, probe.losses[0], rtol=rtol)


def splits_are_disjoint(case: TracedTask) -> None:
    """Where there is a data set, but for TaskSet's language models: all theirs are one."""
    train, *others = (case.data[split] for split in SPLITS)
    if case.task.dataset == "none" or all(split is train for split in others):
        return
    seen: set[bytes] = set()
    for name, split in zip(SPLITS, (train, *others), strict=True):
        own = set(_examples(split))
        expect(not own & seen, f"{name} has {len(own & seen)} examples of other splits")
        seen |= own


def _examples(split: Any) -> Iterable[bytes]:
    """Every example as bytes."""
    if isinstance(split, Images):
        return (image.tobytes() for image in split.images)
    if isinstance(split, Texts):
        tokens, starts, lengths, _ = split
        ends = zip(starts, lengths, strict=True)
        return (tokens[start : start + length].tobytes() for start, length in ends)
    rows = zip(*map(np.asarray, jax.tree.leaves(split)), strict=True)
    return (b"".join(np.asarray(part).tobytes() for part in row) for row in rows)


TRACED_CHECKS = (
    shapes_and_types,
    batches_have_the_form_of_their_kind,
    the_config_is_json_and_says_everything,
    splits_are_disjoint,
)
"""Of a `TracedTask`."""

CHECKS = (
    inputs_are_in_their_range,
    initial_weights_are_finite,
    losses_are_finite_and_above_the_floor,
    the_constraint_is_idempotent,
    a_key_gives_the_same_bits,
    vmap_is_a_loop,
    jit_is_eager,
)
"""Of a `TaskCase`."""
