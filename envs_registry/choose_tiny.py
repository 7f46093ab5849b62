"""How the lists of `taskset-tiny-v1` were chosen: `python -m envs_registry.choose_tiny DIR`.

Twins (`opt_gym.twins`) of the families that taskset-small trains on, from seeds in order, and
a reason for every one that is left out.
"""

import sys
from pathlib import Path

from envs_registry import names
from envs_registry.choose_tasks import TEST_FAMILIES
from envs_registry.choosing import Part, teaches_nothing, write_lists
from opt_gym.tasks.named import TINY_SUFFIX

FAMILIES = tuple(f for f in names.INFEASIBLE_SEEDS if f not in TEST_FAMILIES)
NAME = "taskset-tiny-v1"
PARTS = (
    Part(f"{NAME}/train", 120, FAMILIES, 500, TINY_SUFFIX),
    Part(f"{NAME}/development", 24, FAMILIES, 700, TINY_SUFFIX),
)


def is_older(title: str) -> bool:
    """Whether there was a list before these."""
    return not title.startswith((NAME, "modern"))


if __name__ == "__main__":
    write_lists(Path(sys.argv[1]), PARTS, is_older, teaches_nothing)
