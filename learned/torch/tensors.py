"""What a parameter of torch is, and how the maths of a step sees it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from learned.arguments import ROLES, check_factor
from learned.torch.numbers import float32
from learned.torch.sharded import as_parameter, check_parameter, is_sharded, local
from opt_gym.plugins import unknown
from opt_gym.records import LearnedOptimizer


def param_groups(model: torch.nn.Module, **options: Any) -> list[dict[str, Any]]:
    """The parameters of a model in groups that say what they are, for `LearnedOptim`.

    Embeddings keep their axes, normalizations are named so, and transposed convolutions are
    shown as JAX has them.

    Args:
        model: whose parameters; shared ones once.
        options: for every group, such as weight_decay.
    """
    groups: dict[tuple[str, tuple[int, ...] | None], list[torch.nn.Parameter]] = {}
    seen: set[torch.nn.Parameter] = set()
    for module in model.modules():
        for name, param in module.named_parameters(recurse=False):
            if param in seen:
                continue
            seen.add(param)
            groups.setdefault(_kind(module, name, param), []).append(param)
    return [
        {"params": params, "role": role, "axes": axes, **options}
        for (role, axes), params in groups.items()
    ]


class View:
    """A parameter as the maths sees it: float32, axes in JAX's order, this process's part."""

    def __init__(self, param: torch.Tensor, group: dict[str, Any]) -> None:
        self.param, self.group = param, group
        self.role = group["role"] or ("kernel" if param.ndim >= 2 else "bias")
        self.axes = group["axes"] or _axes(self.role, param.ndim)
        self.value = self._seen(param)
        self.is_cut = is_sharded(param)

    def gradient(self) -> torch.Tensor:
        """Downhill is against it."""
        grad = self._seen(self.param.grad)
        return -grad if self.group["maximize"] else grad

    def add(self, delta: torch.Tensor, factor: Any, usable: torch.Tensor) -> None:
        """Lr · factor · (Δφ − weight_decay · φ), or nothing."""
        weight_decay = self.group["weight_decay"]
        if weight_decay:
            delta = delta - weight_decay * self.value
        lr = self.group["lr"]
        rate = (lr.reshape(()) if isinstance(lr, torch.Tensor) else lr) * factor
        delta = delta if isinstance(rate, float) and rate == 1.0 else rate * delta
        delta = torch.where(usable, delta, 0.0)
        local(self.param).add_(delta.permute(_inverse(self.axes)).to(self.param.dtype))

    def _seen(self, tensor: Any) -> torch.Tensor:
        return float32(local(tensor.detach())).permute(self.axes)


def unreal(shape: Sequence[int], group: dict[str, Any]) -> View:
    """A view of a parameter without numbers."""
    return View(torch.empty(tuple(shape), device="meta"), group)


class Cutting:
    """What is remembered of every weight of a parameter that is cut, cut as it is."""

    def __init__(self, entries_at_first: Callable[[View], dict[str, Any]]) -> None:
        """Of an optimizer that remembers these of a view at first."""
        self._at_first = entries_at_first
        self._names: dict[int, frozenset[str]] = {}

    def of(self, view: View, entries: dict[str, Any]) -> dict[str, Any]:
        """The entries of a view, DTensors where they have a number for every weight."""
        names = self._names_for(view.param.ndim, view.group)
        return {
            name: as_parameter(entry, view.param, view.axes) if name in names else entry
            for name, entry in entries.items()
        }

    def _names_for(self, rank: int, group: dict[str, Any]) -> frozenset[str]:
        """Names of those whose shape is another for a parameter of another shape."""
        if rank not in self._names:
            two, three = (
                self._at_first(unreal((size,) * rank, group)) for size in (2, 3)
            )
            self._names[rank] = frozenset(
                name for name in two if two[name].shape != three[name].shape
            )
        return self._names[rank]


def can_step(param: torch.Tensor) -> bool:
    """Whether it has elements: none of an uninitialized one are there yet."""
    return not is_lazy(param) and bool(param.numel())


def total_size(params: Iterable[torch.Tensor]) -> int:
    """Elements of them all; of an uninitialized one none are there yet."""
    return sum(param.numel() for param in params if can_step(param))


def _axes(role: str, ndim: int) -> tuple[int, ...]:
    if role == "embedding" or ndim < 2:
        return tuple(range(ndim))
    return (*range(2, ndim), 1, 0)


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axes.index(axis) for axis in range(len(axes)))


def check_group(group: dict[str, Any], learned_optimizer: LearnedOptimizer) -> None:
    """Raises ValueError for settings or parameters that make no sense."""
    for key in ("lr", "weight_decay"):
        check_factor(key, group[key])
    if group["role"] is not None and group["role"] not in ROLES:
        raise ValueError(unknown("role", str(group["role"]), list(ROLES)))
    for param in group["params"]:
        check_parameter(param, learned_optimizer)
        if not param.is_floating_point():
            kind = "complex" if param.is_complex() else str(param.dtype)
            raise ValueError(
                f"a {kind} parameter of shape {tuple(param.shape)} is not supported"
            )
        axes = None if is_lazy(param) else group["axes"]
        if axes is not None and sorted(axes) != list(range(param.ndim)):
            raise ValueError(
                f"axes {axes} are not those of a parameter of shape {tuple(param.shape)}"
            )


def check_gradient(param: Any) -> None:
    """Raises ValueError for a gradient that is not a dense array, cut as its parameter is."""
    grad = param.grad
    if getattr(grad, "placements", None) != getattr(param, "placements", None):
        raise ValueError(
            f"the gradient of a parameter of shape {tuple(param.shape)} is not cut as it is"
        )
    if grad.is_sparse or grad.layout != torch.strided:
        raise ValueError(
            f"a sparse gradient (shape {tuple(param.shape)}) is not supported: use "
            "Embedding(sparse=False)"
        )


def _kind(
    module: torch.nn.Module, name: str, param: torch.Tensor
) -> tuple[str, tuple[int, ...] | None]:
    if isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return "embedding", None
    if "Norm" in type(module).__name__:
        return ("bias" if "bias" in name else "norm"), None
    # The shape of a lazy one is not known yet.
    is_bias = "bias" in name if is_lazy(param) else param.ndim < 2
    if is_bias:
        return "bias", None
    transposed = isinstance(
        module,
        torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d,
    )
    if transposed:  # [in, out, *window]
        return "kernel", (*range(2, 2 + len(module.kernel_size)), 0, 1)
    return "kernel", None
