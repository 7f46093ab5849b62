"""TaskSet's family of MLP classifiers."""

from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import samplers
from opt_gym.tasks.building.mlp_classifier import design_mlp
from opt_gym.tasks.building.model import Design, family_spec

FAMILY = "mlp"
SEED_OFFSET = 99123491


def sample_config(seed: int) -> Config:
    """TaskSet's published config `mlp_family_seed<seed>`: 1-6 layers of 16-128 units."""
    rng = RandomState(seed + SEED_OFFSET)
    depth = samplers.pick(rng, (1, 2, 3, 4, 5, 6))
    return {
        "layer_sizes": [samplers.log_int(rng, 16, 128) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": samplers.image_dataset(rng),
        "center_data": samplers.pick(rng, (True, False)),
    }


def design(config: Config) -> Design:
    """See `mlp_classifier.design_mlp`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    return design_mlp(FAMILY, config)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, mlp_family (google-research/task_set)",
)
