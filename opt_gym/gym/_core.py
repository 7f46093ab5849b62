"""The compiled programs that the single and the vector environment share.

A batch of N episodes is an `EnvState` with a leading axis [N]. Two programs run on it:
`reset` and `step`. What an episode tells beside its observation travels in one float32
array, `numbers` [N, k], because every array that leaves the device costs the same.

Rows of a batch never touch each other, and in `batching="map"` (and in every reset) a row
is computed inside a conditional of a loop. XLA does not fuse across a conditional, so the
program of a row is the same whatever N is, and N rows give the bits of N single
environments. Without it they do not: a reset's features differed in the last bit.

A single environment whose observation is above half a GB is not held to this. A loop would
carry and copy the row's old observation, and the first pass over 4 GB of new memory, which
30 million weights fill, takes seconds.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from opt_gym import factory, normalize, plugins
from opt_gym.data import catalog
from opt_gym.gym import _fork
from opt_gym.gym._settings import OptEnvSettings
from opt_gym.gym.flat import acted, layout_of, paid, shown
from opt_gym.numerics import KEY_IMPLEMENTATION, with_fixed_numerics
from opt_gym.records import Data, Env, EnvSettings, EnvState, StepOut
from opt_gym.runtime import strategy

OUTCOME = ("reward", "terminated", "truncated")
"""The first columns of `numbers`; those of `info` follow."""

RESET_INFO = ("train_loss", "inner_step", "diverged")
STEP_INFO = (*RESET_INFO, "loss", "cost")

_MAX_KEPT = 32  # two entries a core
_HUGE = 2**29
_kept: "OrderedDict[Any, EnvCore]" = OrderedDict()


class Rows(NamedTuple):
    """A batch of episodes after a program.

    Shapes: state with a leading axis [N], its key as raw uint32 [N, 2]; observation
    [N, ...]; numbers [N, k] float32, columns `EnvCore.columns`.
    """

    state: EnvState
    observation: Float[Array, "n ..."]
    numbers: Float[Array, "n k"]


class EnvCore:
    """One config and what was compiled for it.

    Attributes:
        env: the functional environment.
        data: its data, on the device.
        layout: whose row is whose.
        columns: the names of `numbers`.
        dataset: which data serve, in words.
        title: the task's name, for pictures.
        unpack: `numbers` -> {column: array [N]} on the device, flags and counts as such.
        unpack_first: the same of row 0, without an axis.
    """

    @with_fixed_numerics
    def __init__(self, settings: OptEnvSettings) -> None:
        self.env = _functional(settings)
        self.data = factory.load_data(self.env)
        self.dataset = _dataset(self.env, settings.data)
        self.title = _title(self.env, settings)
        self._final = settings.reward == "final"
        self.layout, aux = layout_of(self.env, self.data)
        self.columns = (*OUTCOME, *STEP_INFO, *sorted(aux))
        self.unpack = with_fixed_numerics(jax.jit(self._unpack))
        self.unpack_first = with_fixed_numerics(
            jax.jit(lambda numbers: jax.tree.map(lambda x: x[0], self._unpack(numbers)))
        )

        def compiled(function: Callable[..., Any], **donated: Any) -> Any:
            options = strategy.compiler_options()
            return with_fixed_numerics(
                jax.jit(function, compiler_options=options, **donated)
            )

        self._begin = compiled(self._begin_row)
        self._reset = compiled(self._reset_batch, donate_argnums=0)
        self._step = {
            "map": compiled(self._step_mapped, donate_argnums=0),
            "vmap": compiled(self._step_batched, donate_argnums=0),
        }

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of an observation and of an action."""
        return self.layout.observation_shape, self.layout.action_shape

    @with_fixed_numerics
    def empty(self, num: int) -> Rows:
        """Rows of zeros, for the first reset to fill."""
        # From the host: jnp.zeros compiles a program for every shape, 1 s for 16 tensors.
        return jax.device_put(
            jax.tree.map(lambda x: np.zeros((num, *x.shape), x.dtype), self._one)
        )

    @cached_property
    @with_fixed_numerics
    def _one(self) -> Rows:
        """The shapes of one row."""
        key = jax.ShapeDtypeStruct((2,), jnp.uint32)
        horizon = jax.ShapeDtypeStruct((), jnp.int32)
        return jax.eval_shape(self._reset_row, key, self.data, horizon)

    @property
    def is_huge(self) -> bool:
        """Whether an observation has more than `_HUGE` bytes: see `begin`."""
        return 4 * math.prod(self.layout.observation_shape) > _HUGE

    def begin(self, key: UInt32[np.ndarray, "2"], horizon: int) -> Rows:
        """A new episode in the only row of an environment, where it is huge.

        It needs no earlier rows. `reset` gives the same numbers up to their last bits.
        """
        return self._begin(key, self.data, np.int32(horizon))

    def reset(
        self,
        rows: Rows,
        keys: UInt32[np.ndarray, "n 2"],
        which: Bool[Any, " n"],
        horizon: int,
    ) -> Rows:
        """Begins a new episode in the rows `which`; the others stay as they are.

        The buffers of `rows.state` are reused.
        """
        state, *shown = rows
        return self._reset(state, shown, self.data, keys, which, np.int32(horizon))

    def step(
        self,
        state: EnvState,
        actions: Float[Any, "n ..."],
        which: Bool[Any, " n"],
        scale: Any,
        batching: str,
    ) -> Rows:
        """One inner step. The buffers of `state` are reused.

        Rows that are not in `which` have no meaning afterwards but to be reset.
        """
        return self._step[batching](state, self.data, actions, which, scale)

    def _unpack(self, numbers: Float[Array, "n k"]) -> dict[str, Array]:
        return {
            name: numbers[:, i].astype(_TYPES.get(name, jnp.float32))
            for i, name in enumerate(self.columns)
        }

    def _reset_row(
        self, key: UInt32[Array, "2"], data: Data, horizon: Int[Array, ""]
    ) -> Rows:
        state = self.env.reset(
            jax.random.wrap_key_data(key, impl=KEY_IMPLEMENTATION), data, horizon
        )
        return self._row(state, {})

    def _step_row(
        self,
        state: EnvState,
        action: Float[Array, "..."],
        data: Data,
        scale: Float[Array, ""],
    ) -> Rows:
        key = jax.random.wrap_key_data(state.key, impl=KEY_IMPLEMENTATION)
        state = state._replace(key=key)
        state, out = acted(self.env, self.layout, data, state, action, scale)
        outcome = {
            "reward": self._reward(state, out),
            "terminated": out.terminated,
            "truncated": out.truncated,
            "loss": out.loss,
            "cost": out.cost,
            **out.aux,
        }
        return self._row(state, outcome)

    def _reward(self, state: EnvState, out: StepOut) -> Float[Array, ""]:
        if self._final:
            return jnp.where(out.terminated | out.truncated, -out.cost, 0.0)
        return paid(state, out)

    def _row(self, state: EnvState, outcome: dict[str, Any]) -> Rows:
        array = shown(self.env, self.layout, state)
        known = {
            "train_loss": state.loss,
            "inner_step": state.t,
            "diverged": state.dead,
            **outcome,
        }
        zero = jnp.zeros(())
        numbers = [
            jnp.asarray(known.get(name, zero), jnp.float32) for name in self.columns
        ]
        return Rows(
            state._replace(key=jax.random.key_data(state.key)),
            array,
            jnp.stack(numbers),
        )

    def _begin_row(self, key: Array, data: Data, horizon: Array) -> Rows:
        return _batch_of_one(self._reset_row(key, data, horizon))

    def _reset_batch(
        self,
        state: EnvState,
        shown: list[Array],
        data: Data,
        keys: Array,
        which: Array,
        horizon: Array,
    ) -> Rows:
        return _map_rows(
            lambda row, key: self._reset_row(key, data, horizon),
            which,
            Rows(state, *shown),
            keys,
        )

    def _step_mapped(
        self, state: EnvState, data: Data, actions: Array, which: Array, scale: Array
    ) -> Rows:
        num = actions.shape[0]
        if num == 1 and self.is_huge:
            only = jax.tree.map(lambda x: x[0], state)
            return _batch_of_one(self._step_row(only, actions[0], data, scale))
        shown = (
            jnp.zeros((num, *self.layout.observation_shape)),
            jnp.zeros((num, len(self.columns))),
        )
        return _map_rows(
            lambda row, action: self._step_row(row.state, action, data, scale),
            which,
            Rows(state, *shown),
            actions,
        )

    def _step_batched(
        self, state: EnvState, data: Data, actions: Array, which: Array, scale: Array
    ) -> Rows:
        del which  # a vmapped conditional would compute every row all the same
        return jax.vmap(lambda s, a: self._step_row(s, a, data, scale))(state, actions)


