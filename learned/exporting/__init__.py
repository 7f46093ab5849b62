"""A learned optimizer as one file of plain code, which runs without this package.

    learned.export("nominal_small", "nominal_small.py")

The file has θ and the definitions that the architecture needs, taken out of this package, and
is an optax transformation for whoever copies it.
"""

import base64
import importlib
import inspect
import os
import pprint
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

from learned import theta_file
from learned.arguments import assumed_horizon
from learned.exporting.amalgamation import Amalgam, amalgamate
from learned.exporting.module_sources import PACKAGES, Place
from opt_gym import plugins, policy
from opt_gym.records import LearnedOptimizer
from opt_gym.runtime.files import write_atomically

_DRIVER = Path(__file__).with_name("driver.txt")
_SIGNAL = Place("opt_gym.records", "Signal")
_OF_DRIVER = {
    "Signal": _SIGNAL,
    "roles_of": Place("opt_gym.policy", "roles_of"),
    "shown_shapes": Place("opt_gym.policy", "shown_shapes"),
    "of_shapes": Place("opt_gym.maths.parts", "of_shapes"),
    "all_finite": Place("opt_gym.maths.limits", "all_finite"),
    "within_limits": Place("opt_gym.maths.limits", "within_limits"),
    "float32": Place("learned.optax_numbers", "float32"),
    "told": Place("learned.optax_numbers", "told"),
}
_IMPORTS_OF_DRIVER = (
    *("import base64", "import inspect", "import jax", "import jax.numpy as jnp"),
    *("import numpy as np", "import optax"),
    *("from typing import Any", "from typing import NamedTuple"),
)
_WIDTH = 88


def export(
    path_or_name: str | os.PathLike[str] | tuple[LearnedOptimizer, PyTree],
    out: str | os.PathLike[str],
) -> Path:
    """Writes a Python file that is the optax transformation of a θ, and needs no opt_gym.

    It imports jax, numpy and optax, and defines θ and a function `optimizer`, whose arguments
    are `learning_rate`, `horizon` and `weight_decay`, and whose updates are those of
    `learned.to_optax`.

    Args:
        path_or_name: what `learned.load` takes, or what it gives.
        out: the file to write, such as "my_optimizer.py".

    Returns:
        Where it is.

    Raises:
        ValueError: a name that no module can have, an architecture from outside of this
            package, or one whose code cannot be taken apart; errors of `learned.load`.
    """
    out = Path(out)
    if out.suffix != ".py" or not out.stem.isidentifier():
        raise ValueError(f"out must be a module's name with .py, got {str(out)!r}")
    if isinstance(path_or_name, tuple):
        optimizer, theta = path_or_name
    else:
        optimizer, theta = theta_file.load(path_or_name)
    return write_atomically(out, text_of(optimizer, theta, out.stem).encode())


def text_of(optimizer: LearnedOptimizer, theta: PyTree, module: str) -> str:
    """The text of that file.

    Args:
        optimizer: the architecture.
        theta: its weights.
        module: the file's name, for its example.
    """
    theta = policy.as_theta(optimizer, theta)
    makes = dict(_makes(optimizer))
    roots = [*makes.values(), *_OF_DRIVER.values()]
    amalgam = amalgamate(roots, reserved=_reserved())
    known = {
        f"({kind!r}, {name!r})": amalgam.names[place]
        for (kind, name), place in makes.items()
    }
    table = ", ".join(f"{key}: {make}" for key, make in known.items())
    imports = _imports(amalgam)
    parts = [
        f'"""{_head(optimizer, theta, module)}"""',
        "\n".join(imports),
        *amalgam.definitions,
        _driver(amalgam, optimizer, table),
        f"THETA = {_literal(theta)}",
    ]
    return "\n\n\n".join(parts) + "\n"


def _makes(optimizer: LearnedOptimizer) -> Iterator[tuple[tuple[str, str], Place]]:
    """Where the plug-ins that an architecture is made of are made."""
    for kind, name in (
        ("architecture", optimizer.name),
        ("features", optimizer.features.name),
        ("action", optimizer.action_map.name),
    ):
        module = plugins.module_of(kind, name)
        if module.partition(".")[0] not in PACKAGES:
            raise ValueError(f"{kind} {name!r} is not of this package: no export of it")
        yield (kind, name), Place(module, "make")


def _reserved() -> list[str]:
    """What the driver defines."""
    lines = _DRIVER.read_text().splitlines()
    defined = [
        line.split("(")[0].split()[-1].rstrip(":")
        for line in lines
        if line.startswith(("def ", "class "))
    ]
    values = [line.split(" = ")[0] for line in lines if line[:1].isupper()]
    return [*defined, *values, "THETA"]


def _imports(amalgam: Amalgam) -> list[str]:
    """Those of the definitions and of the driver, one a module, "import" before "from"."""
    lines = {*amalgam.imports, *_IMPORTS_OF_DRIVER}
    of_module: dict[str, set[str]] = {}
    for line in lines:
        head, _, name = line.partition(" import ")
        if name:
            of_module.setdefault(head, set()).add(name)
    merged = [
        f"{head} import {', '.join(sorted(names))}" for head, names in of_module.items()
    ]
    plain = [line for line in lines if line.startswith("import ")]
    return [*sorted(plain), *sorted(merged)]


def _driver(amalgam: Amalgam, optimizer: LearnedOptimizer, table: str) -> str:
    text = _DRIVER.read_text().strip()
    values = {
        "PLUGINS": "{" + table + "}",
        "NAME": repr(optimizer.name),
        "CONFIG": pprint.pformat(optimizer.config, width=_WIDTH),
        "TRAINED_HORIZON": repr(optimizer.trained_horizon),
        "HORIZON": repr(assumed_horizon(optimizer)),
        "NEEDS": repr(optimizer.needs),
        "READS_LOSS": repr("loss" in policy.read_by(optimizer)),
        **{name: amalgam.names[place] for name, place in _OF_DRIVER.items()},
    }
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def _literal(tree: PyTree) -> str:
    """θ as an expression: dicts and lists of arrays of base64."""
    if isinstance(tree, dict):
        entries = (f"{key!r}: {_literal(value)}" for key, value in tree.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(map(_literal, tree)) + "]"
    array = np.asarray(tree, "<f4")
    text = base64.b64encode(array.tobytes()).decode()
    lines = textwrap.wrap(text, _WIDTH - 4) or [""]
    joined = "\n    ".join(f"'{line}'" for line in lines)
    return f"_array({array.shape}, (\n    {joined}))"


def _head(optimizer: LearnedOptimizer, theta: PyTree, module: str) -> str:
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(theta))
    needs = "horizon=1000" if "horizon" in optimizer.needs else ""
    told = ", value=loss" if "loss" in policy.read_by(optimizer) else ""
    return f"""The learned optimizer {optimizer.name!r} as an optax transformation, on its own.

    from {module} import optimizer

    tx = optimizer({needs})
    state = tx.init(params)
    updates, state = tx.update(grads, state, params{told})
    params = optax.apply_updates(params, updates)

Written by opt_gym's `learned.export` (Apache License 2.0) from its own code: {count:,} weights
θ, digest {theta_file.digest(optimizer, theta)}. What it computes:

{_equations(optimizer)}
"""


def _equations(optimizer: LearnedOptimizer) -> str:
    """The text of the architecture's module."""
    module = plugins.module_of("architecture", optimizer.name)
    text = inspect.getdoc(importlib.import_module(module)) or ""
    return textwrap.indent(text.replace("\\", "\\\\"), "    ")
