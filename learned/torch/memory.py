"""What a learned optimizer remembers, as entries of torch's `optimizer.state`.

The state of a parameter holds "step", the numbers remembered of it under the names of their
places ("carry.momentum"), and under "shared.*" what belongs to all parameters: the same
tensors in the state of each. Nothing else is remembered, so that whatever copies, resets,
saves or cuts torch's states does the same with ours.
"""

from typing import Any, NamedTuple

import jax
import torch
from jaxtyping import PyTree

from learned.torch.sharded import local
from opt_gym import policy
from opt_gym.records import LearnedOptimizer

STEP = "step"
SHARED = "shared."
COUNTS = T, SKIPPED, BEGUN = "shared.t", "shared.skipped", "shared.begun"
"""Steps done by the optimizer, gradients that were not finite, and T when memories began (0
but after an explosion, see `GuardedOptim`): int64. θ is shown the time since then."""

_PARTS = policy.Memories._fields
_OLD_KEY = "learned_optimizer"
"""In states of version 0.1: what belonged to no single parameter."""


class Layout(NamedTuple):
    """Which entries there are: structures of (features', carry's, action map's), and names."""

    of_tensor: Any
    names: tuple[str, ...]
    shared: Any
    shared_names: tuple[str, ...]


def layout_of(learned_optimizer: LearnedOptimizer) -> Layout:
    """That of an architecture, for tensors of every rank."""
    of_tensor, shared = policy.memory_structure(learned_optimizer)
    shared_names = tuple(f"{SHARED}{name}" for name in _names(shared))
    return Layout(of_tensor, _names(of_tensor), shared, shared_names)


def entries_of(layout: Layout, tensor: PyTree) -> dict[str, Any]:
    """What is kept of one parameter, beside "step"."""
    return dict(zip(layout.names, layout.of_tensor.flatten_up_to(tensor), strict=True))


def entries_of_all(layout: Layout, shared: PyTree) -> dict[str, Any]:
    """What is kept of all, beside the counts."""
    return dict(
        zip(layout.shared_names, layout.shared.flatten_up_to(shared), strict=True)
    )


def is_shared(name: str) -> bool:
    """Whether an entry belongs to all parameters."""
    return name.startswith(SHARED)


def copied(entries: dict[str, Any]) -> dict[str, Any]:
    """In memory of their own: some begin as a part of θ."""
    return {name: value.clone() for name, value in entries.items()}


def tensor_of(layout: Layout, state: dict[str, Any]) -> PyTree:
    """What is remembered of a parameter, or of this process's part."""
    return layout.of_tensor.unflatten([local(state[name]) for name in layout.names])


def check_fit(
    layout: Layout,
    state: dict[str, Any],
    expected: dict[str, Any],
    shape: tuple[int, ...],
) -> None:
    """Raises ValueError where a state is not that of a parameter of this shape."""
    for name, like in expected.items():
        found = state.get(name)
        # Version 0.1 had no empty arrays.
        if found is None or (like.numel() and found.shape != like.shape):
            what = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise ValueError(
                f"this state is not that of a parameter of shape {shape}: {name!r} has "
                f"{what} instead of {tuple(like.shape)}"
            )
    missing = [n for n in (STEP, *layout.shared_names, *COUNTS) if n not in state]
    if missing:
        raise ValueError(f"this state lacks {', '.join(missing)}")


def shared_of(layout: Layout, state: dict[str, Any]) -> PyTree:
    """What belongs to all."""
    return layout.shared.unflatten([state[name] for name in layout.shared_names])


def counts(device: torch.device) -> dict[str, torch.Tensor]:
    """Those of a new optimizer."""
    return {name: torch.zeros((), dtype=torch.int64, device=device) for name in COUNTS}


def from_version_01(
    layout: Layout, state: dict[Any, dict[str, Any]], extra: dict[str, Any]
) -> dict[Any, dict[str, Any]]:
    """States as version 0.1 saved them: what all share lay beside them.

    Args:
        layout: of the architecture.
        state: by parameter; what a tensor of that rank did not have was missing.
        extra: "t", "skipped" and what else belongs to all.
    """
    missing = {name: torch.zeros(0) for name in layout.names}
    of_all = {f"{SHARED}{name}": value for name, value in extra.items()}
    of_all[BEGUN] = torch.zeros((), dtype=torch.int64)
    known = {*COUNTS, *layout.shared_names}
    of_all = {name: value for name, value in of_all.items() if name in known}
    return {index: {**missing, **own, **of_all} for index, own in state.items()}


def _names(structure: Any) -> tuple[str, ...]:
    tree = structure.unflatten(range(structure.num_leaves))
    named = policy.named_leaves(dict(zip(_PARTS, tree, strict=True)))
    return tuple(name for name, _ in sorted(named, key=lambda item: item[1]))


def moved(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A state on the device of its parameter."""
    return jax.tree.map(lambda value: value.to(device), state)


def as_today(
    layout: Layout, state_dict: dict[str, Any], theta: str
) -> tuple[dict[str, Any], bool]:
    """(a saved state as it is saved today, whether it was so already).

    Args:
        layout: of the architecture.
        state_dict: as it was saved, by this version or by 0.1.
        theta: digest of the θ that it must be of.

    Raises:
        ValueError: it is of another optimizer, or of another θ.
    """
    extra, groups = state_dict.get(_OLD_KEY), state_dict.get("param_groups")
    if not groups:
        raise ValueError(f"this state has no param_groups, only {sorted(state_dict)}")
    digests = {g.get("theta") for g in groups} if extra is None else {extra["theta"]}
    if digests == {None}:
        raise ValueError(
            "this state does not come from a LearnedOptim: it has no digest of a θ, only "
            f"{sorted(state_dict)}, and groups of {sorted(groups[0])}"
        )
    if digests != {theta}:
        raise ValueError(
            f"this state was saved with the θ {', '.join(map(str, digests))}, this "
            f"optimizer has {theta}"
        )
    if extra is None:
        return state_dict, True
    groups = [{**group, "theta": theta} for group in groups]
    states = from_version_01(layout, state_dict["state"], extra)
    return {"state": states, "param_groups": groups}, False
