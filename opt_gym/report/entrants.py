"""Who is judged: an optimizer that a worker process can make again.

    optax:adamw(learning_rate=cosine 3e-3,weight_decay=1e-4)
    my_optimizer.py     a file that defines `optimizer`, a transformation or a function of the
                        horizon that makes one, and, where it leaves other weights than it
                        trains, `evaluated(state, params)`

From Python: `Entrant("mine", lambda: (opt_gym.adapters.foreign.from_optax(...), ()))`.
"""

import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optax
from jaxtyping import PyTree

from opt_gym.adapters.foreign import from_optax
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
        make_for: horizon -> the same, for one that is made anew for every horizon; pickled,
            too.
    """

    name: str
    make: Callable[[], tuple[LearnedOptimizer, PyTree]]
    about: str = ""
    digest: str = ""
    training: Mapping[str, Any] = {}
    make_for: Callable[[int], tuple[LearnedOptimizer, PyTree]] | None = None

    def made(self, horizon: int) -> tuple[LearnedOptimizer, PyTree]:
        """(learned optimizer, θ) for runs of a horizon."""
        return self.make() if self.make_for is None else self.make_for(horizon)


def from_optax_text(text: str) -> Entrant:
    """Of `text`, such as `optax:adamw(cosine 3e-3)`; its `optax:` may be left out.

    Raises:
        ValueError: see `adapters.optax_text`.
    """
    spec = text.removeprefix(OPTAX)
    from_text(spec)
    return Entrant(spec, partial(_of_text, spec), f"optax {optax.__version__}")


def from_python_file(path: Path) -> Entrant:
    """Of the file at `path`, which defines `optimizer`; the file is run.

    Raises:
        ValueError: it cannot be run, or defines no optimizer.
    """
    path = Path(path).resolve()  # a worker process may begin in another folder
    _of_file(path, 1000)
    return Entrant(
        name=path.stem,
        make=partial(_of_file, path, 1000),
        about=f"the file {path.name}",
        digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        make_for=partial(_of_file, path),
    )


def _of_text(spec: str) -> tuple[LearnedOptimizer, None]:
    return from_text(spec), None


def _of_file(path: Path, horizon: int) -> tuple[LearnedOptimizer, None]:
    names = _defined(path)
    optimizer: Any = names.get("optimizer")
    if optimizer is None:
        raise ValueError(
            f"{path} defines no `optimizer`: an optax transformation, or a function of the "
            "horizon that makes one"
        )
    if callable(optimizer):
        if list(inspect.signature(optimizer).parameters) != ["horizon"]:
            raise ValueError(f"{path}: a function must be `optimizer(horizon)`")
        try:
            optimizer = optimizer(horizon)
        except Exception as error:
            raise ValueError(f"{path}: optimizer({horizon}): {error}") from error
    try:
        policy = from_optax(optimizer, path.stem, names.get("evaluated"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return policy._replace(config={"foreign": f"{content} {horizon}"}), None


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
