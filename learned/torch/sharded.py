"""Parameters of which every process holds a part: DTensors, as FSDP2 makes them.

A step works on this process's part; what is told of a whole tensor is added up over the
processes (`opt_gym.maths.parts`). What is remembered of every weight is a DTensor like its
parameter, so that `torch.distributed.checkpoint` saves and cuts it as torch's own states.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from opt_gym.maths.parts import Others
from opt_gym.records import LearnedOptimizer


def is_sharded(tensor: Any) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "device_mesh")


def local(tensor: Any) -> Any:
    """This process's part of a tensor, sharing its memory; a plain one as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def check_parameter(param: Any, learned_optimizer: LearnedOptimizer) -> None:
    """Raises ValueError for a DTensor that cannot be trained in parts."""
    if not is_sharded(param):
        if is_sharded(param.data):
            raise ValueError(_refused(param, "is one in disguise"))
        return
    if not learned_optimizer.takes_parts:
        name = learned_optimizer.name
        raise ValueError(
            _refused(param, f"of which {name!r} would see this process's part alone")
        )
    if len(_sharding_axes(param)) != 1:
        raise ValueError(_refused(param, f"is placed {param.placements}"))


def _refused(param: Any, why: str) -> str:
    return (
        f"a DTensor (shape {tuple(param.shape)}) {why}: LearnedOptim takes parameters cut "
        "along one axis of a mesh, as FSDP2's, with an architecture that adds up over parts "
        "('general'), and else whole ones, as DistributedDataParallel has them"
    )


def _sharding_axes(param: Any) -> list[int]:
    """Axes of the mesh along which it is cut; all of them where it is a sum that is due."""
    if any(place.is_partial() for place in param.placements):
        return []
    return [i for i, place in enumerate(param.placements) if place.is_shard()]


def _group_of(param: Any) -> Any:
    return param.device_mesh.get_group(_sharding_axes(param)[0])


def others_of(views: Sequence[Any]) -> Others | None:
    """What `opt_gym.maths.parts` is told of these parameters; None where none is cut.

    Raises:
        ValueError: they are cut over several groups of processes.
    """
    cut = [is_sharded(view.param) for view in views]
    groups = {_group_of(view.param) for view in views if is_sharded(view.param)}
    if not groups:
        return None
    if len(groups) > 1:
        raise ValueError(
            f"parameters are cut over {len(groups)} groups of processes: LearnedOptim adds "
            "up over one"
        )
    shapes = [tuple(view.param.shape[axis] for axis in view.axes) for view in views]
    return Others(shapes, partial(_added_up, torch.tensor(cut), groups.pop()))


def _added_up(cut: torch.Tensor, group: Any, totals: torch.Tensor) -> torch.Tensor:
    """Totals [k, f] of the tensors that are cut, over all processes of the group."""
    cut = cut.to(totals.device)[:, None]
    summed = torch.where(cut, totals, torch.zeros_like(totals))
    torch.distributed.all_reduce(summed, group=group)
    return torch.where(cut, summed, totals)


def agreed(usable: torch.Tensor, others: Others | None) -> torch.Tensor:
    """Whether every process's part of the gradients is usable."""
    if others is None:
        return usable
    count = len(others.shapes)
    missing = (~usable).float().expand(count, 1) / count
    return others.add_up(missing.contiguous()).sum() == 0


def as_parameter(entry: torch.Tensor, param: Any, axes: tuple[int, ...]) -> Any:
    """What is remembered of every weight, [*lead, *part], as a DTensor [*lead, *whole].

    Args:
        entry: with the parameter's axes in the order `axes`, behind its own.
        param: a DTensor.
        axes: see `View`.
    """
    from torch.distributed.tensor import DTensor, Shard

    lead = entry.ndim - param.ndim
    shape = (*entry.shape[:lead], *(param.shape[axis] for axis in axes))
    placements = [
        Shard(lead + axes.index(place.dim)) if place.is_shard() else place
        for place in param.placements
    ]
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        entry.contiguous(),
        param.device_mesh,
        placements,
        run_check=False,
        shape=torch.Size(shape),
        stride=stride,
    )
