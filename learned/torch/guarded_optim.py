"""`GuardedOptim`: a learned optimizer with a fallback beside it, in torch."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from learned import guard as rules
from learned.torch import ranks
from learned.torch.learned_optim import LearnedOptim
from learned.torch.numbers import detached, first_of, of_closure, scalar
from learned.torch.ranks import params_of
from learned.torch.sharded import local
from opt_gym.checks import check_positive, check_whole

SNAPSHOT = "snapshot"
_PARTS = ("guard", "learned", "fallback")
_KEPT = (*_PARTS, "horizon", "cap", "_warn", "_loss")
"""Attributes that copies and pickles have, beside torch's own."""


class GuardedOptim(torch.optim.Optimizer):
    """The learned optimizer while it pays, else the fallback; after an explosion back.

        bare = LearnedOptim(param_groups(model), horizon=1000)
        usual = torch.optim.AdamW(model.parameters(), 1e-3)
        optimizer = GuardedOptim(bare, usual, horizon=1000)
        optimizer.step(loss=loss)

    Both see every gradient, one of them steps. `learned.guard` says by which rules, and
    `optimizer.guard` what happened: who steps, how often that changed, how often weights went
    back after an explosion, and when last. A learned step is never longer than `cap` times the
    fallback's, tensor by tensor. Where gradients are not finite, weights stay and only a
    `LearnedOptim` sees them, which counts them. The group's "lr" is a factor of whichever step;
    schedulers may change it, or the rates of the two. The snapshot takes a float a weight
    beside both states. Each step reads the verdict back from the device. `state_dict()` is all
    of it, and what `torch.distributed.checkpoint` is to save: what its helpers pick from an
    optimizer lacks the two.

    Args:
        optimizer: such as a `LearnedOptim`.
        fallback: another one, on the same parameters.
        horizon: the planned number of steps, where it is known: then nothing is tried towards
            the end.
        cap: in norms of the fallback's step.
        warn: once, when an explosion is undone.

    Raises:
        ValueError: parameters of the two that are not the same, a cap that is not above 0, a
            horizon that is no whole number.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        fallback: torch.optim.Optimizer,
        *,
        horizon: int = 0,
        cap: float = 10.0,
        warn: bool = True,
    ) -> None:
        check_positive("cap", cap)
        check_whole("horizon", horizon, 0)
        params = [*params_of(optimizer)]
        _check_same(params, [*params_of(fallback)])
        self.learned, self.fallback = optimizer, fallback
        self.horizon, self.cap, self._warn = horizon, cap, warn
        self._loss: Any = None
        super().__init__(params, {"lr": 1.0})
        self.guard = rules.begin(torch.zeros((), device=params[0].device))

    def __getstate__(self) -> dict[str, Any]:
        """Torch's, and ours."""
        return {
            **super().__getstate__(),
            **{name: getattr(self, name) for name in _KEPT},
        }

    def set_loss(self, loss: Any) -> None:
        """The loss for the next `step()`, for trainers that call it without one."""
        self._loss = detached(loss)

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, closure: Any = None, *, loss: Any = None
    ) -> Any:
        """One step.

        Args:
            closure: evaluates the model, calls backward and returns the loss; or the loss
                itself, as `GradScaler.step(optimizer, loss)` hands it on.
            loss: of the batch that gave the gradients.

        Returns:
            What the closure returned, else None.

        Raises:
            ValueError: no loss, or one that is no single number.
        """
        by_closure, returned = of_closure(closure)
        loss = first_of(loss, self._loss, by_closure)
        self._loss = None
        if loss is None:
            raise ValueError(
                "GuardedOptim needs the loss: step(closure), step(loss=loss), or "
                "set_loss(loss) before step()"
            )
        self._act(*self._judged(loss), loss)
        return returned

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds `param_group`, of parameters that both optimizers have been given before.

        Raises:
            ValueError: one of them lacks some.
        """
        super().add_param_group(param_group)
        added = {id(param) for param in self.param_groups[-1]["params"]}
        for optimizer in (self.learned, self.fallback):
            lacking = added - {*map(id, params_of(optimizer))}
            if lacking:
                self.param_groups.pop()
                raise ValueError(
                    f"{type(optimizer).__name__} has not been given {len(lacking)} of these "
                    "parameters: its own add_param_group comes first"
                )

    def _judged(self, loss: Any) -> tuple[rules.Verdict, bool]:
        """What to do now, and whether gradients are finite; the same in all processes."""
        device = self.guard.t.device
        number, group = scalar("loss", loss, device), self._group()
        usable = _are_finite(params_of(self), device)
        if group is not None:
            number, usable = ranks.means([number, usable], group, device)
        horizon = torch.tensor(float(self.horizon), device=device)
        self.guard, told = rules.judge(self.guard, number, horizon)
        *verdict, are_usable = torch.stack([*told, usable == 1.0]).tolist()
        return rules.Verdict(*verdict), are_usable

    def _group(self) -> Any:
        given = getattr(self.learned, "_process_group", None)
        return ranks.group_of(given)

    def _act(self, told: rules.Verdict, usable: bool, loss: Any) -> None:
        params = [*params_of(self)]
        before = [param.detach().clone() for param in params]
        # Who does not step sees the gradient first; how long its steps are caps the other's.
        order = self.fallback, self.learned
        watcher, stepper = order if told.learned else order[::-1]
        _step(watcher, loss, usable)
        most: list[Any] = [math.inf] * len(params)
        if told.learned:
            pairs = zip(params, before, strict=True)
            most = [self.cap * _length(*pair) for pair in pairs]
        _restore(params, before)
        _step(stepper, loss, usable)
        if told.stays or not usable:
            _restore(params, before)
        for step in zip(params, before, most, strict=True):
            _cap(*step)
        self._scale(before)
        states = [self.state[param] for param in params]
        for state, was in zip(states, before, strict=True):
            if told.keep or not state:
                state[SNAPSHOT] = was
        if told.back:
            _restore(params, [state[SNAPSHOT] for state in states])
        if told.anew:
            self._begin_anew()

    def _scale(self, before: list[torch.Tensor]) -> None:
        """Steps of the groups whose rate is not 1."""
        was = iter(before)
        for group in self.param_groups:
            for param in group["params"]:
                start = next(was)
                if group["lr"] != 1.0:
                    param.copy_(torch.lerp(start, param, float(group["lr"])))

    def _begin_anew(self) -> None:
        """What both remember; rates, which schedulers count for, stay."""
        for optimizer in (self.learned, self.fallback):
            if isinstance(optimizer, LearnedOptim):
                optimizer.begin_anew()
            else:
                optimizer.state.clear()
        if self._warn:
            self._warn = False
            warnings.warn(
                f"GuardedOptim: at step {int(self.guard.t)} the loss exploded; the weights "
                f"went back, and {type(self.fallback).__name__} goes on (`optimizer.guard` "
                "tells who steps from now on)",
                stacklevel=4,
            )

    def state_dict(self) -> dict[str, Any]:
        """Torch's, with the guard's numbers and the states of both."""
        return {
            **super().state_dict(),
            "guard": self.guard._asdict(),
            "learned": self.learned.state_dict(),
            "fallback": self.fallback.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Exactly what was saved.

        Raises:
            ValueError: it comes from another optimizer.
        """
        missing = [name for name in _PARTS if name not in state_dict]
        if missing:
            raise ValueError(
                f"this state is not a GuardedOptim's own state_dict(): it lacks {missing}"
            )
        own = {key: state_dict[key] for key in state_dict if key not in _PARTS}
        self.learned.load_state_dict(state_dict["learned"])
        self.fallback.load_state_dict(state_dict["fallback"])
        super().load_state_dict(own)
        device = self.guard.t.device
        numbers = {key: value.to(device) for key, value in state_dict["guard"].items()}
        self.guard = rules.Guard(**numbers)


