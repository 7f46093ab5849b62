"""Damage, drawn at random."""

import numpy as np


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """A bit flipped, some bytes left out, some put in, or the end cut off."""
    if not content:
        return content
    damaged = bytearray(content)
    place, how = int(random.integers(len(damaged))), int(random.integers(4))
    if how == 0:
        damaged[place] ^= 1 << int(random.integers(8))
    elif how == 1:
        del damaged[place : place + int(random.integers(1, 9))]
    elif how == 2:
        damaged[place:place] = bytes(int(random.integers(1, 9)))
    else:
        del damaged[place:]
    return bytes(damaged)
