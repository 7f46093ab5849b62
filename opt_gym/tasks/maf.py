"""TaskSet's family of masked autoregressive flows."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from opt_gym.plugins import Spec
from opt_gym.records import Batch, Config, Data, Task
from opt_gym.tasks.building import config_checks, flows, image_sources, layers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import Design, Loss, Model, Params, build_task

FAMILY = "maf"
SEED_OFFSET = 6123348
OPTIONAL = ("constrain",)

CLIP = (-5.0, 3.0)
"""Log scales are clipped to this interval; their gradient passes through."""


def sample_config(seed: int) -> Config:
    """TaskSet's published config `maf_family_seed<seed>`: 1-4 bijectors."""
    return flows.sample_flow(seed + SEED_OFFSET)


def design(config: Config) -> Design:
    """A flow whose every bijector sees all D values of an image with noise on it.

    A bijector is x -> (x - shift) exp(-log scale); an MLP of x with the widths
    `hidden_units` gives [D, 2] values, a shift and a log scale for each. The log scale is
    clipped to [-5, 3], its gradient not. The loss is `flows.negative_log_likelihood`.
    φ = (w0, b0, w1, b1, ...), w [in, out], b [out], the last bijector's first.
    ψ: a tuple of `flows.Permutation` (order, inverse: int32 [D]), one fewer than bijectors;
    the last is undone first. Noise: N(0, 0.01²) [b, D].

    Whether this is a density. A bijector is autoregressive, and its log scales are the
    logarithm of its Jacobian, only while its masked weights are 0. TaskSet multiplies the
    mask of MADE (see `masked`) into the initial weights, not into the network. Its
    TensorFlow optimizers restored the mask after every step; its own Adam variants did
    not, and they reach losses that no density can reach. Here the option `constrain`
    (false if left out) decides: `Task.constrain` then restores the mask after every
    update. Choose true for likelihoods that mean something and for comparison with
    TaskSet's curves of adam1p, adam4p, nadamw and adagrad; false for those of adam6p and
    adam8p. With hidden layers narrower than D, which all of the family's configs have,
    the mask leaves nothing but the first kernels and the biases: with `constrain`, only
    the biases of the outputs learn.

    The floor is D (log(2π) / 2 - 5 K) for K bijectors, as no log scale is below -5; with
    `constrain` also `flows.entropy_floor`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(FAMILY, config["dataset"])
    features, count = math.prod(images.shape), config["num_bijectors"]
    constrained = config.get("constrain", False)

    def invert(
        params: Params, x: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        outputs = layers.mlp(params, x, activation).reshape(-1, features, 2)
        # Slices of the activations are as quick as weights put in another order.
        shift, log_scale = outputs[:, :, 0], outputs[:, :, 1]
        log_scale = flows.straight_through_clip(log_scale, *CLIP)
        return (x - shift) * jnp.exp(-log_scale), log_scale

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        x = flows.noisy(batch, noise)
        return flows.negative_log_likelihood(invert, params, instance, x), {}

    def instance(key: PRNGKeyArray) -> tuple[flows.Permutation, ...]:
        return flows.draw_permutations(key, count - 1, features)

    floor = features * (0.5 * math.log(2 * math.pi) + CLIP[0] * count)
    sizes = [features, *config["hidden_units"], 2 * features]
    model = Model(
        flows.network_tensors(sizes, count, config["w_init"]), loss, flows.draw_noise
    )._replace(instance=instance, floor=floor)
    if constrained:
        floor = max(floor, flows.entropy_floor(features))
        model = model._replace(constrain=_masking(features, count), floor=floor)
    return Design(FAMILY, config, model, images.source)


def build(config: Config) -> Task:
    """The task of one config; the mask is in its initial φ whether it stays or not.

    Raises:
        ValueError: see `design`.
    """
    designed = design(config)
    task = build_task(designed)
    count = designed.config["num_bijectors"]
    features = designed.model.tensors[0].shape[0]
    mask = _masking(features, count)

    def init(key: PRNGKeyArray, data: Data) -> tuple[Params, Any]:
        params, instance = task.init(key, data)
        return mask(params), instance

    return task._replace(init=init)


def masked(
    kernel: Float[Array, "i o"], num_blocks: int, exclusive: bool
) -> Float[Array, "i o"]:
    """The kernel of one layer with zeros where MADE's mask has them.

    Both sides are cut into `num_blocks` blocks of equal width, floor(size / num_blocks).
    An input of block k reaches the outputs from the start of block k on, or of block k + 1
    where `exclusive`; inputs beyond the last block reach none, and outputs beyond the last
    block are reached by all. In a layer with fewer inputs than blocks nothing is left.

    The mask is compared together from positions where it is used: as constants, those of a
    network with 2,048 hidden units would be 9 million numbers.

    Source: Germain et al. 2015, arXiv 1502.03509; TensorFlow Probability `masked_dense`.
    """
    num_in, num_out = kernel.shape
    width_in, width_out = num_in // num_blocks, num_out // num_blocks
    if width_in == 0:
        return jnp.zeros_like(kernel)
    positions = jax.lax.broadcasted_iota(jnp.int32, kernel.shape, 0)
    block = positions // width_in
    first = (block + int(exclusive)) * width_out
    outputs = jax.lax.broadcasted_iota(jnp.int32, kernel.shape, 1)
    return jnp.where((block < num_blocks) & (outputs >= first), kernel, 0.0)


def _masking(features: int, count: int) -> Any:
    """Φ -> φ with the mask in every kernel: exclusive in each bijector's first one."""

    def mask(params: Params) -> Params:
        size = len(params) // count
        return tuple(
            tensor if tensor.ndim == 1 else masked(tensor, features, index % size == 0)
            for index, tensor in enumerate(params)
        )

    return mask


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, flows.KEYS, OPTIONAL)
    # The last layer's mask lets a value see itself; the hidden layers' must not.
    flows.check_flow(FAMILY, config, least_hidden=1)
    config_checks.check_bool(FAMILY, "constrain", config.get("constrain", False))
    return config


SPEC = Spec(
    kind="task",
    name=FAMILY,
    make=build,
    sample_config=sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, maf_family; Papamakarios et al. 2017, "
    "arXiv 1705.07057",
)
