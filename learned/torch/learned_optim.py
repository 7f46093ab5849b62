"""`LearnedOptim`: (architecture, θ) as a `torch.optim.Optimizer`."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import PyTree

from learned import theta_file
from learned.decay import check_decay, cosine
from learned.optax_transformation import beyond, planned_horizon
from learned.torch.tensors import View, check_gradient, check_group
from opt_gym import policy
from opt_gym.records import LearnedOptimizer, Signal

EXTRA = "learned_optimizer"
"""The key of `state_dict` for what belongs to no single parameter."""

_MEMORIES = policy.Memories._fields


class LearnedOptim(torch.optim.Optimizer):
    """A learned optimizer.

    `step` adds lr · decay(t) · (Δφ − weight_decay · φ). Memory and arithmetic are float32,
    whatever the parameters are. Parameters without a gradient are left out of the step, its
    messages between tensors included. A gradient (or a needed loss) that is not finite
    changes nothing but the count `skipped`. Nothing is read back from an accelerator.

    The loss, where the architecture reads it, comes from a closure (`step(closure)`), from
    `step(loss=loss)`, or from `set_loss(loss)` before a plain `step()`.
    """

    def __init__(
        self,
        params: Any,
        learned: str | Path | tuple[LearnedOptimizer, PyTree],
        lr: float | torch.Tensor = 1.0,
        weight_decay: float = 0.0,
        *,
        horizon: int | None = None,
        decay: str | None = None,
        maximize: bool = False,
        warn: bool = True,
    ) -> None:
        """An optimizer of parameters, groups or named parameters.

        Args:
            params: as any of torch's optimizers takes them. A group may say "role" of its
                tensors ("kernel", "bias", "embedding" or "norm"; by default by their rank)
                and "axes", the order in which these are shown (by default a kernel's
                [out, in, *window] as [*window, in, out]); `param_groups(model)` fills in both.
            learned: a bundled name, the path of a θ file, or (learned optimizer, θ).
            lr: a factor of the learned step; schedulers may change it.
            weight_decay: decoupled, times lr.
            horizon: the planned number of steps; by default the one θ was trained for.
            decay: "cosine": lr falls to 0 over the horizon, as half a cosine.
            maximize: go up instead of down.
            warn: once, at the first step beyond the horizon θ was trained for.

        Raises:
            ValueError: a negative lr or weight decay, an unknown role or decay, a horizon
                that is needed and not known, a θ that does not fit the architecture, complex
                parameters.
            FileNotFoundError: neither a file nor a bundled name.
        """
        if isinstance(learned, str | Path):
            learned = theta_file.load(learned)
        self.learned_optimizer, theta = learned
        policy.check_theta(self.learned_optimizer, theta)
        check_decay(decay)
        self.horizon = planned_horizon(self.learned_optimizer, horizon, decay)
        self.decay = decay
        self._warn = warn
        self.theta_digest = theta_file.digest(self.learned_optimizer, theta)
        self._theta = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), theta)
        self._theta_on: dict[torch.device, PyTree] = {}
        self._calls = 0
        self._loss: Any = None
        self._valid_loss: Any = None
        self._shared: dict[str, torch.Tensor] = {}
        self._trees: dict[torch.Tensor, Any] = {}
        self._shared_tree: Any = None
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "role": None,
            "axes": None,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; errors as those of the constructor."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            check_group(group)
        except ValueError:
            self.param_groups.pop()
            raise

    def set_loss(self, loss: Any, valid_loss: Any = None) -> None:
        """The loss for the next `step()`, for trainers that call it without one."""
        self._loss, self._valid_loss = loss, valid_loss

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, closure: Any = None, *, loss: Any = None, valid_loss: Any = None
    ) -> Any:
        """One step.

        Args:
            closure: evaluates the model, calls backward and returns the loss; or the loss
                itself, as `GradScaler.step(optimizer, loss)` hands it on.
            loss: of the batch that gave the gradients.
            valid_loss: on data held out, where the architecture can use it.

        Returns:
            What the closure returned, else None.

        Raises:
            ValueError: a loss that is needed and not given; sparse or complex gradients.
        """
        returned = None
        if callable(closure):
            with torch.enable_grad():
                returned = closure()
            loss = returned if loss is None else loss
        elif closure is not None:
            loss = closure if loss is None else loss
        loss = self._loss if loss is None else loss
        valid_loss = self._valid_loss if valid_loss is None else valid_loss
        self._loss = self._valid_loss = None
        self._step(loss, valid_loss)
        return returned

    def state_dict(self) -> dict[str, Any]:
        """As torch's, and under "learned_optimizer" the digest of θ and what all share."""
        extra = {"theta": self.theta_digest, "calls": self._calls, **self._shared}
        return {**super().state_dict(), EXTRA: extra}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Exactly what was saved; the dict is not changed, and may be used again.

        Raises:
            ValueError: it comes from another architecture or another θ, or from another
                optimizer.
        """
        extra = state_dict.get(EXTRA)
        if extra is None:
            raise ValueError(
                "this state does not come from a LearnedOptim: it has no "
                f"{EXTRA!r}, only {sorted(state_dict)}"
            )
        if extra["theta"] != self.theta_digest:
            raise ValueError(
                f"this state was saved with the θ {extra['theta']}, this optimizer has "
                f"{self.theta_digest}"
            )
        super().load_state_dict({k: v for k, v in state_dict.items() if k != EXTRA})
        # torch gives floats the parameter's dtype; memory is float32 whatever that is.
        saved = (i for group in state_dict["param_groups"] for i in group["params"])
        for index, param in zip(saved, self._all(), strict=True):
            if index in state_dict["state"]:
                self.state[param] = {
                    key: value.clone().to(param.device)
                    for key, value in state_dict["state"][index].items()
                }
        device = next(self._all()).device
        self._calls = extra["calls"]
        self._shared = {
            key: value.clone().to(device)
            for key, value in extra.items()
            if isinstance(value, torch.Tensor)
        }

    def _all(self) -> Iterator[torch.Tensor]:
        return (param for group in self.param_groups for param in group["params"])

    def _step(self, loss: Any, valid_loss: Any) -> None:
        chosen = [
            (param, group)
            for group in self.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        if not chosen:
            return
        for param, _ in chosen:
            check_gradient(param)
        self._check_needs(loss, valid_loss)
        self._warn_beyond()
        device = chosen[0][0].device
        theta = self._theta_for(device)
        views = [View(param, group) for param, group in chosen]
        memories = self._memories(theta, views)
        signal = self._signal(views, loss, valid_loss, device)
        stepped, deltas = policy.advance(
            self.learned_optimizer, theta, memories, signal
        )
        usable = _usable(signal, "loss" in self.learned_optimizer.needs)
        self._remember(views, memories, stepped, usable)
        factor = self._decay_factor()
        for view, delta in zip(views, deltas, strict=True):
            view.add(delta, factor, usable)
        self._shared["t"] = self._shared["t"] + usable
        self._shared["skipped"] = self._shared["skipped"] + ~usable
        self._calls += 1

    def _check_needs(self, loss: Any, valid_loss: Any) -> None:
        needs, name = self.learned_optimizer.needs, self.learned_optimizer.name
        if "loss" in needs and loss is None:
            raise ValueError(
                f"{name!r} needs the loss: step(closure), step(loss=loss), or "
                "set_loss(loss) before step()"
            )
        if "valid_loss" in needs and valid_loss is None:
            raise ValueError(f"{name!r} needs step(valid_loss=loss on held-out data)")

    def _warn_beyond(self) -> None:
        trained = self.learned_optimizer.trained_horizon
        if self._warn and trained is not None and self._calls == trained:
            message = beyond(self.learned_optimizer.name, trained)
            warnings.warn(message, stacklevel=5)

    def _theta_for(self, device: torch.device) -> PyTree:
        if device not in self._theta_on:
            self._theta_on[device] = jax.tree.map(
                lambda leaf: leaf.to(device), self._theta
            )
        return self._theta_on[device]

    def _memories(self, theta: PyTree, views: list[View]) -> policy.Memories:
        """Those of the tensors at hand, and the shared; made anew where there are none."""
        new = [view for view in views if view.param not in self._trees]
        if new or self._shared_tree is None:
            self._start(theta, new or views[:1])
        tensors = [
            _unflatten(self._trees[view.param], self.state[view.param])
            for view in views
        ]
        return policy.join(tensors, _unflatten(self._shared_tree, self._shared))

    def _start(self, theta: PyTree, views: list[View]) -> None:
        begun = policy.begin(
            self.learned_optimizer,
            theta,
            [view.value for view in views],
            tuple(view.role for view in views),
        )
        tensors, shared = policy.split(begun, len(views))
        for view, tree in zip(views, tensors, strict=True):
            self._trees[view.param], values = _flatten(tree)
            if not self.state[view.param]:
                step = torch.zeros((), dtype=torch.int64, device=view.param.device)
                self.state[view.param] = {"step": step, **values}
        self._shared_tree, values = _flatten(shared)
        if not self._shared:
            zero = torch.zeros((), dtype=torch.int64, device=views[0].param.device)
            self._shared = {"t": zero, "skipped": zero, **values}

    def _signal(
        self, views: list[View], loss: Any, valid_loss: Any, device: torch.device
    ) -> Signal:
        valid = _scalar(torch.nan if valid_loss is None else valid_loss, device)
        scalars: dict[str, Any] = {  # typed as arrays of JAX
            "loss": _scalar(0.0 if loss is None else loss, device),
            "valid_loss": torch.nan_to_num(valid),
            "has_valid": torch.isfinite(valid),
            "t": self._shared["t"],
            "horizon": _scalar(self.horizon or 0, device),
            "ages": tuple(self.state[view.param]["step"] for view in views),
        }
        return Signal(
            params=[view.value for view in views],
            grad=[view.gradient() for view in views],
            **scalars,
        )

    def _remember(
        self,
        views: list[View],
        before: policy.Memories,
        after: policy.Memories,
        usable: torch.Tensor,
    ) -> None:
        after = _where(usable, after, before)
        tensors, shared = policy.split(after, len(views))
        for view, tree in zip(views, tensors, strict=True):
            self.state[view.param].update(_flatten(tree)[1])
            self.state[view.param]["step"] = self.state[view.param]["step"] + usable
        self._shared.update(_flatten(shared)[1])

    def _decay_factor(self) -> Any:
        if self.decay is None:
            return 1.0
        return cosine(self._shared["t"], self.horizon)


def _usable(signal: Signal, with_loss: bool) -> torch.Tensor:
    sums = [grad.sum() for grad in signal.grad]
    sums = [*sums, signal.loss] if with_loss else sums
    device = sums[0].device
    return torch.isfinite(torch.stack([total.to(device) for total in sums])).all()


def _where(usable: torch.Tensor, after: PyTree, before: PyTree) -> PyTree:
    if usable.device.type == "cpu":  # where looking costs nothing
        return after if bool(usable) else before
    return jax.tree.map(lambda a, b: torch.where(usable, a, b), after, before)


def _scalar(value: Any, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float32, device=device).detach()


def _flatten(tree: tuple[PyTree, ...]) -> tuple[Any, dict[str, torch.Tensor]]:
    """(structure, tensors by name); tree has one entry for each of `Memories`."""
    named, structure = jax.tree_util.tree_flatten_with_path(
        dict(zip(_MEMORIES, tree, strict=True))
    )
    values = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in named
    }
    return (structure, tuple(values)), values


def _unflatten(tree: Any, values: dict[str, torch.Tensor]) -> tuple[PyTree, ...]:
    structure, names = tree
    built = jax.tree.unflatten(structure, [values[name] for name in names])
    return tuple(built[name] for name in _MEMORIES)
