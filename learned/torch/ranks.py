"""Several processes that train one model: one loss for all, and a check that it is one model.

An optimizer that reads the loss moves each copy of a model by what its own process saw: the
copies drift apart. So the loss is averaged over the processes first, as DDP averages
gradients. Where each process holds some of the parameters alone (ZeRO, FSDP1), what tensors
tell each other would be told of these only, silently; DTensors say what they are a part of
(`sharded`).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.algorithms.join import Join, Joinable, JoinHook

from learned.torch.numbers import scalar
from learned.torch.sharded import is_sharded
from opt_gym import policy
from opt_gym.records import LearnedOptimizer

REMEDY = (
    "LearnedOptim needs every process to hold the same, whole parameters, as "
    "DistributedDataParallel does, or its part of every one as a DTensor, as FSDP2 does; ZeRO "
    "and FSDP1 share them out otherwise, and are not supported. Processes that train "
    "unrelated models say process_group=False"
)


def params_of(optimizer: Any) -> Iterator[torch.Tensor]:
    """All parameters of an optimizer of torch, group by group."""
    return (param for group in optimizer.param_groups for param in group["params"])


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


def means(
    values: list[Any], group: Any, device: torch.device, *, steps: bool = True
) -> list[torch.Tensor]:
    """The mean of each number over the processes; NaN where not all that step have it.

    One exchange, whatever each process has: else one would wait for ever.

    Args:
        values: tensors []; None for one that is not there.
        group: of processes.
        device: for the exchange.
        steps: whether this process steps, or ran out of data before others did.
    """
    zero, one = torch.zeros((), device=device), torch.ones((), device=device)
    numbers = [zero if value is None else value.to(device) for value in values]
    counts = [zero if value is None else one for value in values]
    total = torch.stack([*numbers, *counts, one if steps else zero])
    torch.distributed.all_reduce(total, group=group)
    sums, known, stepping = total[: len(values)], total[len(values) : -1], total[-1]
    return [*torch.where(known == stepping, sums / known, torch.nan)]


@contextlib.contextmanager
def no_autocast(device: torch.device) -> Iterator[None]:
    """A step is float32, wherever it is called."""
    if not torch.amp.is_autocast_available(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


class _StepOfOthers(JoinHook):
    """What a process does that ran out of data, so that the others need not wait for it."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def main_hook(self) -> None:
        """At every step of the others."""
        self._optimizer._step_of_others()


class InStep(Joinable):
    """What `torch.distributed.algorithms.Join([model, optimizer])` asks of an optimizer."""

    learned_optimizer: LearnedOptimizer
    param_groups: list[dict[str, Any]]
    _process_group: Any
    _is_compared: bool

    def _begin_in_step(self) -> None:
        """As a constructor, for what is copied, too."""
        Joinable.__init__(self)
        self._is_compared = False

    def _over_processes(
        self, loss: Any, valid_loss: Any, device: torch.device
    ) -> tuple[Any, Any]:
        """The losses, averaged where several processes train; these are compared first."""
        group = group_of(self._process_group)
        if group is None:
            return loss, valid_loss
        Join.notify_join_context(self)
        self._compare_once(group)
        if "loss" not in policy.read_by(self.learned_optimizer):
            return loss, valid_loss
        named = (("loss", loss), ("valid_loss", valid_loss))
        known = [None if x is None else scalar(name, x, device) for name, x in named]
        loss, valid_loss = means(known, group, device)
        return loss, valid_loss

    def _step_of_others(self) -> None:
        """What a process does that ran out of data, while others still step."""
        group = group_of(self._process_group)
        self._compare_once(group)
        if "loss" in policy.read_by(self.learned_optimizer):
            means([None, None], group, self.join_device, steps=False)

    def _compare_once(self, group: Any) -> None:
        if not self._is_compared:
            check_equal([p for p in params_of(self) if not is_sharded(p)], group)
            self._is_compared = True

    def join_hook(self, **keywords: Any) -> JoinHook:
        """Torch's; the `keywords` that a `Join` hands on change nothing."""
        return _StepOfOthers(self)

    @property
    def join_device(self) -> torch.device:
        """Torch's."""
        return next(params_of(self)).device

    @property
    def join_process_group(self) -> Any:
        """Torch's."""
        return group_of(self._process_group)


def check_equal(params: list[torch.Tensor], group: Any) -> None:
    """Raises ValueError in every process unless all hold the same parameters."""
    if not params:  # of none is a whole here
        return
    sums = [param.detach().double().sum() for param in params if param.numel()]
    numbers = [len(params), sum(param.numel() for param in params), *_halves(sums)]
    mine = torch.tensor(numbers, dtype=torch.float64, device=params[0].device)
    lowest, highest = mine.clone(), mine.clone()
    ops = torch.distributed.ReduceOp
    torch.distributed.all_reduce(lowest, op=ops.MIN, group=group)
    torch.distributed.all_reduce(highest, op=ops.MAX, group=group)
    if not torch.equal(lowest.nan_to_num(), highest.nan_to_num()):
        raise ValueError(f"the parameters of the processes differ: {REMEDY}")


def _halves(sums: list[torch.Tensor]) -> tuple[float, float]:
    """Two numbers that tell lists of sums apart, and their order."""
    total, weighted = 0.0, 0.0
    for place, value in enumerate(sums, start=1):
        total, weighted = total + float(value), weighted + place * float(value)
    return total, weighted
