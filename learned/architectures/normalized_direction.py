"""A small network that gives a direction and no size, and Adam for the rest: Celo2.

    d = first output of MLP(30 scaled features of a parameter)    30 -> 8 -> 8 -> 3, relu
    D ← NewtonSchulz(d)                                    where `orthogonalize`, else d
    Δφ = −lr · D/√(1e-9 + mean D²)                         mean over the tensor
    embeddings and tensors with fewer than two axes, where `adamw`:
    m ← .9 m + .1 g,  v ← .95 v + .05 g²
    Δφ = −20·lr · m/(1 − .9ᵗ) / (√(v/(1 − .95ᵗ)) + 1e-8),  t = 1, 2, …

    NewtonSchulz(D): D as a matrix [product of all axes but the last, last],
        X = D/(‖D‖ + 1e-8), five times X ← a X + (b A + c A²) X, A = X Xᵀ,
        (a, b, c) = (3.4445, −4.7750, 2.0315), on the transpose where D has more rows than
        columns; singular values come near 1

Features, in the order of the published code, in `opt_gym/features/velo.py`, with three numbers
of its own: v has decay .95; 1e-8 is added to it, not 1e-6, before its root; 1e-9 is added to
a feature's mean square, not 1e-5. A tensor with fewer than two axes (that is, with
adamw=False) has a·g, from the full average, and none of the 15 features of r and c: the
paper's "factored features only for matrices", as its code has it. Gradients of the network
are clipped to ±1000, Adam's are not.

It has no clock and needs neither the loss nor the horizon. The size of the step is the user's:
with learning_rate=1.0 here, those of `to_optax(learning_rate=, weight_decay=)` are the
published optimizer's. It has no default; 0.001 is what it was trained with.

    orthogonalize=True                       "Celo2"
    adamw=False                              "Celo2-base"

Two of the three outputs are in θ and never computed (the published magnitude has a multiplier
of 0), so that θ has the published 347 weights. Truncated normal of standard deviation
1/√fan_in (cut at two of them, not corrected), zero biases.

differs: scale and direction of a tensor with more than two axes are normalized over all of
them, and it is one matrix for Newton and Schulz; the code takes the last two axes and treats
the others as a batch (its README calls this a sharp edge for convolutions). Decoupled weight
decay of Adam's tensors is not 20 times that of the others. Training uses Adam as here; the
published training ran one with β₂ = .999 and without correction of the bias.

Averages are in the carry, though they do not depend on θ: which there are depends on a tensor's
role, which the features are not told. What is remembered of a tensor says which it has.
"""

from typing import Any, NamedTuple

from jaxtyping import PRNGKeyArray, PyTree

from learned.building.networks import each_tensor, perceptron, perceptron_theta
from opt_gym import plugins
from opt_gym.checks import check_counts, check_not_negative
from opt_gym.features import adafactor, velo
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import (
    constant,
    mean_square,
    namespace,
    rsqrt,
    zeros,
    zeros_over,
)
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

SECOND_MOMENT_DECAY = 0.95
MOMENT_FLOOR = 1e-8
SCALE_FLOOR = 1e-9
NUM_OUTPUTS = 3
ADAM_DECAYS = (0.9, 0.95)
ADAM_EPSILON = 1e-8
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
_TINY = 1e-30  # for a root has no derivative at 0


class Moments(NamedTuple):
    """What is remembered of a tensor: Adam's moments or the network's, the others are [0].

    Shapes: first and second as the tensor's; the four others as `adafactor.AdafactorMoments`.
    """

    first: Any
    second: Any
    momentum: Any
    second_moment: Any
    rows: Any
    columns: Any

    @property
    def are_adams(self) -> bool:
        """Whether Adam moves this tensor."""
        return self.momentum.shape[0] == 0


