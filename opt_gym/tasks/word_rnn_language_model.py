"""TaskSet's family of recurrent language models on subwords."""

from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import samplers, text_sources
from opt_gym.tasks.building.model import Design, family_spec

FAMILY = "word_rnn_language_model"
NUM_VALID = 10000


def sample_config(seed: int) -> Config:
    """TaskSet's published config `word_rnn_language_model_family_seed<seed>`."""
    rng = RandomState(seed)
    return {
        "embed_dim": samplers.log_int(rng, 8, 128),
        "w_init": samplers.initializer(rng),
        "vocab_size": samplers.log_int(rng, 1000, 30000),
        "core": samplers.core(rng),
        "trainable_init": samplers.pick(rng, (True, False)),
        "dataset": samplers.language_dataset(rng, "subwords8k", 256),
    }


def design(config: Config) -> Design:
    """See `text_sources.design_language_model`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    return text_sources.design_language_model(FAMILY, config, NUM_VALID)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, word_rnn_language_model_family",
)