def _check_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    if {*map(id, ours)} != {*map(id, theirs)}:
        raise ValueError(
            f"optimizer and fallback must have the same parameters, got {len(ours)} and "
            f"{len(theirs)} tensors, of which {len({*map(id, ours)} & {*map(id, theirs)})} "
            "are the same"
        )


def _are_finite(params: Iterator[torch.Tensor], device: torch.device) -> torch.Tensor:
    """1 where all gradients are, else 0."""
    grads = [local(param.grad) for param in params if param.grad is not None]
    flags = [torch.isfinite(grad).all().to(device) for grad in grads]
    every = torch.stack(flags).all() if flags else torch.ones((), device=device)
    return every.float()


def _step(optimizer: torch.optim.Optimizer, loss: Any, usable: bool) -> None:
    """A step, of what else than a `LearnedOptim` only where gradients are usable."""
    if isinstance(optimizer, LearnedOptim):
        optimizer.set_loss(loss)
    elif not usable:
        return
    optimizer.step()


def _restore(params: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    for param, value in zip(params, values, strict=True):
        param.copy_(value)


def _length(param: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Of a step; 0 where it is not finite, for then there is none."""
    length = torch.linalg.vector_norm((param - before).float())
    return length.nan_to_num(nan=0.0, posinf=0.0)


def _cap(param: torch.Tensor, before: torch.Tensor, most: Any) -> None:
    """A step no longer than that; 0 where it is not finite."""
    step = (param - before).float()
    length = torch.linalg.vector_norm(step)
    is_finite = torch.isfinite(length)
    shorter = before + torch.where(
        is_finite, most / length * step, torch.zeros_like(step)
    )
    is_short = is_finite & (length <= most)
    param.copy_(torch.where(is_short, param, shorter.to(param.dtype)))
