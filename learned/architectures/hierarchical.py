"""An LSTM a tensor that advises an MLP a parameter: Metz et al. 2020 (RNNMLPLOpt).

For all tensors of φ at once, n of them, with the features "hierarchical":

    z = [c, e, 16 numbers of the tensor, loss features]       18 + 16 + 16 + 2 = 52
    h, s ← LSTM(z, s)                                         64 units
    c ← C mean h + c₀          the message between tensors, a mean over those at hand
    a = A h + a₀               the advice to a tensor's parameters

and for every parameter

    (d, m, o) = MLP(23 scaled features, 11 waves of t, log n − 1, log ‖φ‖, log size, a)
                                                              54 -> 32 -> 32 -> 18, relu
    e ← mean of o over the tensor's parameters                the feedback, for the next step
    Δφ = −0.001 · d · exp(0.001 · m)               (action map "direction_magnitude")

s, c and e begin as parts of θ. 35,799 weights: MLP 3,410, LSTM 29,952, C and A 2,275, the
beginnings 162. Initialized as Haiku does: truncated normal of standard deviation 1/√fan_in
(cut at two of them, not corrected), zero biases, forget bias 1; c and e as its
"variance scaling" (the same with the cut corrected), s of zero.

Variants, for the ablations of the paper, which its released code does not have. That they
were an LSTM alone and a feed-forward network alone is only recalled; what is in them is ours:

    "full"  as above
    "ff"    the MLP without a, e and the LSTM: 37 -> 32 -> 32 -> 2, 2,338 weights
    "lstm"  an LSTM for every parameter in place of the MLP, its inputs those of "ff", a linear
            read-out of (d, m), 9,026 weights; memory of 2·hidden numbers a parameter

Neither of these two reads a loss. The fourth of that family, "L2LBGDGD", is the architecture
"lstm" (Andrychowicz et al. 2016).

The validation loss is welcome and never needed: `value_valid=` of optax, `valid_loss=` of
torch, `valid_every=` of an environment. In the source it comes in a call of its own, which
advances the clock; here with a step. More differences are said with the features.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.building.cells import LstmState, lstm_step, lstm_theta
from learned.building.networks import (
    direction_and_magnitude,
    perceptron,
    perceptron_and_means,
    perceptron_theta,
    rows,
    truncated_normal,
)
from opt_gym import plugins
from opt_gym.checks import check_counts
from opt_gym.features import hierarchical as features_module
from opt_gym.maths import pieces
from opt_gym.maths.accumulators import leaves
from opt_gym.maths.array_namespace import namespace, zeros_over
from opt_gym.plugins import Spec, unknown
from opt_gym.records import (
    Features,
    LearnedOptimizer,
    Memory,
    Observation,
    Signal,
    TensorObservation,
)

VARIANTS = ("full", "ff", "lstm")
NUM_STATISTICS = len(features_module.STATISTICS)
_CUT_CORRECTION = 0.87962566103423978
"""Standard deviation of a standard normal that is cut at two."""


class OfTensor(NamedTuple):
    """What the full variant remembers of a tensor: [lstm_hidden] twice, [feedback]."""

    hidden: Any
    cell: Any
    feedback: Any


class Net(NamedTuple):
    """A variant: the three functions of a learned optimizer."""

    init_theta: Callable[[PRNGKeyArray], PyTree]
    init: Callable[[PyTree, PyTree, tuple[str, ...]], Memory]
    step: Callable[[PyTree, Memory, Signal, Observation], tuple[Memory, tuple]]


def make(
    variant: str = "full",
    hidden: int = 32,
    num_layers: int = 2,
    lstm_hidden: int = 64,
    message: int = 18,
    feedback: int = 16,
    advice: int = 17,
    loss_decays: Sequence[float] = features_module.LOSS_DECAYS,
    valid_decays: Sequence[float] = features_module.VALID_DECAYS,
    time_clamp: int | None = None,
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
) -> LearnedOptimizer:
    """The learned optimizer "hierarchical".

    Args:
        variant: "full", "ff" or "lstm".
        hidden: units of a hidden layer of the MLP, or of the "lstm" variant.
        num_layers: hidden layers of the MLP.
        lstm_hidden: units of the LSTM of a tensor.
        message: numbers that tensors tell each other.
        feedback: numbers that the parameters' MLP tells the LSTM.
        advice: numbers that the LSTM tells the MLP.
        loss_decays, valid_decays: of the averages of the losses; see the features.
        time_clamp: the largest t that the time features show; None for no limit.
        step_multiplier, exp_multiplier: constants of the action map.

    Raises:
        ValueError: a size < 1, or an unknown variant.
    """
    check_counts(
        hidden=hidden,
        num_layers=num_layers,
        lstm_hidden=lstm_hidden,
        message=message,
        feedback=feedback,
        advice=advice,
    )
    if variant not in VARIANTS:
        raise ValueError(unknown("variant", variant, list(VARIANTS)))
    decays = {"loss_decays": list(loss_decays), "valid_decays": list(valid_decays)}
    unread: dict[str, Any] = {"loss_decays": [], "valid_decays": []}
    seen = decays if variant == "full" else unread
    features: Features = plugins.build(
        "features", "hierarchical", {**seen, "time_clamp": time_clamp}
    )
    if variant == "full":
        net = _full(
            features, (*[hidden] * num_layers,), lstm_hidden, message, feedback, advice
        )
    elif variant == "ff":
        net = _feed_forward(features, (*[hidden] * num_layers, 2))
    else:
        net = _recurrent(features, hidden)
    constants = {"step_multiplier": step_multiplier, "exp_multiplier": exp_multiplier}
    return LearnedOptimizer(
        features=features,
        action_map=plugins.build("action", "direction_magnitude", constants),
        needs=features.needs,
        init_theta=net.init_theta,
        init=net.init,
        step=net.step,
    )


def _full(
    features: Features,
    hiddens: tuple[int, ...],
    units: int,
    message: int,
    feedback: int,
    advice: int,
) -> Net:
    num_losses, num_shared = _shared_sizes(features)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        k_lstm, k_mlp, k_message, k_advice, k_from, k_back = jax.random.split(key, 6)
        inputs = message + feedback + NUM_STATISTICS + num_losses
        return {
            "lstm": lstm_theta(k_lstm, inputs, units),
            "mlp": perceptron_theta(
                k_mlp,
                len(features.row_names),
                num_shared + advice,
                (*hiddens, 2 + feedback),
            ),
            "message": _linear(k_message, message, units),
            "advice": _linear(k_advice, advice, units),
            "start": {
                "message": _variance_scaling(k_from, message),
                "feedback": _variance_scaling(k_back, feedback),
                "hidden": jnp.zeros(units),
                "cell": jnp.zeros(units),
            },
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        start = theta["start"]
        fresh = OfTensor(start["hidden"], start["cell"], start["feedback"])
        return Memory(tuple(fresh for _ in leaves(params)), start["message"])

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        advised, state = _advise(theta, carry, observation, num_losses)
        xp, clock = namespace(advised), observation.numbers[num_losses:]
        outputs, feedbacks = [], []
        for i, (param, tensor) in enumerate(
            zip(leaves(signal.params), observation.tensors, strict=True)
        ):
            known = xp.concat([clock, tensor.numbers[NUM_STATISTICS:], advised[:, i]])
            out, back = perceptron_and_means(theta["mlp"], tensor, param, known, 2)
            outputs.append(out)
            feedbacks.append(back)
        tensors = tuple(
            OfTensor(state.hidden[:, i], state.cell[:, i], back)
            for i, back in enumerate(feedbacks)
        )
        said = _apply(theta["message"], xp.mean(state.hidden, axis=1, keepdims=True))
        return Memory(tensors, said[:, 0]), direction_and_magnitude(
            signal.params, outputs
        )

    return Net(init_theta, init, step)


def _advise(
    theta: PyTree, carry: Memory, observation: Observation, num_losses: int
) -> tuple[Any, LstmState]:
    """The advice to every tensor's parameters, [advice, n], and the LSTM's state [units, n]."""
    xp, losses = namespace(carry.shared), observation.numbers[:num_losses]
    inputs = [
        xp.concat([carry.shared, old.feedback, tensor.numbers[:NUM_STATISTICS], losses])
        for old, tensor in zip(carry.tensors, observation.tensors, strict=True)
    ]
    state = LstmState(
        hidden=xp.stack([old.hidden for old in carry.tensors], axis=1),
        cell=xp.stack([old.cell for old in carry.tensors], axis=1),
    )
    hidden, state = lstm_step(theta["lstm"], xp.stack(inputs, axis=1), state)
    return _apply(theta["advice"], hidden), state


def _feed_forward(features: Features, sizes: tuple[int, ...]) -> Net:
    def init_theta(key: PRNGKeyArray) -> PyTree:
        _, num_shared = _shared_sizes(features)
        return perceptron_theta(key, len(features.row_names), num_shared, sizes)

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory()

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        outputs = [
            perceptron(theta, tensor, param, _known(tensor, observation))
            for param, tensor in zip(
                leaves(signal.params), observation.tensors, strict=True
            )
        ]
        return carry, direction_and_magnitude(signal.params, outputs)

    return Net(init_theta, init, step)


def _recurrent(features: Features, units: int) -> Net:
    num_rows = len(features.row_names)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        k_lstm, k_out = jax.random.split(key)
        _, num_shared = _shared_sizes(features)
        return {
            "lstm": lstm_theta(k_lstm, num_rows + num_shared, units),
            "out": _linear(k_out, 2, units),
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory(
            tuple(
                LstmState(zeros_over(units, leaf), zeros_over(units, leaf))
                for leaf in leaves(params)
            )
        )

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        states, outputs = [], []
        for param, tensor, state in zip(
            leaves(signal.params), observation.tensors, carry.tensors, strict=True
        ):
            known = _known(tensor, observation)
            state, out = _remember(theta, tensor, param, state, known)
            states.append(state)
            outputs.append(out)
        return Memory(tuple(states)), direction_and_magnitude(signal.params, outputs)

    return Net(init_theta, init, step)


def _remember(
    theta: PyTree, tensor: TensorObservation, param: Any, state: LstmState, known: Any
) -> tuple[LstmState, Any]:
    """One step of the LSTM of every parameter of a tensor: its state, and (d, m)."""
    xp, lstm, units = namespace(known), theta["lstm"], state.hidden.shape[0]
    num_rows = tensor.scale.shape[0]
    # What all parameters share goes into the bias, the features' scale into the weights.
    folded = {
        "w_inputs": lstm["w_inputs"][:, :num_rows] * tensor.scale[None],
        "w_hidden": lstm["w_hidden"],
        "b": lstm["b"] + lstm["w_inputs"][:, num_rows:] @ known,
    }

    def net(hidden: Any, cell: Any, *sources: Any) -> Any:
        seen = rows(tensor.rows(*sources))
        seen = xp.reshape(seen, (num_rows, *hidden.shape[1:]))
        _, after = lstm_step(folded, seen, LstmState(hidden, cell))
        out = _apply(theta["out"], xp.reshape(after.hidden, (units, -1)))
        out = xp.reshape(out, (2, *hidden.shape[1:]))
        return xp.concat([out, after.hidden, after.cell])

    new = pieces.elementwise(net, (*state, *tensor.sources), param, 2 + 2 * units)
    return LstmState(new[2 : 2 + units], new[2 + units :]), new[:2]


def _known(tensor: TensorObservation, observation: Observation) -> Any:
    """What all parameters of a tensor share, where there are no losses and no advice."""
    xp = namespace(observation.numbers)
    return xp.concat([observation.numbers, tensor.numbers[NUM_STATISTICS:]])


def _shared_sizes(features: Features) -> tuple[int, int]:
    """(loss features, numbers that all parameters of a tensor share)."""
    num_losses = len(features.config["loss_decays"]) + len(
        features.config["valid_decays"]
    )
    num_tensor = len(features.tensor_names) - NUM_STATISTICS
    return num_losses, len(features.shared_names) - num_losses + num_tensor


def _linear(key: PRNGKeyArray, outputs: int, inputs: int) -> dict[str, Any]:
    return {"w": truncated_normal(key, outputs, inputs), "b": jnp.zeros(outputs)}


def _apply(theta: PyTree, x: Any) -> Any:
    """Shapes: x [inputs, n]; result [outputs, n]."""
    return theta["w"] @ x + theta["b"][:, None]


def _variance_scaling(key: PRNGKeyArray, num: int) -> Any:
    return truncated_normal(key, 1, num)[0] / _CUT_CORRECTION


SPEC = Spec(
    kind="architecture",
    name="hierarchical",
    make=make,
    source="Metz et al. 2020, arXiv:2009.11243; google/learned_optimization, "
    "learned_optimizers/rnn_mlp_lopt.py",
)
