"""The formats that others publish θ in, and what each of them is of.

A format's layout says where the numbers of our θ lie in their file; the way back is found by
laying out the numbers 0, 1, 2, ... So nothing can be lost, taken twice or read in two ways.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from learned.published import layouts
from learned.published.published_files import Leaves
from opt_gym import plugins, policy
from opt_gym.plugins import unknown
from opt_gym.records import Config, LearnedOptimizer

Shapes = Mapping[str, tuple[int, ...]]

MULO_DECAYS = {
    "decays.momentum": (0.15216392, 0.14245212, 0.06812963),
    "decays.second_moment": (0.01079706,),
    "decays.factored": (0.18621896, -0.10864615, -0.06185547),
}
"""Of μLO's θ, which PyLO has in its code (AdafacLO_naive.py) and not in its files."""


class PublishedFormat(NamedTuple):
    """A kind of file.

    Attributes:
        title: whose θ are in such files, and how they were written.
        architecture: ours.
        config: shapes of their leaves -> the architecture's settings that these tell. A
            KeyError or IndexError where it is not such a file.
        layout: θ -> their leaves, see `layouts`.
        beside: entries of our θ that they have in their code, and their values.
        unread: beginnings of the names of leaves that are no part of θ.
    """

    title: str
    architecture: str
    config: Callable[[Shapes], Config]
    layout: Callable[[Any], Leaves]
    beside: Mapping[str, tuple[float, ...]] = {}
    unread: tuple[str, ...] = ()


def _depth(shapes: Shapes, name: str) -> int:
    """How many of the leaves `name`0, `name`1, ... there are."""
    return next(i for i in range(len(shapes) + 1) if f"{name}{i}" not in shapes)


def _scheduler(shapes: Shapes) -> Config:
    return {"lstm_hidden": shapes["lstm_init_state/hidden"][1]}


def _velo(form: str) -> Callable[[Shapes], Config]:
    def config(shapes: Shapes) -> Config:
        num_banks, hidden = shapes["ff_mod_stack/~/b0"]
        num_layers = _depth(shapes, "ff_mod_stack/~/b") - 1
        sizes = {"num_banks": num_banks, "hidden": hidden, "num_layers": num_layers}
        return {"form": form, "unused_layer": True, **_scheduler(shapes), **sizes}

    return config


def _celo2(shapes: Shapes) -> Config:
    (hidden,) = shapes["ff_mod_stack/~/b0"]
    return {"hidden": hidden, "num_layers": _depth(shapes, "ff_mod_stack/~/b") - 1}


def _pylo_celo2(shapes: Shapes) -> Config:
    (hidden,) = shapes["b0"]
    return {"hidden": hidden, "num_layers": _depth(shapes, "dense_b.")}


def _adafac_mlp(shapes: Shapes) -> Config:
    (hidden,) = shapes["nn/~/b0"]
    return {"hidden": hidden, "num_layers": _depth(shapes, "nn/~/b") - 1}


def _pylo_mlp(shapes: Shapes) -> Config:
    (hidden,) = shapes["network.input.bias"]
    middle = sum(name.startswith("network.linear_") for name in shapes) // 2
    return {"hidden": hidden, "num_layers": middle + 1}


def _mulo(shapes: Shapes) -> Config:
    return {**_pylo_mlp(shapes), "step_multiplier": 0.01}


def _mlp(shapes: Shapes) -> Config:
    (hidden,) = shapes["mlp/~/linear_0/b"]
    num_layers = sum(name.startswith("mlp/~/linear_") for name in shapes) // 2 - 1
    return {"hidden": hidden, "num_layers": num_layers, "features": "momenta"}


def _rnn_mlp(shapes: Shapes) -> Config:
    prefix = "ffmod_params/mlp/~/linear_"
    (hidden,) = shapes[f"{prefix}0/b"]
    return {
        **_scheduler(shapes),
        "hidden": hidden,
        "num_layers": sum(name.startswith(prefix) for name in shapes) // 2 - 1,
        "message": shapes["initial_from_lstm"][0],
        "feedback": shapes["initial_from_mlp"][0],
        "advice": shapes["rnn_to_ff_params/rnn_to_ff/b"][0],
    }


def _pylo_velo(shapes: Shapes) -> Config:
    num_banks, hidden = shapes["input_bias_"]
    return {
        "lstm_hidden": shapes["lstm_init_state.0"][1],
        "num_banks": num_banks,
        "hidden": hidden,
        "num_layers": _depth(shapes, "hidden_bias_.") + 1,
        "unused_layer": True,
    }


