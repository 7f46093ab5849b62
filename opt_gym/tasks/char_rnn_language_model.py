"""TaskSet's family of recurrent language models on bytes."""

from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import samplers, text_sources
from opt_gym.tasks.building.model import Design, family_spec

FAMILY = "char_rnn_language_model"
NUM_VALID = 3000


def sample_config(seed: int) -> Config:
    """TaskSet's published config `char_rnn_language_model_family_seed<seed>`."""
    rng = RandomState(seed)
    return {
        "embed_dim": samplers.log_int(rng, 8, 128),
        "w_init": samplers.initializer(rng),
        "vocab_size": _vocab_size(rng),
        "core": samplers.core(rng),
        "trainable_init": samplers.pick(rng, (True, False)),
        "dataset": samplers.language_dataset(rng, "bytes", 160),
    }


def design(config: Config) -> Design:
    """See `text_sources.design_language_model`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    return text_sources.design_language_model(FAMILY, config, NUM_VALID)


def _vocab_size(rng: RandomState) -> int:
    return 256 if samplers.coin(rng, 0.8) else samplers.log_int(rng, 100, 256)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, char_rnn_language_model_family",
)
