"""One way to write maths for jax.numpy and torch: the namespace of an array.

Features, action maps and architectures ask an array for its namespace and use the array-API
names (`concat`, not `concatenate`), so that the same lines serve both ways out. What they
make anew they make `like` an array, on its device; all arithmetic is float32.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import array_api_compat
import jax


def namespace(array: Any) -> Any:
    """That of `array`: jax.numpy for JAX's and tracers, the compat one of torch for tensors."""
    return array_api_compat.array_namespace(array)


def is_torch(array: Any) -> bool:
    """Whether `array` is a tensor of torch; does not import torch."""
    return array_api_compat.is_torch_array(array)


_TRACED: ContextVar[bool] = ContextVar("traced", default=False)


@contextmanager
def traced() -> Iterator[None]:
    """Inside, what torch does is written down to be compiled, as in JAX."""
    token = _TRACED.set(True)
    try:
        yield
    finally:
        _TRACED.reset(token)


def is_eager(array: Any) -> bool:
    """Whether every operation on `array` is a call that pays for itself: torch's, not traced.

    There maths goes in few operations and in pieces that stay in cache; in a program loops
    are fused, and an array or a row of its own costs nothing.
    """
    return is_torch(array) and not _TRACED.get()


def is_readable(x: Any) -> bool:
    """Whether looking at `x`, a tensor of torch, costs nothing: it has numbers, on the CPU."""
    return is_eager(x) and x.device.type == "cpu" and not hasattr(x, "fake_mode")


def zeros(shape: tuple[int, ...], like: Any) -> Any:
    """Float32 zeros of `shape`, in the namespace of `like`."""
    xp = namespace(like)
    place = {"device": like.device} if is_torch(like) else {}
    return xp.zeros(shape, dtype=xp.float32, **place)


def zeros_over(num: int, like: Any) -> Any:
    """Float32 zeros [num, *shape]; in torch with the axes in memory as those of `like`."""
    if not is_torch(like):
        return zeros((num, *like.shape), like)
    order = sorted(range(like.ndim), key=lambda axis: -like.stride(axis))
    block = zeros((num, *(like.shape[axis] for axis in order)), like)
    return block.permute(0, *(1 + order.index(axis) for axis in range(like.ndim)))


def constant(values: float | Sequence[float], like: Any) -> Any:
    """`values` known to the program, float32, in the namespace of `like`: [] or [k]."""
    if is_torch(like):
        key = values if isinstance(values, float | int) else tuple(values)
        if hasattr(
            like, "fake_mode"
        ):  # a trial without numbers, of which none are kept
            return _torch_constant.__wrapped__(key, like.device)
        return _torch_constant(key, like.device)
    return namespace(like).asarray(values, dtype=namespace(like).float32)


def column(values: Sequence[float], like: Any) -> Any:
    """`values` along a leading axis, broadcastable over `like`: [k, 1, ..., 1]."""
    return over(constant(values, like), like)


def along_first(array: Any) -> Sequence[Any]:
    """`array` [k, ...] along its first axis, one after another; in torch in one call."""
    return array.unbind() if is_torch(array) else [array[i] for i in range(len(array))]


def over(values: Any, like: Any) -> Any:
    """`values`, an array [k], as [k, 1, ..., 1], broadcastable over `like`."""
    xp = namespace(values)
    return xp.reshape(values, (*values.shape, *(1,) * like.ndim))


def rsqrt(x: Any) -> Any:
    """1/√x, elementwise. XLA turns the quotient into its own rsqrt."""
    return x.rsqrt() if is_torch(x) else 1.0 / namespace(x).sqrt(x)


def mean_square(x: Any, axis: Any = None) -> Any:
    """Mean of the squares of an array `x` over `axis` (all axes by default)."""
    if is_torch(x) and axis != ():  # one pass, and no array of squares
        import torch

        norm = torch.linalg.vector_norm(x, dim=axis)
        return norm * norm * (norm.numel() / max(1, x.numel()))
    return namespace(x).mean(x * x, axis=axis)


def relu(x: Any) -> Any:
    """max(x, 0), elementwise."""
    return x.relu() if is_torch(x) else namespace(x).where(x > 0, x, 0.0)


def sign(x: Any) -> Any:
    """−1, 0 or 1, elementwise. The compat one of torch looks at `x` for NaN: none here is."""
    return x.sign() if is_torch(x) else namespace(x).sign(x)


def sigmoid(x: Any) -> Any:
    """1/(1 + e^−x), elementwise."""
    return x.sigmoid() if is_torch(x) else jax.nn.sigmoid(x)


def stop_gradient(x: Any) -> Any:
    """The array `x`, constant for whoever differentiates through the inner steps."""
    return x.detach() if is_torch(x) else jax.lax.stop_gradient(x)


@lru_cache(maxsize=256)
def _torch_constant(values: float | tuple[float, ...], device: Any) -> Any:
    # Made once: a copy to an accelerator at every step would wait for it.
    import torch

    return torch.tensor(values, dtype=torch.float32, device=device)