_TYPES = {"terminated": bool, "truncated": bool, "inner_step": jnp.int32}


def core(settings: OptEnvSettings) -> EnvCore:
    """The core of these settings; the last few are kept, with their programs.

    Raises:
        ValueError: settings that cannot be.
        RuntimeError: it is not kept, in a process forked while JAX ran.
    """
    key = _cache_key(settings)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    _fork.check_usable()
    made = EnvCore(settings)
    _kept[key] = made
    # Also by the normalizer that was looked up, with which it is unpickled.
    _kept[_cache_key(settings._replace(normalizer=made.env.normalizer))] = made
    while len(_kept) > _MAX_KEPT:
        _kept.popitem(last=False)
    return made


def draw_key(generator: np.random.Generator) -> UInt32[np.ndarray, "2"]:
    """The key of an episode."""
    return generator.integers(0, 2**32, size=2, dtype=np.uint32)


def action_scale(settings: OptEnvSettings) -> np.float32:
    """What actions are multiplied by."""
    return np.float32(settings.action_scale if settings.action == "update" else 1.0)


def _map_rows(
    fn: Callable[[Rows, Any], Rows], which: Array, rows: Rows, mapped: Any
) -> Rows:
    """Fn of (row i, mapped[i]) in the rows `which`; the others stay. See the module."""

    def body(i: Int[Array, ""], rows: Rows) -> Rows:
        row, argument = (
            jax.tree.map(
                lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree
            )
            for tree in (rows, mapped)
        )
        row = jax.lax.cond(which[i], fn, lambda row, _: row, row, argument)
        return jax.tree.map(
            lambda x, new: jax.lax.dynamic_update_index_in_dim(x, new, i, 0), rows, row
        )

    return jax.lax.fori_loop(0, which.shape[0], body, rows)


