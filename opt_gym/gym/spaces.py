"""A Box whose bounds take no memory.

`gymnasium.spaces.Box` stores four arrays of its full shape: 525 MB for the observations of
64 environments with 20,000 weights and 20 features. All our bounds are one number, so these
are views of one.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector.utils import batch_space

_VIEWS = ("low", "high", "bounded_below", "bounded_above")


class BroadcastBox(gym.spaces.Box):
    """A float32 Box with one lower and one upper bound for every entry.

    Equal to the `Box` of the same bounds, shape and type; `batch_space` (and with it
    `SyncVectorEnv`) batches it with this class.

    Args:
        low, high: the bounds, infinite ones allowed.
        shape: of an element; () is not allowed.
        seed: as for `Box`.
    """

    def __init__(
        self,
        low: float,
        high: float,
        shape: tuple[int, ...],
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(low, high, (1,) * len(shape), np.float32, seed)
        self._spread(tuple(int(size) for size in shape))

    def batched(self, num: int) -> "BroadcastBox":
        """The space of `num` elements along a new leading axis."""
        low, high = self._bounds()
        return BroadcastBox(low, high, (num, *self.shape), deepcopy(self.np_random))

    def contains(self, x: Any) -> bool:
        """Whether x is an element; a JAX array may be one."""
        return super().contains(np.asarray(x) if isinstance(x, jax.Array) else x)

    def __eq__(self, other: object, /) -> bool:
        if not isinstance(other, BroadcastBox):
            return super().__eq__(other)
        return (self.shape, self._bounds()) == (other.shape, other._bounds())

    def __getstate__(self) -> dict[str, Any]:
        # A view would be copied and pickled in full.
        corner = (0,) * len(self.shape)
        views = {name: getattr(self, name)[corner] for name in _VIEWS}
        return {**self.__dict__, **views}

    def __setstate__(
        self, state: Iterable[tuple[str, Any]] | Mapping[str, Any]
    ) -> None:
        super().__setstate__(state)
        self._spread(self.shape)

    def _bounds(self) -> tuple[float, float]:
        corner = (0,) * len(self.shape)
        return float(self.low[corner]), float(self.high[corner])

    def _spread(self, shape: tuple[int, ...]) -> None:
        for name in _VIEWS:
            setattr(self, name, np.broadcast_to(getattr(self, name), shape))
        self._shape = shape


@batch_space.register(BroadcastBox)
def _batch_broadcast_box(space: BroadcastBox, n: int = 1) -> BroadcastBox:
    return space.batched(n)
