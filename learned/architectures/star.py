"""A small network beside a hand-designed term: "STAR", Harrison et al. 2022.

    d, m, n, q = MLP(28 scaled features of a parameter, 11 times)    39 -> 4 -> 4 -> 4, relu
    Δφ = −α · exp(.001·n) · u − .001 · d · exp(.001·m) · p − λ · exp(.001·q) · φ

with the features and learned decays of "adafactor_mlp" (its averages m_β of g and v of g²),
and of u, the nominal term:

    "sgd"         g
    "momentum"    m_.999
    "aggmo"       mean of m_.9, m_.99, m_.999
    "adam"        m_.999 · (v + 1e-6)^−½
    "adam_aggmo"  mean of the three m_β · (v + 1e-6)^−½

p is 1, or (v + 1e-6)^−½ with `preconditioned`, which gives the network's step Adam's units;
this is up to 1000, so that an untrained one diverges unless `step_multiplier` is smaller.
n is read where `nominal_magnitude`, q where `decay_magnitude`; else they are 0. With
`magnitudes="tensor"` m, n and q are means over the tensor. λ is 0 unless asked for.

So an untrained θ already descends, as the nominal term, with a small random step beside it;
"nominal" is this idea in a form of our own, which starts from Adam exactly, in features that
are already in Adam's units, and which also has a network a tensor. 200 weights with
hidden = 4 (four outputs whether they are read or not), and 7 decays. Initialized as Haiku does:
truncated normal of standard deviation 1/√fan_in (cut at two of them, not corrected), zero
biases.

differs: where n is not read its factor is 1, in the source exp(.001). One switch makes all
three magnitudes means over the tensor, where the source has three; the option that multiplies
d by the mean gradient is left out, and so are three exponents of their own. The source
defaults to α = 0 and reads neither n nor q: which values the paper used is not known here.
"""

from typing import Any

from jaxtyping import PRNGKeyArray, PyTree

from learned.building import learned_decays
from learned.building.networks import perceptron, perceptron_and_means, perceptron_theta
from opt_gym import plugins
from opt_gym.checks import check_counts, check_not_negative, check_time_clamp
from opt_gym.features import adafactor
from opt_gym.features.mlp import times
from opt_gym.maths import pieces
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import namespace, over, rsqrt
from opt_gym.plugins import Spec, unknown
from opt_gym.records import (
    LearnedOptimizer,
    Memory,
    Observation,
    Signal,
    TensorObservation,
)

NOMINALS = ("sgd", "momentum", "aggmo", "adam", "adam_aggmo")
MAGNITUDES = ("parameter", "tensor")


def make(
    nominal: str = "adam_aggmo",
    learning_rate: float = 0.001,
    weight_decay: float = 0.0,
    nominal_magnitude: bool = True,
    decay_magnitude: bool = True,
    magnitudes: str = "parameter",
    preconditioned: bool = False,
    hidden: int = 4,
    num_layers: int = 2,
    time_clamp: int | None = None,
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
) -> LearnedOptimizer:
    """The learned optimizer "star".

    Args:
        nominal: "sgd", "momentum", "aggmo", "adam" or "adam_aggmo".
        learning_rate: α, of the nominal term.
        weight_decay: λ, not times the learning rate.
        nominal_magnitude, decay_magnitude: whether the network scales these two.
        magnitudes: "parameter", or "tensor" for one number a tensor.
        preconditioned: whether the network's own step is divided by √(v + 1e-6).
        hidden: units of a hidden layer.
        num_layers: hidden layers.
        time_clamp: the largest t that the time features show; None for no limit.
        step_multiplier, exp_multiplier: the two .001 above.

    Raises:
        ValueError: a setting out of its range, or an unknown nominal or magnitudes.
    """
    check_counts(hidden=hidden, num_layers=num_layers)
    check_time_clamp(time_clamp)
    check_not_negative(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        step_multiplier=step_multiplier,
        exp_multiplier=exp_multiplier,
    )
    if nominal not in NOMINALS:
        raise ValueError(unknown("nominal term", nominal, list(NOMINALS)))
    if magnitudes not in MAGNITUDES:
        raise ValueError(unknown("level of magnitudes", magnitudes, list(MAGNITUDES)))
    read = (1.0, float(nominal_magnitude), float(decay_magnitude))

    def init_theta(key: PRNGKeyArray) -> PyTree:
        rows, shared = len(adafactor.ROW_NAMES), len(adafactor.TIME_SCALES)
        sizes = (*[hidden] * num_layers, 4)
        return {
            "decays": learned_decays.offsets(),
            "net": perceptron_theta(key, rows, shared, sizes),
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory(tuple(adafactor.start(leaf) for leaf in leaves(params)))

    def delta(
        param: Any, grad: Any, momentum: Any, second_moment: Any, d: Any, sizes: Any
    ) -> Any:
        xp, reciprocal = namespace(grad), rsqrt(second_moment + 1e-6)
        sizes = [
            xp.exp(exp_multiplier * factor * sizes[i]) for i, factor in enumerate(read)
        ]
        own = step_multiplier * d * sizes[0][None]
        own = own * reciprocal if preconditioned else own
        u = _nominal(nominal, grad, momentum, reciprocal)
        step = own + learning_rate * sizes[1][None] * u
        if weight_decay:
            step = step + weight_decay * sizes[2][None] * param[None]
        return -step

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        decays = learned_decays.decays(theta["decays"], signal.loss)
        clock = times(signal, adafactor.TIME_SCALES, time_clamp)
        moments, deltas = [], []
        for param, grad, before in zip(
            leaves(signal.params), leaves(signal.grad), carry.tensors, strict=True
        ):
            after = adafactor.follow(before, grad, decays)
            seen = adafactor.look(param, grad, after)
            net = _outputs(theta["net"], seen, param, clock, magnitudes)
            sources = (param, grad, after.momentum, after.second_moment, *net)
            moments.append(after)
            deltas.append(pieces.elementwise(delta, sources, param, 1)[0])
        return Memory(tuple(moments)), (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=(),
        init_theta=init_theta,
        init=init,
        step=step,
    )


def _outputs(
    theta: PyTree, seen: TensorObservation, param: Any, clock: Any, magnitudes: str
) -> tuple[Any, Any]:
    """The direction [1, *shape], and three magnitudes [3, *shape] or [3, 1, ...]."""
    if magnitudes == "tensor":
        direction, means = perceptron_and_means(theta, seen, param, clock, 1)
        return direction, over(means, param)
    out = perceptron(theta, seen, param, clock)
    return out[:1], out[1:]


def _nominal(name: str, grad: Any, momentum: Any, reciprocal: Any) -> Any:
    """Shapes: grad [*shape]; momentum [3, *shape]; reciprocal and result [1, *shape]."""
    xp = namespace(grad)
    if name == "sgd":
        return grad[None]
    if name in ("momentum", "adam"):
        u = momentum[-1:]
    else:
        u = xp.mean(momentum, axis=0, keepdims=True)
    return u * reciprocal if name.startswith("adam") else u


SPEC = Spec(
    kind="architecture",
    name="star",
    make=make,
    source="Harrison et al. 2022, arXiv:2209.11208; google/learned_optimization, "
    "learned_optimizers/adafac_nominal.py",
)
