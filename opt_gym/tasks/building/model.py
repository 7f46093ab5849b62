"""The frame of every family that trains a network: tensors, noise and a loss make a task."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from opt_gym.checks import MOST
from opt_gym.plugins import Spec
from opt_gym.records import SPLITS, Batch, Config, Data, Task
from opt_gym.tasks.building.initializers import SONNET, Initializer, initialize


class Tensor(NamedTuple):
    """One tensor of φ: its shape, its role (see `Task.roles`) and how it is drawn.

    Attributes:
        shape: inputs and outputs are the last two axes of a kernel.
        role: "kernel", "bias", "embedding" or "norm".
        init: name and scale of its initializer.
    """

    shape: tuple[int, ...]
    role: str = "kernel"
    init: Initializer = SONNET


def bias(*shape: int) -> Tensor:
    """A bias of this `shape` that begins at zero: `bias(8)` is [8]."""
    return Tensor(shape, "bias", ("zeros", None))


def linear_tensors(sizes: Sequence[int], w_init: Initializer) -> tuple[Tensor, ...]:
    """w0, b0, w1, b1, ... of linear layers from sizes[0] to sizes[-1] units.

    Args:
        sizes: inputs, then the units of every layer.
        w_init: of every w [in, out]; b [out] begins at zero.
    """
    tensors: list[Tensor] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        tensors += [Tensor((fan_in, fan_out), "kernel", w_init), bias(fan_out)]
    return tuple(tensors)


Params = tuple[Array, ...]
Loss = tuple[Array, dict[str, Array]]


class Model(NamedTuple):
    """A network and its loss, as shapes and pure functions.

    Randomness is apart from the loss, so that a test can hand in the draws of another
    program.

    Attributes:
        tensors: φ's, in creation order.
        loss: (φ, ψ, noise, batch) -> (loss [], aux).
        noise: (key, batch) -> the random arrays of one evaluation, in the order of use.
        instance: key -> ψ.
        constrain: φ -> φ, after every update.
        floor: a number the loss does not go below.
    """

    tensors: tuple[Tensor, ...]
    loss: Callable[[Params, Any, tuple[Array, ...], Batch], Loss]
    noise: Callable[[PRNGKeyArray, Batch], tuple[Array, ...]] = lambda key, batch: ()
    instance: Callable[[PRNGKeyArray], Any] = lambda key: ()
    constrain: Callable[[Params], Params] = lambda params: params
    floor: float = 0.0


def no_data(origin: str) -> Data:
    """What a task without data loads, whatever the `origin`: nothing for each split."""
    return {split: np.zeros((0,), np.float32) for split in SPLITS}


class Source(NamedTuple):
    """Where batches come from.

    Attributes:
        name: the data set's, "none" for batches made of nothing but a key.
        batch_size: examples a batch.
        input_kind: as in `Task`.
        load: origin ("auto" | "embedded" | "tfds") -> Data.
        sample: (key, data, split) -> Batch.
    """

    name: str
    batch_size: int
    input_kind: str
    load: Callable[[str], Data]
    sample: Callable[[PRNGKeyArray, Data, str], Batch]


class Design(NamedTuple):
    """What a config says, checked and worked out: the step before a task.

    Every family of networks has `design(config) -> Design`, so that a parity check can hand
    its own noise to the model.

    Attributes:
        family: its name.
        config: with the keys it was given, "family" apart.
        model: what is trained.
        source: what on.
    """

    family: str
    config: Config
    model: Model
    source: Source


def family_spec(
    name: str,
    design: Callable[[Config], Design],
    sample_config: Callable[[int], Config],
    source: str,
) -> Spec:
    """The SPEC of a family whose task is what `build_task` makes of its design.

    Args:
        name: of the family.
        design: of a config; what is wrong with the config is its ValueError.
        sample_config: the config of a seed.
        source: the paper, code or page it follows.
    """

    def make(config: Config) -> Task:
        return build_task(design(config))

    make.__module__ = design.__module__  # a SPEC is known by the file it stands in
    return Spec("task", name, make, source, sample_config)


def build_task(design: Design) -> Task:
    """The task of training the model of a `design` on its source.

    Raises:
        ValueError: a tensor of 2^31 weights or more.
    """
    family, config, model, source = design
    shapes = [tensor.shape for tensor in model.tensors]
    for shape in shapes:
        if math.prod(shape) > MOST:
            raise ValueError(f"{family}: weights of shape {shape} are too many")
    initializers = [tensor.init for tensor in model.tensors]
    instance_like = jax.eval_shape(lambda: model.instance(jax.random.key(0)))
    has_instance = bool(jax.tree.leaves(instance_like))

    def init(key: PRNGKeyArray, data: Data) -> tuple[Params, Any]:
        # A key that nothing else uses is not split: most models have no ψ.
        k_params, k_instance = jax.random.split(key) if has_instance else (key, key)
        return initialize(k_params, initializers, shapes), model.instance(k_instance)

    def loss(key: PRNGKeyArray, params: Params, instance: Any, batch: Batch) -> Loss:
        return model.loss(params, instance, model.noise(key, batch), batch)

    return Task(
        config={"family": family, **config},
        batch_size=source.batch_size,
        dataset=source.name,
        input_kind=source.input_kind,
        loss_floor=model.floor,
        roles=tuple(tensor.role for tensor in model.tensors),
        load_data=source.load,
        init=init,
        sample_batch=lambda key, data, instance, split: source.sample(key, data, split),
        loss=loss,
        constrain=model.constrain,
    )
