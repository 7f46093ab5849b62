"""Who is judged: an optimizer that a worker process can make again.

    optax:adamw(learning_rate=cosine 3e-3,weight_decay=1e-4)
    my_optimizer.py     a file that defines `optimizer`, a transformation or a function of the
                        horizon that makes one, and, where it leaves other weights than it
                        trains, `evaluated(state, params)`

From Python: `Entrant("mine", lambda: (opt_gym.adapters.foreign.from_optax(...), ()))`.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optax
from jaxtyping import PyTree

from opt_gym.adapters.foreign import check_transformation, from_maker
from opt_gym.adapters.optax_text import from_text
from opt_gym.records import LearnedOptimizer

OPTAX = "optax:"


class Entrant(NamedTuple):
    """An optimizer to judge.

    Attributes:
        name: in tables and pictures.
        make: -> (learned optimizer, θ; None for its initial θ); pickled for worker processes.
        about: a sentence.
        digest: what tells θ from another; "" where there is none.
        training: what its outer-training was and cost, as a θ file says it.
    """

    name: str
    make: Callable[[], tuple[LearnedOptimizer, PyTree]]
    about: str = ""
    digest: str = ""
    training: Mapping[str, Any] = {}


def from_optax_text(text: str) -> Entrant:
    """Of `optax:...`.

    Raises:
        ValueError: see `adapters.optax_text`.
    """
    spec = text.removeprefix(OPTAX)
    from_text(spec)
    return Entrant(spec, partial(_of_text, spec), f"optax {optax.__version__}")


def from_python_file(path: Path) -> Entrant:
    """Of a file that defines `optimizer`; the file is run.

    Raises:
        ValueError: it cannot be run, or defines no optimizer.
    """
    _of_file(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Entrant(path.stem, partial(_of_file, path), f"the file {path.name}", digest)


def _of_text(spec: str) -> tuple[LearnedOptimizer, None]:
    return from_text(spec), None


def _of_file(path: Path) -> tuple[LearnedOptimizer, None]:
    names = _defined(path)
    optimizer = names.get("optimizer")
    if optimizer is None:
        raise ValueError(
            f"{path} defines no `optimizer`: an optax transformation, or a function of the "
            "horizon that makes one"
        )
    is_made = callable(optimizer)

    def make(theta: tuple, horizon: Any) -> optax.GradientTransformation:
        made = optimizer(horizon) if is_made else optimizer
        check_transformation(made)
        return made

    try:
        make((), 1000)
    except Exception as error:
        raise ValueError(f"{path}: optimizer(1000): {error}") from error
    config = {"foreign": hashlib.sha256(path.read_bytes()).hexdigest()}
    policy = from_maker(make, (), path.stem, config, names.get("evaluated"))
    return policy, None


def _defined(path: Path) -> dict[str, Any]:
    """The names that a file defines."""
    spec = importlib.util.spec_from_file_location(f"opt_gym_entrant_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"{path} cannot be run: {kind}: {error}") from error
    return vars(module)
