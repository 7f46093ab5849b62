"""How many unrolls run on what there is: one helper holds the strategy.

On CPU: one JAX device per core, `lax.map` on each (XLA spreads small kernels over threads
badly: 2.3 to 3 times the better of `vmap` and `map` on one device). On accelerators: `vmap`
on each device. With several processes (`jax.distributed.initialize`, before anything else) the
devices of all of them share the unrolls; what is not mapped, every process computes for itself.
"""

import contextlib
import ctypes
import gc
import weakref
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from opt_gym.runtime import compiled_programs
from opt_gym.runtime.cores import usable_cores
from opt_gym.runtime.files import cache_folder
from opt_gym.runtime.key_arrays import is_key

_AXIS = "unrolls"

_LARGE = 1 << 16
"""Bytes of an array whose copies on other devices are worth keeping."""

_placed: dict[tuple[int, NamedSharding], Any] = {}
"""These copies, by the array's id and where they lie; see `_placed_once`."""

_CPU_OPTIONS = {"xla_backend_optimization_level": 1}
"""Of XLA's compiler. Level 1 compiles a window of the optimizer `nominal` in 3.4 instead of
4.4 core-seconds and runs it as fast (20.1 against 23.3 ms for 200 steps); level 0 is 5 times
slower."""


def use_all_cores(num_devices: int | None = None) -> int:
    """Gives JAX one CPU device per core; entry points call this first.

    Where JAX already runs it changes nothing. Returns the number of devices there are.

    Args:
        num_devices: instead of the number of cores this process may use.
    """
    cores = num_devices or len(usable_cores())
    with contextlib.suppress(RuntimeError):  # raised where the backend has started
        jax.config.update("jax_num_cpu_devices", cores)
    return jax.device_count()


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX was told otherwise."""
    if jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return
    folder = cache_folder() / "compiled"
    compiled_programs.look_after(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))


def compiler_options() -> dict[str, Any] | None:
    """What programs of one device are compiled with, for `jax.jit`."""
    return _options(jax.devices())


def devices_for(num: int) -> list[Any]:
    """As many devices as divide `num` evenly."""
    devices = jax.devices()
    count = max(k for k in range(1, len(devices) + 1) if num % k == 0)
    return devices[:count]


def on_one_device(fn: Callable[[PyTree], PyTree]) -> Callable[[PyTree], PyTree]:
    """`fn` over a leading axis inside a program: `lax.map` on CPU, `vmap` elsewhere."""
    if jax.devices()[0].platform != "cpu":
        return jax.vmap(fn)
    return lambda mapped: jax.lax.map(fn, mapped)


def map_unrolls(
    fn: Callable[..., PyTree], num: int, donate: int = 0
) -> Callable[..., PyTree]:
    """A jitted `mapped, shared -> outputs` that runs `fn(one, shared)` for each of `num`.

    Args:
        fn: one element of `mapped` (leading axis [num] removed) and `shared` -> a pytree.
        num: the leading axis of `mapped` and of the outputs.
        donate: 1 if the buffers of `mapped` may be reused for the outputs.

    Arrays handed in are placed: `mapped` cut over the devices, `shared` on each of them.
    """

    def body(mapped: PyTree, shared: PyTree) -> PyTree:
        return on_one_device(lambda element: fn(element, shared))(mapped)

    return map_parts(body, num, donate)


def map_parts(
    body: Callable[..., PyTree], num: int, donate: int = 0
) -> Callable[..., PyTree]:
    """A jitted `mapped, shared -> outputs`, `body` on every device.

    Args:
        body: a device's part of `mapped` (leading axis [num / devices]) and `shared` -> its
            part of the outputs.
        num, donate: as those of `map_unrolls`, and so are arrays placed.
    """
    return _over_devices(body, num, donate, PartitionSpec(_AXIS))


def map_and_share(
    body: Callable[..., tuple[PyTree, PyTree]], num: int, donate: int = 0
) -> Callable[..., tuple[PyTree, PyTree]]:
    """A jitted `mapped, shared -> (mapped outputs, shared outputs)`, `body` on every device.

    Args:
        body: a device's part of `mapped` (leading axis [num / devices]) and `shared` -> the
            outputs; the shared ones must come out equal on every device, which
            `mean_over_devices` brings about.
        num, donate: as those of `map_unrolls`, and so are arrays placed.
    """
    return _over_devices(body, num, donate, (PartitionSpec(_AXIS), PartitionSpec()))


def mean_over_devices(tree: PyTree, num: int) -> PyTree:
    """Inside `map_and_share(..., num)`: the mean of what every device has there."""
    return tree if len(devices_for(num)) == 1 else jax.lax.pmean(tree, _AXIS)


def device_number(num: int) -> Any:
    """Inside `map_and_share(..., num)`: which device this is, from 0."""
    return 0 if len(devices_for(num)) == 1 else jax.lax.axis_index(_AXIS)


def _over_devices(
    body: Callable[..., PyTree], num: int, donate: int, outputs: Any
) -> Callable[..., PyTree]:
    devices = devices_for(num)
    donated = (0,) if donate else ()
    if len(devices) == 1:
        return jax.jit(body, donate_argnums=donated, compiler_options=_options(devices))
    mesh = _mesh(tuple(devices))
    cut, whole = PartitionSpec(_AXIS), PartitionSpec()
    sharded = jax.shard_map(
        body, mesh=mesh, in_specs=(cut, whole), out_specs=outputs, check_vma=False
    )
    run = jax.jit(sharded, donate_argnums=donated, compiler_options=_options(devices))
    cut_sharding, whole_sharding = NamedSharding(mesh, cut), NamedSharding(mesh, whole)

    def call(mapped: PyTree, shared: PyTree) -> PyTree:
        shared = jax.tree.map(lambda leaf: _placed_once(leaf, whole_sharding), shared)
        return run(_place(mapped, cut_sharding), _place(shared, whole_sharding))

    return call


def gather(tree: PyTree) -> PyTree:
    """Brings a pytree onto the first device, so that sums keep one order.

    With several processes (`jax.distributed`), onto the first device of each of them.
    """
    if jax.process_count() > 1:
        tree = jax.tree.map(_local, tree)
    return jax.device_put(tree, jax.local_devices()[0])


def as_first_process(*decisions: bool) -> list[bool]:
    """What the first process decided, for all of them (`jax.distributed`)."""
    if jax.process_count() == 1:
        return list(decisions)
    from jax.experimental import multihost_utils

    decided = multihost_utils.broadcast_one_to_all(np.array(decisions))
    return [bool(decision) for decision in decided]


def is_crowded() -> bool:
    """Whether this process has mapped four fifths of the pieces of memory it may (Linux).

    XLA's CPU compiler takes hundreds of them a program, and crashes when there are no more:
    who keeps compiled programs should then give one up.
    """
    try:
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        with Path("/proc/self/maps").open("rb") as maps:
            return 5 * sum(1 for _ in maps) > 4 * limit
    except (OSError, ValueError):
        return False


def trim_memory() -> None:
    """Gives memory that compilers left behind back to the system (glibc; else nothing).

    Compiling a window leaves 300 MB of freed pieces in the allocator's arenas; over the
    programs of the demo that is the difference between 2.2 GiB and its limit of 2.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """device_put (free for what already lies there), also over several processes.

    Every process then has the same arrays and gives its devices their parts.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        if is_key(leaf):
            return jax.jit(jax.random.wrap_key_data)(place(jax.random.key_data(leaf)))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda i: host[i])

    return jax.tree.map(place, tree)


def _placed_once(leaf: Any, sharding: NamedSharding) -> Any:
    """A large array on every device; the copies are kept for as long as the array lives.

    Data comes back call after call: 47 MB took 35 ms of every window.
    """
    large = isinstance(leaf, jax.Array) and not is_key(leaf) and leaf.nbytes > _LARGE
    if not large or leaf.sharding == sharding or not sharding.is_fully_addressable:
        return leaf
    name = id(leaf), sharding
    if name not in _placed:
        _placed[name] = jax.device_put(leaf, sharding)
        weakref.finalize(leaf, _placed.pop, name, None)
    return _placed[name]


def _local(leaf: Any) -> Any:
    """All of an array that lies on the devices of several processes, in this one."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if is_key(leaf):
        return jax.random.wrap_key_data(_local(jax.jit(jax.random.key_data)(leaf)))
    whole = NamedSharding(leaf.sharding.mesh, PartitionSpec())  # type: ignore[attr-defined]
    return jax.jit(lambda x: x, out_shardings=whole)(leaf).addressable_data(0)


def _options(devices: list[Any]) -> dict[str, Any] | None:
    return _CPU_OPTIONS if devices[0].platform == "cpu" else None


@lru_cache(maxsize=8)
def _mesh(devices: tuple[Any, ...]) -> Mesh:
    return Mesh(np.array(devices), (_AXIS,))
