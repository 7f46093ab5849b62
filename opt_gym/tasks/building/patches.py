"""Images as sequences of patches."""

from typing import Any

from jaxtyping import Array, Float

from opt_gym.tasks.building import config_checks


def check_patch(where: str, value: Any, shape: tuple[int, int, int]) -> int:
    """`value` as pixels a side of a patch.

    Args:
        where: whose config it is, for errors.
        value: to be checked.
        shape: of an image, [h, w, c].

    Raises:
        ValueError: no whole number, or more than an image has.
    """
    most = min(shape[:2])
    usable = config_checks.is_int(value, 1, most)
    config_checks.check(where, "patch", value, usable, f"an integer, 1 ... {most}")
    return value


def num_patches(shape: tuple[int, int, int], patch: int) -> int:
    """How many patches of `patch` pixels a side an image of `shape` [h, w, c] has."""
    return (shape[0] // patch) * (shape[1] // patch)


def cut(images: Float[Array, "b h w c"], patch: int) -> Float[Array, "b n p"]:
    """The patches, row by row, each as one vector, channels varying fastest.

    What is left at the right and at the bottom is not looked at, as by a convolution without
    padding.

    Args:
        images: of any height and width that hold a patch.
        patch: pixels a side.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // patch, width // patch
    whole = images[:, : rows * patch, : columns * patch]
    split = whole.reshape(batch, rows, patch, columns, patch, channels)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, rows * columns, patch * patch * channels
    )
