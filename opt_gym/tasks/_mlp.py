"""The MLP classifier of the families mlp and small_mlp."""

import itertools
import math

from jaxtyping import Array

from opt_gym.records import Config, Task
from opt_gym.tasks import _config, _layers
from opt_gym.tasks._activations import ACTIVATIONS
from opt_gym.tasks._classification import ImageSource, Model, build_classifier

KEYS = ("layer_sizes", "activation", "w_init", "dataset", "center_data")


def build_mlp(family: str, config: Config) -> Task:
    """A classifier of flattened images: linear layers, the activation between them.

    φ = (w0, b0, w1, b1, ...), w [in, out], b [out]; `layer_sizes` are the hidden widths.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _config.strip(family, config, KEYS)
    _config.check_sizes(family, "layer_sizes", config["layer_sizes"])
    _config.check_activation(family, config["activation"])
    activation = ACTIVATIONS[config["activation"]]

    def make_model(source: ImageSource) -> Model:
        sizes = [math.prod(source.shape), *config["layer_sizes"], source.num_classes]
        shapes: list[tuple[int, ...]] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            shapes += [(fan_in, fan_out), (fan_out,)]

        def logits(params: tuple[Array, ...], inputs: Array) -> Array:
            flat = inputs.reshape(inputs.shape[0], -1)
            return _layers.mlp(params, flat, activation)

        return Model(tuple(shapes), ("kernel", "bias") * (len(sizes) - 1), logits)

    return build_classifier(family, config, make_model)
