"""What a parameter of torch is, and how the maths of a step sees it."""

from typing import Any

import torch
from torch.nn.parameter import is_lazy

from learned.arguments import ROLES, check_factor
from learned.torch.numbers import float32
from learned.torch.ranks import refuse_parts
from opt_gym.plugins import unknown


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
    """A parameter as the maths sees it: float32, axes in JAX's order."""

    def __init__(self, param: torch.Tensor, group: dict[str, Any]) -> None:
        self.param, self.group = param, group
        self.role = group["role"] or ("kernel" if param.ndim >= 2 else "bias")
        self.axes = group["axes"] or _axes(self.role, param.ndim)
        self.value = self._seen(param)

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
        self.param.add_(delta.permute(_inverse(self.axes)).to(self.param.dtype))

    def _seen(self, tensor: Any) -> torch.Tensor:
        return float32(tensor.detach()).permute(self.axes)


def can_step(param: torch.Tensor) -> bool:
    """Whether it has elements: none of an uninitialized one are there yet."""
    return not is_lazy(param) and bool(param.numel())


def _axes(role: str, ndim: int) -> tuple[int, ...]:
    if role == "embedding" or ndim < 2:
        return tuple(range(ndim))
    return (*range(2, ndim), 1, 0)


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axes.index(axis) for axis in range(len(axes)))


def check_group(group: dict[str, Any]) -> None:
    """Raises ValueError for settings or parameters that make no sense."""
    for key in ("lr", "weight_decay"):
        check_factor(key, group[key])
    if group["role"] is not None and group["role"] not in ROLES:
        raise ValueError(unknown("role", str(group["role"]), list(ROLES)))
    for param in group["params"]:
        refuse_parts(param)
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
    """Raises ValueError for a gradient that is not a dense array."""
    grad = param.grad
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
    if param.ndim < 2:
        return "bias", None
    transposed = isinstance(
        module,
        torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d,
    )
    if transposed:  # [in, out, *window]
        return "kernel", (*range(2, param.ndim), 0, 1)
    return "kernel", None
