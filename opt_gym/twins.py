"""The tiny twin of a task: its own config with the data made small.

    opt_gym.make("mlp_family_seed3_tiny")     # the twin of "mlp_family_seed3"
    twins.twin(config)                        # of any config

A twin keeps the activation, the initializers, the depth, the loss and the batch size, so that
what makes a task hard stays; a step of it costs a hundredth.

    images        8x8, at most 10 classes; crops and patches in proportion; a VALID
                  convolution that would meet a map smaller than 3x3 becomes a SAME one
    text          at most 512 ids, by frequency; windows an eighth as long, of 4 to 32 tokens
    widths        of all layers halved until there are at most 60,000 weights

Tasks without data keep their config, and so does fine-tuning, whose weights are those that
were trained. What has too many weights even so has no twin.
"""

from typing import Any

from opt_gym import env, plugins
from opt_gym.data.catalog import IMAGE_SETS, TEXT_SETS
from opt_gym.data.shrinking import PIECES
from opt_gym.records import Config
from opt_gym.tasks.building.convnets import FIELD
from opt_gym.tasks.building.convolutions import conv_output

SIZE = 8
MOST_CLASSES = 10
MOST_WEIGHTS = 60_000
SHORTER = 8
FEWEST_TOKENS, MOST_TOKENS = 4, 32
"""Of a window, which is so many times shorter than the task's."""

_WIDTHS = (
    "layer_sizes",
    "hidden_units",
    "enc_hidden_units",
    "dec_hidden_units",
    "fc_hidden_units",
    "latent_size",
    "embed_dim",
    "core_dim",
    "width",
    "token_width",
    "channel_width",
)
"""Keys of configs that say how many units a layer has, or layers have."""

_MOST_HALVINGS = 10


def twin(config: Config) -> Config:
    """The config of a task's tiny twin; a twin is its own.

    Raises:
        ValueError: there is none: the config is not feasible, or has too many weights
            however narrow its layers are.
    """
    small = _with_small_data(config)
    for halvings in range(_MOST_HALVINGS):
        narrow = _narrowed(small, halvings)
        count = num_weights(narrow)
        if count <= MOST_WEIGHTS:
            return narrow
    raise ValueError(
        f"{config['family']}: no tiny twin: {count:,} weights with the narrowest layers, "
        f"more than {MOST_WEIGHTS:,}"
    )


def num_weights(config: Config) -> int:
    """Of a config's φ.

    Raises:
        ValueError: the config is not feasible.
    """
    # Shapes do not depend on the data.
    return env.num_weights(plugins.spec("task", config["family"]).make(config), {})


def _with_small_data(config: Config) -> Config:
    if "dataset" not in config or "base" in config:
        return config
    name, settings, *_ = config["dataset"]
    if name in IMAGE_SETS:
        return _with_small_images(config)
    # TaskSet has a name that is none of a text set's.
    if name in TEXT_SETS or "patch_length" in settings:
        return _with_small_texts(config)
    return config


def _with_small_images(config: Config) -> Config:
    name, settings, augmentation = config["dataset"]
    entry = IMAGE_SETS[name]
    height = settings.get("size", entry.shape[0])
    settings = {**settings, "size": min(SIZE, height)}
    if entry.num_classes > MOST_CLASSES:
        ways, seed = settings.get("ways", (MOST_CLASSES, 0))
        settings["ways"] = [min(ways, MOST_CLASSES), seed]
    side = settings["size"]
    if augmentation is not None:
        crop = round(augmentation["crop_amount"] * side / height)
        augmentation = {**augmentation, "crop_amount": crop}
        side -= crop
    small = {**config, "dataset": [name, settings, augmentation]}
    if "patch" in config:
        small["patch"] = max(1, round(config["patch"] * side / height))
    if "padding" in config:
        small["padding"] = _feasible_padding(config, side)
    return small


def _feasible_padding(config: Config, side: int) -> list[str]:
    size, padding = (side, side), []
    for (rows, columns), pad in zip(config["strides"], config["padding"], strict=True):
        padding.append("SAME" if min(size) < FIELD[0] else pad)
        size = conv_output(size, FIELD, (rows, columns), padding[-1])
    return padding


def _with_small_texts(config: Config) -> Config:
    name, settings = config["dataset"]
    most = PIECES * SIZE
    length = settings["patch_length"]
    if settings.get("size") != SIZE:
        length = min(max(round(length / SHORTER), FEWEST_TOKENS), MOST_TOKENS, length)
    settings = {**settings, "size": SIZE, "patch_length": length}
    if "max_token" in settings:
        settings["max_token"] = min(settings["max_token"], most)
    vocab = min(config["vocab_size"], most)
    return {**config, "dataset": [name, settings], "vocab_size": vocab}


def _narrowed(config: Config, halvings: int) -> Config:
    """All widths divided by 2^halvings; groups of a norm, and heads, stay as many."""
    groups = config.get("groups", 2 * config.get("heads", 0) or 1)

    def narrow(units: int) -> int:
        return max(units // 2**halvings // groups, 1) * groups

    return {key: _each(key, value, narrow) for key, value in config.items()}


def _each(key: str, value: Any, narrow: Any) -> Any:
    if key in _WIDTHS:
        several = isinstance(value, list | tuple)
        return [narrow(one) for one in value] if several else narrow(value)
    if key == "core":
        name, settings = value
        return [name, {k: _each(k, v, narrow) for k, v in settings.items()}]
    return value
