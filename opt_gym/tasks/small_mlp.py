"""Small MLPs on 8x8 digits: what demos, benchmarks and quick experiments train."""

from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import samplers
from opt_gym.tasks.building.mlp_classifier import design_mlp
from opt_gym.tasks.building.model import Design, family_spec

FAMILY = "small_mlp"


def sample_config(seed: int) -> Config:
    """The config of a seed: 1-3 hidden layers of 16-64 units, batches of 32-128.

    The schema is that of the family mlp; activation and initializer are drawn as TaskSet
    draws them.
    """
    rng = RandomState(seed)
    depth = samplers.pick(rng, (1, 2, 3))
    return {
        "layer_sizes": [samplers.log_int(rng, 16, 64) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": ["digits", {"bs": samplers.log_int(rng, 32, 128)}, None],
        "center_data": samplers.pick(rng, (True, False)),
    }


def design(config: Config) -> Design:
    """See `mlp_classifier.design_mlp`; the schema is that of the family mlp.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    return design_mlp(FAMILY, config)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; draws as in Metz et al. 2020, arXiv 2002.11887; data: UCI digits",
)
