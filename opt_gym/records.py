"""The records that everything is made of: NamedTuples of pure functions, and their data.

One word per idea, from the glossary: φ (`params`) are the weights being optimized, ψ
(`instance`) the arrays that pick one instance of a task, θ (`theta`) the weights of the
learned optimizer. No signature has a batch axis: write one, `vmap` or `lax.map` outside.
Keys come first, new states go out first, data is an argument (closed over it is program text).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from opt_gym import plugins

Config = dict[str, Any]
"""Plain JSON values that pick one task (shapes included) or one plug-in's settings."""

Data = dict[str, Any]
"""`{split: arrays}`; the splits are those of `SPLITS`. Empty arrays for synthetic tasks."""

SPLITS = ("train", "valid_inner", "valid_outer", "test")
"""inner: an optimizer may see it; outer: the outer-loss may; test: nobody but a report."""

OBJECTIVES = ("train", "valid", "noisy")


def _itself(record: Any, memo: Any = None) -> Any:
    """The copy of a record of functions: nothing of it changes."""
    return record


class Images(NamedTuple):
    """One split of a labelled image set, as it lies on the device.

    Shapes: images [n, height, width, channels] uint8; labels [n] int32.
    """

    images: Any
    labels: Any


class Texts(NamedTuple):
    """One split of a text set, as it lies on the device: all examples end to end.

    Shapes: tokens [total] uint8 (bytes) or uint16 (subwords), ids 1 and up; starts [n] int32,
    where each example begins; lengths [n] int32, >= 1; labels [n] int32.
    """

    tokens: Any
    starts: Any
    lengths: Any
    labels: Any


class Batch(NamedTuple):
    """What a loss sees of the data at one inner step.

    Shapes: inputs [batch, ...] (images: float32 in [0, 1], [batch, h, w, c]; text: int32
    [batch, time], 0 where there is no token); targets [batch, ...] or None where the inputs
    are their own target; mask [batch, time] float32, 1 where a position counts, or None
    where all do.
    """

    inputs: Any
    targets: Any
    mask: Any = None


class Task(NamedTuple):
    """One inner problem: a loss, its initial weights and its data, as pure functions.

    Attributes:
        config: the JSON values it was built from, `family` included.
        batch_size: examples a batch; 0 where there is no data.
        dataset: the data set's name as the config gives it, "none" for synthetic tasks.
        input_kind: "image" (inputs [batch, h, w, c] in [0, 1], can be corrupted), "text"
            (token ids [batch, time]), "array" (any other numbers) or "none".
        loss_floor: a number no loss goes below, for a provisional normalizer.
        roles: per tensor of φ in leaf order: "kernel", "bias", "embedding" or "norm".
        load_data: (source "auto" | "embedded" | "tfds") -> Data, numpy arrays on the host.
        init: (key, data) -> (φ, ψ). φ is a tuple or NamedTuple in creation order.
        sample_batch: (key, data, ψ, split) -> Batch, augmentation included.
        loss: (key, φ, ψ, batch) -> (loss [], aux), aux a dict of scalars ("accuracy" where
            it has a meaning).
        constrain: φ -> φ, applied after every update (the identity for most).
    """

    config: Config
    batch_size: int
    dataset: str
    input_kind: str
    loss_floor: float
    roles: tuple[str, ...]
    load_data: Callable[[str], Data]
    init: Callable[[PRNGKeyArray, Data], tuple[PyTree, PyTree]]
    sample_batch: Callable[[PRNGKeyArray, Data, PyTree, str], Any]
    loss: Callable[
        [PRNGKeyArray, PyTree, PyTree, Any], tuple[Float[Array, ""], dict[str, Any]]
    ]
    constrain: Callable[[PyTree], PyTree]

    __copy__ = __deepcopy__ = _itself


class Signal(NamedTuple):
    """All that an optimizer could be told at one inner step.

    Shapes: grad has the shapes of params; ages has a scalar a tensor of φ, in leaf order; the
    rest are scalars. `loss` holds a number where `has_loss`; `valid_loss`, the loss on
    `valid_inner`, where `has_valid`; `horizon` is 0 where it is not known. `t` counts updates
    done, `ages` those of each tensor: fewer where a user's training loop added it late or gave
    it no gradient. Clocks show t; unbiased averages are divided by ages.
    """

    params: PyTree
    grad: PyTree
    loss: Float[Array, ""]
    has_loss: Bool[Array, ""]
    valid_loss: Float[Array, ""]
    has_valid: Bool[Array, ""]
    t: Int[Array, ""]
    horizon: Int[Array, ""]
    ages: tuple[Int[Array, ""], ...]