_HAIKU = "a tree of Haiku's, msgpack of Flax"
FORMATS = {
    "celo": PublishedFormat(
        f"Celo: {_HAIKU}", "velo_like", _velo("celo"), layouts.velo
    ),
    "celo_adam": PublishedFormat(
        f"Celo-Adam: {_HAIKU}", "celo_adam", _scheduler, layouts.celo_adam
    ),
    "velo": PublishedFormat(
        f"VeLO (HyperV2): {_HAIKU}", "velo_like", _velo("velo"), layouts.velo
    ),
    "celo2": PublishedFormat(
        f"Celo2: {_HAIKU}",
        "normalized_direction",
        _celo2,
        layouts.celo2,
    ),
    "adafac_mlp": PublishedFormat(
        f"small_fc (AdafacMLPLOpt): {_HAIKU}",
        "adafactor_mlp",
        _adafac_mlp,
        layouts.adafac_mlp,
    ),
    "mlp": PublishedFormat(f"MLPLOpt: {_HAIKU}", "mlp", _mlp, layouts.mlp),
    "nn_adam": PublishedFormat(
        f"NNAdam: {_HAIKU}", "nn_adam", _scheduler, layouts.nn_adam
    ),
    "rnn_mlp": PublishedFormat(
        f"RNNMLPLOpt: {_HAIKU}", "hierarchical", _rnn_mlp, layouts.rnn_mlp
    ),
    "pylo_mulo": PublishedFormat(
        "μLO and small_fc in PyLO: safetensors",
        "adafactor_mlp",
        _mulo,
        layouts.pylo_mlp,
        beside=MULO_DECAYS,
    ),
    "pylo_elo": PublishedFormat(
        "ELO in PyLO: the same file as μLO's, used in another way",
        "adafactor_mlp",
        _pylo_mlp,
        layouts.pylo_mlp,
        beside={name: (0.0,) * len(values) for name, values in MULO_DECAYS.items()},
    ),
    "pylo_velo": PublishedFormat(
        "VeLO in PyLO: a folder with the safetensors of VeLO_RNN and of VeLO_MLP",
        "velo_like",
        _pylo_velo,
        layouts.pylo_velo,
        unread=(
            *("input_weights", "input_bias", "hidden_weights.", "hidden_bias."),
            *("output_weights", "output_bias"),
        ),
    ),
    "pylo_celo2": PublishedFormat(
        "Celo2 in PyLO: safetensors",
        "normalized_direction",
        _pylo_celo2,
        layouts.pylo_celo2,
    ),
}
"""By name; where a file fits several, the first is taken."""


def convert(
    leaves: Leaves, format: str | None, settings: Config
) -> tuple[str, LearnedOptimizer, PyTree]:
    """(the format, the learned optimizer, θ) of the leaves of a file.

    Args:
        leaves: theirs, by name.
        format: one of `FORMATS`; None for the first that fits.
        settings: of the architecture, beyond what the shapes tell.

    Raises:
        ValueError: an unknown format, or leaves that do not fit: which are missing,
            unexpected or of another shape.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(unknown("format", format, list(FORMATS)))
    tried = {}
    for name in [format] if format else FORMATS:
        kind = FORMATS[name]
        given = {
            leaf: array for leaf, array in leaves.items() if not _is_unread(kind, leaf)
        }
        shapes = {leaf: tuple(array.shape) for leaf, array in given.items()}
        try:
            config = kind.config(shapes)
        except (KeyError, IndexError, ValueError) as error:
            tried[name] = f"missing: {error}", len(shapes) + 1
            continue
        made = plugins.build("architecture", kind.architecture, config)
        places, laid = places_of(kind, made)
        expected = {leaf: tuple(place.shape) for leaf, place in laid.items()}
        differs = policy.shape_differences(expected, shapes)
        if not differs:
            theta = _filled(kind, places, laid, given)
            made = plugins.build("architecture", kind.architecture, config | settings)
            return name, made, theta
        tried[name] = differs, len(set(expected.items()) ^ set(shapes.items()))
    nearest = min(tried, key=lambda name: tried[name][1])
    which = f"the format {nearest!r}" if format else f"any format, least {nearest!r}"
    raise ValueError(f"its leaves do not fit {which}: {tried[nearest][0]}")


def _is_unread(kind: PublishedFormat, leaf: str) -> bool:
    # What PyLO mixes of its banks is named as they are, less an underscore.
    return any(
        leaf == name or (name.endswith(".") and leaf.startswith(name))
        for name in kind.unread
    )


def places_of(kind: PublishedFormat, made: LearnedOptimizer) -> tuple[PyTree, Leaves]:
    """θ with the number of its place for every weight, and where these lie in their file."""
    outline = policy.theta_like(made)
    sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(outline)]
    starts = iter(np.cumsum([0, *sizes[:-1]]))
    places = jax.tree.map(
        lambda leaf: (
            next(starts) + np.arange(int(np.prod(leaf.shape))).reshape(leaf.shape)
        ),
        outline,
    )
    return places, kind.layout(places)


def _filled(
    kind: PublishedFormat, places: PyTree, laid: Leaves, given: Leaves
) -> PyTree:
    """θ with their numbers in our places."""
    named = dict(policy.named_leaves(places))
    flat = np.full(sum(place.size for place in named.values()), np.nan, np.float32)
    for leaf, place in laid.items():
        flat[place] = given[leaf]
    for name, values in kind.beside.items():
        flat[named[name]] = values
    return jax.tree.map(lambda place: flat[place], places)
