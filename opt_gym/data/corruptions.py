"""Corrupted image inputs: what the objective "noisy" means.

A corruption has a name and a strength. Some of the pairs are for training; blur, occlusion
and the strongest of the others are held out, to ask whether an optimizer that was trained
for robustness finds weights that are robust to what it never met.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from opt_gym.checks import check_between
from opt_gym.plugins import unknown


class Corruption(NamedTuple):
    """One corruption: `name` of `FUNCTIONS` and its strength, whose unit is the name's."""

    name: str
    strength: float


def gaussian(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], strength: float
) -> Float[Array, "b h w c"]:
    """Independent normal noise of standard deviation `strength`, clipped to [0, 1].

    `key` draws it for every pixel and channel of `images`.
    """
    noise = jax.random.normal(key, images.shape, images.dtype)
    return jnp.clip(images + strength * noise, 0.0, 1.0)


def salt_and_pepper(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], strength: float
) -> Float[Array, "b h w c"]:
    """A share `strength` of the pixels becomes black or white, half of it each.

    `key` draws which of `images`; a pixel's channels go together.
    """
    draw = jax.random.uniform(key, (*images.shape[:3], 1))
    extreme = (draw < strength / 2).astype(images.dtype)
    return jnp.where(draw < strength, extreme, images)


def blur(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], strength: float
) -> Float[Array, "b h w c"]:
    """A normal blur of standard deviation `strength` pixels, renormalized at the edges.

    Over height and width of `images`; `key` is not used.
    """
    rows = _blur_matrix(images.shape[1], strength)
    columns = _blur_matrix(images.shape[2], strength)
    return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns)


def contrast(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], strength: float
) -> Float[Array, "b h w c"]:
    """A share `strength` of every pixel's distance from its image's mean is taken away.

    The mean is over all pixels and channels of one of `images`; `key` is not used.
    """
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return images + strength * (mean - images)


def occlusion(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], strength: float
) -> Float[Array, "b h w c"]:
    """A grey rectangle over `strength` of height and width, its place drawn per image.

    `key` draws the places; sides are whole pixels of `images`, at least one.
    """
    count, height, width, _ = images.shape
    sides = max(1, round(strength * height)), max(1, round(strength * width))
    hidden = [
        _interval(k, count, size, side)
        for k, size, side in zip(
            jax.random.split(key), (height, width), sides, strict=True
        )
    ]
    inside = hidden[0][:, :, None, None] & hidden[1][:, None, :, None]
    return jnp.where(inside, 0.5, images)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "gaussian": gaussian,
    "salt_and_pepper": salt_and_pepper,
    "blur": blur,
    "contrast": contrast,
    "occlusion": occlusion,
}
"""Name -> function of (key, images [b, h, w, c] in [0, 1], strength) giving such images."""

SHARES = ("salt_and_pepper", "contrast", "occlusion")
"""Those whose strength is a share, in (0, 1]; of the others it is a standard deviation."""

LARGEST_DEVIATION = 1e6

SETS: dict[str, tuple[Corruption, ...]] = {
    "training": (
        Corruption("gaussian", 0.05),
        Corruption("gaussian", 0.1),
        Corruption("gaussian", 0.2),
        Corruption("salt_and_pepper", 0.02),
        Corruption("salt_and_pepper", 0.05),
        Corruption("salt_and_pepper", 0.1),
        Corruption("contrast", 0.3),
        Corruption("contrast", 0.5),
        Corruption("contrast", 0.7),
    ),
    "held_out": (
        Corruption("gaussian", 0.4),
        Corruption("salt_and_pepper", 0.2),
        Corruption("contrast", 0.85),
        Corruption("blur", 0.7),
        Corruption("blur", 1.4),
        Corruption("occlusion", 0.25),
        Corruption("occlusion", 0.5),
    ),
}
"""Frozen: what the objective "noisy" draws from, and what is kept for tests of it."""


def corrupt(
    key: PRNGKeyArray,
    images: Float[Array, "b h w c"],
    chosen: str | tuple[Corruption, ...] = "training",
) -> Float[Array, "b h w c"]:
    """Images under one corruption of `chosen`, drawn anew for every batch.

    Args:
        key: says which corruption and its noise.
        images: float, in [0, 1].
        chosen: a name of `SETS`, or the corruptions themselves.

    Raises:
        ValueError: an unknown set or corruption.
    """
    chosen = check_corruption(chosen)
    branches = [partial(FUNCTIONS[c.name], strength=c.strength) for c in chosen]
    k_which, k_noise = jax.random.split(key)
    which = jax.random.randint(k_which, (), 0, len(branches))
    return jax.lax.switch(which, branches, k_noise, images)


def check_corruption(chosen: str | tuple[Corruption, ...]) -> tuple[Corruption, ...]:
    """The corruptions of a set's name, or those given: what `chosen` stands for.

    Raises:
        ValueError: an unknown set or corruption, or none at all; a strength that is not above
            0, or a share above 1.
    """
    if isinstance(chosen, str):
        if chosen not in SETS:
            raise ValueError(unknown("set of corruptions", chosen, list(SETS)))
        return SETS[chosen]
    is_several = isinstance(chosen, tuple | list) and len(chosen)
    if not is_several or not all(isinstance(c, Corruption) for c in chosen):
        raise ValueError(
            f"corruption must be a name or Corruption records, at least one, got {chosen!r}"
        )
    for corruption in chosen:
        if corruption.name not in FUNCTIONS:
            raise ValueError(unknown("corruption", corruption.name, list(FUNCTIONS)))
        most = 1.0 if corruption.name in SHARES else LARGEST_DEVIATION
        what = f"the strength of {corruption.name!r}"
        check_between(what, corruption.strength, 0.0, most, closed="right")
    return tuple(chosen)


def _blur_matrix(size: int, deviation: float) -> np.ndarray:
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.exp(-0.5 * (distance / deviation) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _interval(key: PRNGKeyArray, count: int, size: int, side: int) -> Array:
    """Where each of `count` intervals of length `side` lies in [0, size): a mask [b, n]."""
    start = jax.random.randint(key, (count, 1), 0, size - side + 1)
    place = jnp.arange(size)[None, :]
    return (place >= start) & (place < start + side)
