"""Sizes as people write them: `10M`, `4096`."""

_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9}


def number_of(scale: str) -> int:
    """What "10M" or "4096" stands for.

    Raises:
        ValueError: no whole number above 0, with nothing or k, M or G behind it.
    """
    digits = scale.rstrip("kMG")
    if not digits.isdecimal() or int(digits) == 0 or len(scale) > len(digits) + 1:
        raise ValueError(f"a scale is a number such as 10M or 4096, got {scale!r}")
    return int(digits) * _FACTORS.get(scale[len(digits) :], 1)