class Memory(NamedTuple):
    """What features, a learned optimizer or an action map remember between two steps.

    Attributes:
        tensors: one pytree per tensor of φ, in leaf order, so that a tensor can be left out
            of a step, or come later.
        shared: one pytree for all of them.
    """

    tensors: tuple[PyTree, ...] = ()
    shared: PyTree = ()


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("sources", "scale", "numbers"),
    meta_fields=("rows", "matrix"),
)
@dataclass(frozen=True)
class TensorObservation:
    """What is seen of one tensor of φ.

    Its f features of every parameter are `blocks`, a tuple of [k, *shape] arrays (or
    broadcastable to it, such as [k, r, 1] for factored statistics). They are a function of
    a few arrays, so that a large tensor can be looked at piece by piece.

    Attributes:
        rows: sources -> blocks, elementwise along the tensor's axes; a function of a module,
            for it is part of the tree's structure.
        sources: arrays whose last axes are the tensor's, or 1.
        scale: [f], the factor of each feature (a reciprocal RMS, or ones), not multiplied
            in, so that a first layer can fold it into its weights.
        numbers: [q], one value for the whole tensor.
        matrix: sources -> [n, f], the same features with a row a parameter, where that costs
            no transposing: what a first layer wants where a minibatch of samples is coming.
            None where it would cost (all feature sets); a function of a module as `rows`.
    """

    rows: Callable[..., tuple[Any, ...]]
    sources: tuple[Any, ...]
    scale: Any
    numbers: Any
    matrix: Callable[..., Any] | None = None

    @property
    def blocks(self) -> tuple[Float[Array, "..."], ...]:
        """The raw features of every parameter."""
        return self.rows(*self.sources)


class Observation(NamedTuple):
    """What a learned optimizer looks at: every tensor, and numbers shared by all.

    Shapes: tensors in φ's leaf order; numbers [s] (time, loss averages...).
    """

    tensors: tuple[TensorObservation, ...]
    numbers: Float[Array, " s"]


class Features(NamedTuple):
    """How a signal becomes an observation; accumulators apart from derived values.

    Attributes:
        row_names: the f features of a parameter; () for features without rows.
        tensor_names, shared_names: the q numbers of a tensor, the s shared ones.
        needs: those of "loss", "valid_loss", "horizon" that it must have.
        init: φ -> f, the accumulators, a `Memory`.
        update: (f, signal) -> f.
        observe: (f, signal) -> Observation.
        name, config: what `plugins.build` was given, the defaults filled in.
        welcomes: those of "loss", "horizon" that it uses where they are told.
    """

    row_names: tuple[str, ...]
    tensor_names: tuple[str, ...]
    shared_names: tuple[str, ...]
    needs: tuple[str, ...]
    init: Callable[[PyTree], Memory]
    update: Callable[[Memory, Signal], Memory]
    observe: Callable[[Memory, Signal], Observation]
    name: str = ""
    config: Config = {}  # noqa: RUF012 (nobody writes into a record)
    welcomes: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, tuple]:
        """Pickled by name and settings."""
        return plugins.reduced("features", self)

    __copy__ = __deepcopy__ = _itself


class ActionMap(NamedTuple):
    """How an action becomes a weight update.

    An action is a tuple with one entry per control; an entry is shaped like φ at level
    "parameter", a tuple of scalars (one a tensor) at "tensor", a scalar at "global".

    Attributes:
        controls: the names of an action's entries.
        level: "parameter" | "tensor" | "global".
        init: φ -> a, a `Memory` (of momenta; empty for most).
        apply: (a, signal, action) -> (a, Δφ), Δφ to be added to φ.
        name, config: as those of `Features`.
    """

    controls: tuple[str, ...]
    level: str
    init: Callable[[PyTree], Memory]
    apply: Callable[[Memory, Signal, tuple], tuple[Memory, PyTree]]
    name: str = ""
    config: Config = {}  # noqa: RUF012

    def __reduce__(self) -> tuple[Any, tuple]:
        """Pickled by name and settings."""
        return plugins.reduced("action", self)

    __copy__ = __deepcopy__ = _itself


