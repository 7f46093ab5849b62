"""TaskSet's image augmentation as one jitted function of a key and a batch.

Every example draws its own crop, flips and colours. Nothing is clipped at the end.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


class Augmentation(NamedTuple):
    """The settings, named as in a task config.

    Attributes:
        crop_amount: pixels that a random crop removes from height and from width.
        flip_left_right, flip_up_down: flip with probability 1/2.
        do_color_aug: apply the four below, to images of three channels.
        brightness: b of an added U(-b, b).
        saturation: s of a factor U(1-s, 1+s) of HSV saturation, clipped to [0, 1].
        hue: h of a shift U(-h, h) of HSV hue, one turn being 1.
        contrast: c of a factor U(1-c, 1+c) about each channel's mean.
    """

    crop_amount: int
    flip_left_right: bool
    flip_up_down: bool
    do_color_aug: bool
    brightness: float
    saturation: float
    hue: float
    contrast: float


def check(where: str, chosen: Augmentation, shape: tuple[int, int, int]) -> None:
    """Raises a ValueError for a setting that images of this shape cannot take."""
    side = min(shape[:2])
    crop = chosen.crop_amount
    if not (type(crop) is int and 0 <= crop < side):
        raise ValueError(f"{where}: crop_amount must be 0 ... {side - 1}, got {crop!r}")
    for name in ("flip_left_right", "flip_up_down", "do_color_aug"):
        value = getattr(chosen, name)
        if not isinstance(value, bool):
            raise ValueError(f"{where}: {name} must be true or false, got {value!r}")
    highest = {"brightness": 1.0, "saturation": 1.0, "hue": 0.5, "contrast": 1.0}
    for name, high in highest.items():
        value = getattr(chosen, name)
        if type(value) not in (int, float) or not 0 <= value <= high:
            raise ValueError(f"{where}: {name} must be in [0, {high}], got {value!r}")


def augment(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], chosen: Augmentation
) -> Float[Array, "b h2 w2 c"]:
    """Augmented images: crop, flips, brightness, saturation, hue, contrast, in this order.

    Shapes: h2 = h - crop_amount, w2 = w - crop_amount: the input becomes smaller.

    Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
    """
    k_crop, k_left, k_up, k_color = jax.random.split(key, 4)
    if chosen.crop_amount:
        images = crop(k_crop, images, chosen.crop_amount)
    if chosen.flip_left_right:
        images = _flip(k_left, images, axis=2)
    if chosen.flip_up_down:
        images = _flip(k_up, images, axis=1)
    if chosen.do_color_aug and images.shape[3] == 3:
        images = _recolor(k_color, images, chosen)
    return images


def crop(
    key: PRNGKeyArray, images: Float[Array, "b h w c"], amount: int
) -> Float[Array, "b h2 w2 c"]:
    """Crops of `amount` pixels less each way, each example at a place of its own."""
    count, height, width, channels = images.shape
    size = (height - amount, width - amount, channels)
    offset = jax.random.randint(key, (count, 2), 0, amount + 1)

    def crop_one(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), size)

    return jax.vmap(crop_one)(images, offset)


def rgb_to_hsv(rgb: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Hue in [0, 1), saturation and value; saturation is 0 where no channel is positive."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = jnp.max(rgb, axis=-1)
    chroma = value - jnp.min(rgb, axis=-1)
    some = chroma > 0
    unit = jnp.where(some, chroma, 1.0)
    sector = jnp.where(
        value == red,
        (green - blue) / unit,
        jnp.where(
            value == green, 2.0 + (blue - red) / unit, 4.0 + (red - green) / unit
        ),
    )
    hue = jnp.where(some, (sector / 6.0) % 1.0, 0.0)
    bright = value > 0
    saturation = jnp.where(bright, chroma / jnp.where(bright, value, 1.0), 0.0)
    return jnp.stack([hue, saturation, value], axis=-1)


def hsv_to_rgb(hsv: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """The inverse of `rgb_to_hsv`; hue is taken modulo 1."""
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]

    def channel(sector: float) -> Array:
        place = (sector + 6.0 * hue) % 6.0
        ramp = jnp.clip(jnp.minimum(place, 4.0 - place), 0.0, 1.0)
        return value - value * saturation * ramp

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)


def _coins(key: PRNGKeyArray, count: int) -> Bool[Array, "b 1 1 1"]:
    return jax.random.bernoulli(key, 0.5, (count, 1, 1, 1))


def _flip(key: PRNGKeyArray, images: Array, axis: int) -> Array:
    return jnp.where(_coins(key, images.shape[0]), jnp.flip(images, axis), images)


def _recolor(key: PRNGKeyArray, images: Array, chosen: Augmentation) -> Array:
    draws = jax.random.uniform(key, (4, images.shape[0], 1, 1), minval=-1.0, maxval=1.0)
    images = images + chosen.brightness * draws[0][..., None]
    # One trip through HSV: after saturation is clipped, the hue's own trip there would be
    # the exact inverse of the way back.
    hue, saturation, value = jnp.moveaxis(rgb_to_hsv(images), -1, 0)
    factor = 1.0 + chosen.saturation * draws[1]
    saturation = jnp.clip(saturation * factor, 0.0, 1.0)
    hue = hue + chosen.hue * draws[2]
    images = hsv_to_rgb(jnp.stack([hue, saturation, value], axis=-1))
    mean = jnp.mean(images, axis=(1, 2), keepdims=True)
    return mean + (images - mean) * (1.0 + chosen.contrast * draws[3][..., None])
