"""Frozen lists of tasks: explicit, never discovered, and chosen before any result was seen.

A name here is what `opt_gym.make` takes. The three `small_mlp` lists are disjoint seeds of
that family (new shapes, activations, initializers, batch sizes; the data are the same
digits): an outer-trainer trains on the first, recipes are chosen on the second, and the third
is looked at once. A seed would be left out only if its initial loss were not finite, or if
none of Adam's 14 learning rates lowered it; of these 48 none had to be.
"""


def _small_mlp(seeds: range) -> tuple[str, ...]:
    return tuple(f"small_mlp_family_seed{seed}" for seed in seeds)


SMALL_MLP_TRAIN = _small_mlp(range(24))
SMALL_MLP_DEVELOPMENT = _small_mlp(range(100, 112))
SMALL_MLP_HELD_OUT = _small_mlp(range(200, 212))

BENCHMARK_SETS = {
    "small_mlp/train": SMALL_MLP_TRAIN,
    "small_mlp/development": SMALL_MLP_DEVELOPMENT,
    "small_mlp/held_out": SMALL_MLP_HELD_OUT,
}
"""Every list by its name, which the command line takes too."""
