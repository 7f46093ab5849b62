"""Several processes that train one model: one loss for all, and a check that it is one model.

An optimizer that reads the loss moves each copy of a model by what its own process saw: the
copies drift apart. So the loss is averaged over the processes first, as DDP averages
gradients. Where each process holds a part of the parameters alone (ZeRO, FSDP, tensor
parallel), what tensors tell each other would be told of that part only, silently.
"""

from typing import Any

import torch

REMEDY = (
    "LearnedOptim needs every process to hold the same, whole parameters, as "
    "DistributedDataParallel does; ZeRO, FSDP and tensor parallelism cut them, and are not "
    "supported. Processes that train unrelated models say process_group=False"
)


def group_of(process_group: Any) -> Any:
    """The group to average over; None for none.

    Args:
        process_group: a group, None for the default one where torch.distributed runs, or
            False.
    """
    if process_group is False or not torch.distributed.is_available():
        return None
    if process_group is not None:
        return process_group
    runs = torch.distributed.is_initialized()
    return torch.distributed.group.WORLD if runs else None


def mean(value: Any, group: Any, device: torch.device) -> Any:
    """The mean of a loss over the processes of a group; None stays."""
    if value is None:
        return None
    total = torch.as_tensor(value, dtype=torch.float32, device=device).detach().clone()
    torch.distributed.all_reduce(total, group=group)
    return total / torch.distributed.get_world_size(group)


def check_equal(params: list[torch.Tensor], group: Any) -> None:
    """Raises ValueError in every process unless all hold the same parameters."""
    sums = [param.detach().double().sum() for param in params if param.numel()]
    numbers = [len(params), sum(param.numel() for param in params), *_halves(sums)]
    mine = torch.tensor(numbers, dtype=torch.float64, device=params[0].device)
    lowest, highest = mine.clone(), mine.clone()
    ops = torch.distributed.ReduceOp
    torch.distributed.all_reduce(lowest, op=ops.MIN, group=group)
    torch.distributed.all_reduce(highest, op=ops.MAX, group=group)
    if not torch.equal(lowest.nan_to_num(), highest.nan_to_num()):
        raise ValueError(f"the parameters of the processes differ: {REMEDY}")


def refuse_parts(param: Any) -> None:
    """Raises ValueError for a parameter that is cut over devices."""
    if hasattr(param, "device_mesh") or hasattr(param.data, "device_mesh"):
        raise ValueError(
            f"a DTensor (shape {tuple(param.shape)}) is a parameter in parts: {REMEDY}"
        )


def _halves(sums: list[torch.Tensor]) -> tuple[float, float]:
    """Two numbers that tell lists of sums apart, and their order."""
    total, weighted = 0.0, 0.0
    for place, value in enumerate(sums, start=1):
        total, weighted = total + float(value), weighted + place * float(value)
    return total, weighted