def _batch_of_one(row: Rows) -> Rows:
    return jax.tree.map(lambda x: x[None], row)


def _functional(settings: OptEnvSettings) -> Env:
    action = settings.action
    if action == "hyperparameters":
        config = {"level": settings.level, "controls": settings.controls}
        action = plugins.build("action", action, config)
    features = settings.features
    if settings.level == "global" and features == "mlp":
        features = "summary"
    asked = EnvSettings(settings.objective, settings.corruption, settings.data)
    task, normalizer = settings.task, settings.normalizer
    return factory.make_env(
        task, features, action, asked, normalizer, settings.task_seed
    )


def _dataset(env: Env, source: str) -> str:
    name = env.task.dataset
    if catalog.is_known(name):
        return catalog.describe(name, source)
    return "none (synthetic)" if name == "none" else name


def _title(env: Env, settings: OptEnvSettings) -> str:
    if isinstance(settings.task, str):
        name = settings.task
        seed = "" if settings.task_seed is None else f" {settings.task_seed}"
        return name + seed
    return str(env.task.config.get("family", "task"))


def _cache_key(settings: OptEnvSettings) -> Any:
    compiled = settings._replace(
        horizon=1, action_scale=1.0, output="numpy", render_mode=None
    )
    # Records of functions are told apart by identity: the cache holds what they made.
    words = json.dumps(compiled, sort_keys=True, default=lambda record: id(record))
    if settings.normalizer is not None:
        return words
    # Losses are normalized by what the user measured, which may change meanwhile.
    table = normalize.user_table()
    return words, str(table), table.stat().st_mtime_ns if table.exists() else 0