def make(
    learning_rate: float = 0.001,
    orthogonalize: bool = False,
    adamw: bool = True,
    adamw_multiplier: float = 20.0,
    hidden: int = 8,
    num_layers: int = 2,
) -> LearnedOptimizer:
    """The learned optimizer "normalized_direction".

    Args:
        learning_rate: the RMS of a step of a tensor that the network moves.
        orthogonalize: Newton–Schulz on the direction of tensors with two or more axes.
        adamw: Adam for embeddings and tensors with fewer than two axes.
        adamw_multiplier: its learning rate, in units of `learning_rate`.
        hidden: units of a hidden layer.
        num_layers: hidden layers.

    Raises:
        ValueError: a setting out of its range.
    """
    check_counts(hidden=hidden, num_layers=num_layers)
    check_not_negative(learning_rate=learning_rate, adamw_multiplier=adamw_multiplier)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        sizes = (*[hidden] * num_layers, NUM_OUTPUTS)
        return {"net": perceptron_theta(key, len(velo.ROW_NAMES), 0, sizes)}

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        def start(leaf: Any, role: str) -> Moments:
            nothing = Moments(*(zeros((0,), leaf) for _ in Moments._fields))
            if adamw and (role == "embedding" or leaf.ndim < 2):
                first, second = zeros_over(2, leaf)
                return nothing._replace(first=first, second=second)
            return nothing._replace(**adafactor.start(leaf)._asdict())

        return Memory(tuple(each_tensor(start, leaves(params), roles)))

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        net = _first_output(theta["net"])

        def move(before: Any, param: Any, grad: Any, age: Any) -> tuple[Any, Any]:
            if before.are_adams:
                after, direction = _adam(before, grad, age)
                return after, -learning_rate * adamw_multiplier * direction
            after, direction = _direction(net, before, param, grad)
            if orthogonalize and param.ndim >= 2:
                direction = newton_schulz(direction)
            factor = learning_rate * rsqrt(SCALE_FLOOR + mean_square(direction))
            return after, -factor * direction

        columns = (leaves(signal.params), leaves(signal.grad), signal.ages)
        moved = each_tensor(move, carry.tensors, *columns)
        deltas = like(signal.params, [delta for _, delta in moved])
        return Memory(tuple(after for after, _ in moved)), (deltas,)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=(),
        init_theta=init_theta,
        init=init,
        step=step,
    )


def newton_schulz(direction: Any) -> Any:
    """The direction with its singular values brought near 1.

    Those above 0.002 of the norm come to lie between 0.68 and 1.21; smaller ones become up to
    485 times as large. Shapes: direction [..., columns], a matrix of all its other axes.

    Source: Jordan et al. 2024, "Muon"; the coefficients and ε are those of Celo2's code.
    """
    xp, shape = namespace(direction), tuple(direction.shape)
    x = xp.reshape(direction, (-1, shape[-1]))
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (xp.sqrt(xp.sum(x * x) + _TINY) + 1e-8)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return xp.reshape(x.T if tall else x, shape)


def _first_output(net: PyTree) -> PyTree:
    *before, last = net["rest"]
    last = {"w": last["w"][:1], "b": last["b"][:1]}
    return {**net, "rest": [*before, last]}


def _direction(
    net: PyTree, before: Moments, param: Any, grad: Any
) -> tuple[Moments, Any]:
    grad = velo.limited(grad)
    decays = adafactor.constants(grad, (SECOND_MOMENT_DECAY,))
    after = adafactor.follow(adafactor.AdafactorMoments(*before[2:]), grad, decays)
    seen = velo.look(
        param,
        grad,
        after,
        moment_floor=MOMENT_FLOOR,
        scale_floor=SCALE_FLOOR,
        factored_vectors=False,
    )
    return before._replace(**after._asdict()), perceptron(net, seen, param)[0]


def _adam(before: Moments, grad: Any, age: Any) -> tuple[Moments, Any]:
    b1, b2 = (constant(decay, grad) for decay in ADAM_DECAYS)
    first = b1 * before.first + (1.0 - b1) * grad
    second = b2 * before.second + (1.0 - b2) * grad * grad
    unbiased = second / (1.0 - b2 ** (age + 1))
    root = namespace(grad).sqrt(unbiased + _TINY)
    direction = first / (1.0 - b1 ** (age + 1)) / (root + ADAM_EPSILON)
    return before._replace(first=first, second=second), direction


SPEC = Spec(
    kind="architecture",
    name="normalized_direction",
    make=make,
    source="Moudgil et al. 2026 (Celo2), arXiv:2602.19142; github.com/amoudgl/celo2, "
    "celo2_optax.py",
)