class LearnedOptimizer(NamedTuple):
    """An optimizer as a policy: a few weights θ applied to every parameter.

    It names its `features` and its `action_map`, so that it can be taken out whole. Memory
    that depends on θ lives in its carry; everything else is `features`.

    Attributes:
        needs: those of "loss", "valid_loss", "horizon" that it or its features must have.
        init_theta: key -> θ, a plain pytree of arrays.
        init: (θ, φ, roles) -> carry, a `Memory`; roles as those of a `Task`.
        step: (θ, carry, signal, observation) -> (carry, action).
        trained_horizon: the horizon θ was trained for, or None; the default of `to_optax`.
        name, config: as those of `Features`.
        evaluated: (θ, carry, φ) -> weights to measure and keep, as an average; None for φ.
        welcomes: as that of `Features`.
        takes_parts: whether all it is told of a tensor are sums that `maths.parts` adds up.
        trained_size: the weights of the largest task θ was trained on, or None.
    """

    features: Features
    action_map: ActionMap
    needs: tuple[str, ...]
    init_theta: Callable[[PRNGKeyArray], PyTree]
    init: Callable[[PyTree, PyTree, tuple[str, ...]], Memory]
    step: Callable[[PyTree, Memory, Signal, Observation], tuple[Memory, tuple]]
    trained_horizon: int | None = None
    name: str = ""
    config: Config = {}  # noqa: RUF012
    evaluated: Callable[[PyTree, Memory, PyTree], PyTree] | None = None
    welcomes: tuple[str, ...] = ()
    takes_parts: bool = False
    trained_size: int | None = None

    def __reduce__(self) -> tuple[Any, tuple]:
        """Pickled by name and settings."""
        names = ("trained_horizon", "trained_size")
        known = {name: getattr(self, name) for name in names}
        return plugins.reduced("architecture", self, **known)

    __copy__ = __deepcopy__ = _itself


class Normalizer(NamedTuple):
    """Where ℓ̃ is 1 (`initial`) and 0 (`best`) for one (task, objective).

    `source` says where they come from: "table" (shipped), "cache" (the user's own), "given"
    or "provisional" (initial loss and a lower bound, nothing trained).
    """

    initial: float
    best: float
    source: str


class EnvSettings(NamedTuple):
    """What an environment is beside its records: the keywords of `opt_gym.make`.

    Attributes:
        objective: whose loss counts: "train" (the batch that gave the gradient), "valid" (a
            `valid_outer` batch) or "noisy" (the corrupted train batch).
        corruption: for "noisy", a named set or corruptions (`opt_gym.data.corruptions`).
        data: the source of its data, as `Task.load_data` takes it.
        valid_every: every so many steps `Signal.valid_loss` is a fresh loss on `valid_inner`;
            0 means never.
        second_derivatives: whether backprop through an unroll sees how a gradient depends
            on φ.
        hide_loss, hide_horizon: the share of episodes in which the optimizer is not told it.
    """

    objective: str = "train"
    corruption: str | tuple[Any, ...] = "training"
    data: str = "auto"
    valid_every: int = 0
    second_derivatives: bool = False
    hide_loss: float = 0.0
    hide_horizon: float = 0.0


class EnvState(NamedTuple):
    """All that one episode remembers.

    Shapes: key [] (the episode's stream), t, horizon, loss, valid_loss, has_valid, dead
    scalars; params φ; instance ψ; features f; action a; grad shaped like φ, and held where
    a square of it is finite.
    """

    key: PRNGKeyArray
    t: Int[Array, ""]
    horizon: Int[Array, ""]
    params: PyTree
    instance: PyTree
    features: Memory
    action: Memory
    loss: Float[Array, ""]
    grad: PyTree
    valid_loss: Float[Array, ""]
    has_valid: Bool[Array, ""]
    dead: Bool[Array, ""]


class StepOut(NamedTuple):
    """What one inner step gave. All scalars.

    loss: of the objective, after the update; cost: ℓ̃ in [−2, 2], 2 once dead; reward:
    −cost/horizon, so that a return is minus the outer-loss; terminated: a loss or gradient
    became non-finite (stays true); truncated: the horizon is reached; aux: the task's.
    """

    loss: Float[Array, ""]
    cost: Float[Array, ""]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    aux: dict[str, Any]


class Env(NamedTuple):
    """The decision process of one task config, as pure functions.

    Attributes:
        config: all that identifies it, as JSON: the names and configs of its records, the
            task's config included, and its settings. Nothing is ever rebuilt from it.
        task, features, action_map, normalizer, settings: what it was built of.
        reset: (key, data, horizon) -> EnvState, (ℓ₀, g₀) of batch 0 evaluated.
        observe: EnvState -> (Signal, Observation); derives, evaluates nothing.
        step: (data, state, action) -> (EnvState, StepOut); one gradient, on the next batch.
    """

    config: Config
    task: Task
    features: Features
    action_map: ActionMap
    normalizer: Normalizer
    settings: EnvSettings
    reset: Callable[[PRNGKeyArray, Data, Int[Array, ""]], EnvState]
    observe: Callable[[EnvState], tuple[Signal, Observation]]
    step: Callable[[Data, EnvState, tuple], tuple[EnvState, StepOut]]

    __copy__ = __deepcopy__ = _itself

    @property
    def objective(self) -> str:
        """Whose loss counts."""
        return self.settings.objective


class UnrollState(NamedTuple):
    """An environment's state, `env`, and the `carry` of the learned optimizer driving it."""

    env: EnvState
    carry: Memory
