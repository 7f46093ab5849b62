"""An optax optimizer as text: `adamw(learning_rate=cosine 3e-3, weight_decay=1e-4)`.

The name of a function of optax, or of optax.contrib, and its arguments: numbers, strings,
None, other optimizers, and rates that change over the run:

    constant 3e-3       what 3e-3 alone is, as a schedule
    cosine 3e-3         half a cosine from 3e-3 to 0 at the horizon
    warmup 3e-3         rising in a line over the first twentieth of the run
    warmup_cosine 3e-3  rising, and then the cosine

Every rate is an entry of θ, so that many of them are one compiled program.
"""

import ast
import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray
from optax import contrib

from opt_gym import policy
from opt_gym.adapters.foreign import Evaluated, check_transformation, from_maker
from opt_gym.plugins import unknown
from opt_gym.records import LearnedOptimizer, Signal

WARMUP = 0.05
"""The share of a run that a warm-up takes."""

SCHEDULES = {
    "constant": (0.0, 0.0),
    "cosine": (1.0, 0.0),
    "warmup": (0.0, WARMUP),
    "warmup_cosine": (1.0, WARMUP),
}
"""(whether it decays, share of the run that it rises), by name."""

_SCHEDULE = re.compile(rf"\b({'|'.join(SCHEDULES)})\s+([-+.\deE]+)")
_RATE = "learning_rate"


class _Rate(NamedTuple):
    """A rate in the text: the names of its entries in θ; a schedule has three of them."""

    entries: tuple[str, ...]


class _Call(NamedTuple):
    """An optimizer in the text."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def from_text(text: str) -> LearnedOptimizer:
    """The optimizer that a text stands for; its name is the text.

    Raises:
        ValueError: no such function, arguments it does not take, or what is no such text.
    """
    theta: dict[str, float] = {}
    call = _parsed(text, theta)

    def make(theta: Any, horizon: Any) -> optax.GradientTransformation:
        return _made(call, theta, horizon)

    config = {"foreign": f"optax {optax.__version__}: {text}"}
    made = from_maker(make, theta, text, config, _evaluated(call))
    try:
        check_transformation(make(theta, 1000))
        jax.eval_shape(partial(_two_steps, made), jax.random.key(0))
    except Exception as error:  # whatever optax raises where it cannot be used so
        raise ValueError(f"optax:{text}: {type(error).__name__}: {error}") from None
    return made


def _two_steps(learned_optimizer: LearnedOptimizer, key: PRNGKeyArray) -> Any:
    """A trial in a scan, which fails where an update needs more than an environment tells."""
    theta, params = learned_optimizer.init_theta(key), (jnp.ones((3, 2)), jnp.ones(2))
    zero, no, t = jnp.zeros(()), jnp.bool_(False), jnp.int32(0)
    signal = Signal(params, params, zero, no, zero, no, t, t, (t, t))

    def step(memories: policy.Memories, _: None) -> tuple[policy.Memories, None]:
        return policy.advance(learned_optimizer, theta, memories, signal)[0], None

    begun = policy.begin(learned_optimizer, theta, params, ("kernel", "bias"))
    return jax.lax.scan(step, begun, length=2)[0]


def rate_factor(count: Any, horizon: Any, decayed: Any, rising: Any) -> Any:
    """What a schedule multiplies its rate by after `count` updates.

    Args:
        count, horizon: updates done, and of the run.
        decayed: 1 for half a cosine to 0 behind the rise, 0 for none.
        rising: share of the run in which it rises in a line; the first update has 1/length.
    """
    length = rising * horizon
    up = jnp.minimum((count + 1) / jnp.maximum(length, 1.0), 1.0)
    part = jnp.clip((count - length) / jnp.maximum(horizon - length, 1.0), 0.0, 1.0)
    down = 0.5 * (1.0 + jnp.cos(jnp.pi * part))
    return up * (1.0 + decayed * (down - 1.0))


def _parsed(text: str, theta: dict[str, float]) -> _Call:
    as_calls = _SCHEDULE.sub(r"\1(\2)", text)
    try:
        node = ast.parse(as_calls.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueError(
            f"expected optax:name(argument=value, ...), got 'optax:{text}'"
        ) from None
    if isinstance(node, ast.Name | ast.Attribute):
        node = ast.Call(node, [], [])
    found = _value(node, "", theta, text)
    if not isinstance(found, _Call):
        raise ValueError(f"'optax:{text}' names no optimizer")
    return found


def _value(node: ast.expr, name: str, theta: dict[str, float], text: str) -> Any:
    """A literal, a `_Rate` (whose entries are added to θ) or a `_Call`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in SCHEDULES:
            return _schedule(node, theta, text)
        return _call(node.func.id, node, theta, text)
    try:
        value = ast.literal_eval(node)
    except ValueError:
        shown = ast.unparse(node)
        raise ValueError(f"optax:{text}: cannot read {shown!r} as a value") from None
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    if name == _RATE and is_number:
        return _Rate((_entry(_RATE, float(value), theta),))
    return value


def _schedule(node: ast.Call, theta: dict[str, float], text: str) -> _Rate:
    assert isinstance(node.func, ast.Name)
    try:
        (rate,) = (float(ast.literal_eval(arg)) for arg in node.args)
    except (TypeError, ValueError):
        raise ValueError(
            f"optax:{text}: a schedule is a name and a rate, as cosine 3e-3"
        ) from None
    decayed, rising = SCHEDULES[node.func.id]
    numbers = {_RATE: rate, "decayed": decayed, "rising": rising}
    return _Rate(tuple(_entry(key, number, theta) for key, number in numbers.items()))


def _entry(name: str, value: float, theta: dict[str, float]) -> str:
    """Adds a number to θ under a free name, which it returns."""
    free = name if name not in theta else f"{name}_{len(theta)}"
    theta[free] = value
    return free


def _call(name: str, node: ast.Call, theta: dict[str, float], text: str) -> _Call:
    function = getattr(optax, name, None) or getattr(contrib, name, None)
    if not inspect.isfunction(function) or name.startswith("_"):
        raise ValueError(unknown("optimizer of optax", name, _names()))
    known = list(inspect.signature(function).parameters)
    given = zip(known, node.args, strict=False)  # what is too much is named by `bind`
    args = [_value(arg, key, theta, text) for key, arg in given]
    args += [_value(arg, "", theta, text) for arg in node.args[len(known) :]]
    kwargs = {
        str(pair.arg): _value(pair.value, str(pair.arg), theta, text)
        for pair in node.keywords
    }
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise ValueError(f"optax:{text}: {name}: {error}") from None
    return _Call(function, tuple(args), kwargs)


def _names() -> list[str]:
    return [
        name
        for module in (optax, contrib)
        for name, found in vars(module).items()
        if inspect.isfunction(found) and _RATE in inspect.signature(found).parameters
    ]


def _made(value: Any, theta: Any, horizon: Any) -> Any:
    """What stands for a value, given θ and the horizon."""
    if isinstance(value, _Call):
        args = [_made(arg, theta, horizon) for arg in value.args]
        kwargs = {k: _made(arg, theta, horizon) for k, arg in value.kwargs.items()}
        return value.function(*args, **kwargs)
    if isinstance(value, _Rate):
        rate, *shape = (theta[entry] for entry in value.entries)
        if not shape:
            return rate
        return lambda count: rate * rate_factor(count, horizon, *shape)
    return value


def _evaluated(call: _Call) -> Evaluated | None:
    is_average = call.function.__name__.startswith("schedule_free")
    return contrib.schedule_free_eval_params if is_average else None
