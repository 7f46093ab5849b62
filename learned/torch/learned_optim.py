"""`LearnedOptim`: (architecture, θ) as a `torch.optim.Optimizer`."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import PyTree
from torch._compile import _disable_dynamo

from learned import decay as decays
from learned import theta_file
from learned.arguments import farthest, going_beyond, planned_horizon
from learned.torch import memory, numbers, ranks, sharded, tensors
from learned.torch.compiled import CompiledMaths
from learned.torch.memory import BEGUN, SKIPPED, STEP, T
from learned.torch.notices import SkippedInARow, warn_at_first
from learned.torch.signals import signal_of
from learned.torch.tensors import Cutting, View, can_step
from opt_gym import policy
from opt_gym.maths import parts
from opt_gym.records import LearnedOptimizer

_KEPT = (
    *("learned_optimizer", "horizon", "decay", "theta_digest", "compiled"),
    *("_theta", "_warn", "_calls", "_alone", "_loss", "_valid_loss"),
)
"""Attributes that copies and pickles have, beside torch's own."""


class LearnedOptim(torch.optim.Optimizer, ranks.InStep):
    """A learned optimizer.

    `step` adds lr · decay(t) · (Δφ − weight_decay · φ). Memory and arithmetic are float32,
    whatever the parameters are. Parameters without a gradient are left out of the step, its
    messages between tensors included, and so are those without elements. A gradient (or a
    needed loss) that is not finite changes nothing but the count `skipped`; where the loss is
    only welcome, that is as good as none. Nothing is read back from an accelerator.

    The loss, where the architecture reads it, comes from a closure (`step(closure)`), from
    `step(loss=loss)`, or from `set_loss(loss)` before a plain `step()`.

    All that is remembered lies in `state` (see `memory.py`) from the beginning, that of a
    frozen parameter from its first gradient: it is copied, reset, saved and restored as that
    of any optimizer of torch.

    Args:
        params: parameters, groups or named parameters, as any of torch's optimizers takes
            them. A group may say "role" of its tensors ("kernel", "bias", "embedding" or
            "norm"; by default by their rank) and "axes", the order in which these are shown
            (by default a kernel's [out, in, *window] as [*window, in, out]);
            `param_groups(model)` fills in both.
        learned: a bundled name, the path of a θ file, or (learned optimizer, θ); by default
            "general" where a horizon is given, else "general_free", which needs no loss.
        lr: a factor of the learned step; schedulers may change it.
        weight_decay: decoupled, times lr.
        horizon: the planned number of steps; by default the one θ was trained for, or not
            known where it is only welcome.
        decay: how lr falls to 0 over the horizon: "cosine", "linear" or "wsd" (warm-up,
            stable, decay), as in `learned.to_optax`.
        maximize: go up instead of down.
        warn: here, where the model is more than ten times as large as those θ was trained
            on, or where weights would decay by a thousandth a step; once, at the first step
            beyond the horizon it was trained for, and where fifty gradients in a row were
            not finite.
        process_group: of torch.distributed, over whose processes the loss is averaged; by
            default all of them, where it runs. False: this process trains alone.
        compiled: the step becomes a program of torch.compile, which takes minutes and a C++
            compiler, and is several times as quick; anew where other tensors step.

    Raises:
        ValueError: a negative lr or weight decay, an unknown role or decay, a horizon that
            is needed and not known, a θ that does not fit the architecture, a complex
            parameter, or a DTensor where the architecture needs whole ones.
        FileNotFoundError: neither a file nor a bundled name.
    """

    def __init__(
        self,
        params: Any,
        learned: str | Path | tuple[LearnedOptimizer, PyTree] | None = None,
        lr: float | torch.Tensor = 1.0,
        weight_decay: float = 0.0,
        *,
        horizon: int | None = None,
        decay: str | None = None,
        maximize: bool = False,
        warn: bool = True,
        process_group: Any = None,
        compiled: bool = False,
    ) -> None:
        if learned is None:
            learned = theta_file.load_default(horizon)
        elif isinstance(learned, str | Path):
            learned = theta_file.load(learned)
        self.learned_optimizer, theta = learned
        policy.check_theta(self.learned_optimizer, theta)
        decays.check_decay(decay)
        self.horizon = planned_horizon(self.learned_optimizer, horizon, decay)
        self.decay = decay
        self._warn = warn
        self._alone = process_group is False
        self.compiled = compiled
        self._process_group = process_group
        self.theta_digest = theta_file.digest(self.learned_optimizer, theta)
        # On the CPU, whatever device is torch's default here.
        self._theta = jax.tree.map(
            lambda leaf: torch.tensor(np.asarray(leaf), device="cpu"), theta
        )
        self._calls = 0
        self._loss: Any = None
        self._valid_loss: Any = None
        self._prepare()
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "role": None,
            "axes": None,
            "theta": self.theta_digest,
        }
        super().__init__(params, defaults)
        if warn:
            warn_at_first(self.learned_optimizer, self.param_groups)

    def _prepare(self) -> None:
        """What follows from the rest, and what is not copied."""
        self._layout = memory.layout_of(self.learned_optimizer)
        self._theta_on: dict[torch.device, PyTree] = {}
        self._maths = CompiledMaths() if self.compiled else policy
        self._cutting = Cutting(self._entries_at_first)
        self._skipped_in_a_row = SkippedInARow(self.learned_optimizer.name)
        self._begin_in_step()

    def __getstate__(self) -> dict[str, Any]:
        """Torch's, and ours; a process group is not copied, but the default one is found."""
        own = {name: getattr(self, name) for name in _KEPT}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As torch's."""
        super().__setstate__(state)
        if "_layout" not in self.__dict__:  # torch calls this in load_state_dict, too
            self._process_group = False if self._alone else None
            self._prepare()

    @property
    def t(self) -> int:
        """Steps done."""
        known = self._any_state()
        return 0 if known is None else int(known[T])

    @property
    def skipped(self) -> int:
        """Gradients that were not finite, so far."""
        known = self._any_state()
        return 0 if known is None else int(known[SKIPPED])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds `param_group`, as one of the constructor's `params`; errors as there."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            tensors.check_group(group, self.learned_optimizer)
        except ValueError:
            self.param_groups.pop()
            raise
        self._begin(_trainable([group]))

    def begin_anew(self) -> None:
        """Forgets what it saw. Rates go on, and the steps that are left are its horizon."""
        known, calls = self._any_state(), self._calls
        if known is None:
            return
        self.state.clear()
        self._begin(_trainable(self.param_groups))
        counts = {T: known[T], SKIPPED: known[SKIPPED], BEGUN: known[T]}
        for state in self.state.values():
            state.update(counts)
        self._calls = calls

    def set_loss(self, loss: Any, valid_loss: Any = None) -> None:
        """The loss for the next `step()`, for trainers that call it without one.

        It counts more than what a closure returns, which trainers divide or scale;
        `valid_loss` is as that of `step`.
        """
        self._loss, self._valid_loss = map(numbers.detached, (loss, valid_loss))

    def add_loss(self, part: Any) -> None:
        """Adds the loss of one more part of the batch, its share of the mean."""
        part = numbers.detached(part)
        self._loss = part if self._loss is None else self._loss + part

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
        by_closure, returned = numbers.of_closure(closure)
        loss = numbers.first_of(loss, self._loss, by_closure)
        valid_loss = self._valid_loss if valid_loss is None else valid_loss
        self._loss = self._valid_loss = None
        with ranks.no_autocast(next(self._all()).device):
            self._step(loss, valid_loss)
        return returned

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Exactly what was saved; `state_dict` is not changed, and may be used again.

        States that version 0.1 saved are read, too.

        Raises:
            ValueError: it comes from another architecture or another θ, or from another
                optimizer.
        """
        given: list[dict[str, Any]] = []

        def check(_: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
            given.append(self._checked(state_dict))
            return given[0]

        # The last of the hooks: those of the user may give what is to be read.
        hook = self.register_load_state_dict_pre_hook(check)
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        # torch gives floats the parameter's dtype; memory is float32 whatever that is.
        states, groups = given[0]["state"], given[0]["param_groups"]
        saved = (index for group in groups for index in group["params"])
        for index, param in zip(saved, self._all(), strict=True):
            if index in states:
                copied = memory.copied(states[index])
                self.state[param] = memory.moved(copied, param.device)
        self._calls = self.t

    def _checked(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """A state of this θ, as it is saved today."""
        current, is_new = memory.as_today(self._layout, state_dict, self.theta_digest)
        if is_new:
            self._check_fit(current)
        return current

    def _check_fit(self, state_dict: dict[str, Any]) -> None:
        """Raises ValueError for memory of parameters of other shapes."""
        saved = (i for group in state_dict["param_groups"] for i in group["params"])
        own = (
            (param, group) for group in self.param_groups for param in group["params"]
        )
        for index, (param, group) in zip(saved, own, strict=False):
            state = state_dict["state"].get(index)
            if state and can_step(param):
                expected = self._entries_at_first(tensors.unreal(param.shape, group))
                memory.check_fit(self._layout, state, expected, tuple(param.shape))

    def _all(self) -> Iterator[torch.Tensor]:
        return ranks.params_of(self)

    def _any_state(self) -> dict[str, Any] | None:
        states = (self.state.get(param) for param in self._all())
        return next((state for state in states if state), None)

    @_disable_dynamo  # its graph breaks here
    def _step(self, loss: Any, valid_loss: Any) -> None:
        views = [
            View(param, group)
            for group in self.param_groups
            for param in group["params"]
            if param.grad is not None and can_step(param)
        ]
        for view in views:
            tensors.check_gradient(view.param)
        device = next(self._all()).device
        averaged = self._over_processes(loss, valid_loss, device)
        numbers.check_needs(self.learned_optimizer, loss, valid_loss)
        loss, valid_loss = averaged
        if not views:
            return
        self._warn_beyond()
        self._begin([view for view in views if not self.state.get(view.param)])
        states = [self._state_of(view.param) for view in views]
        before = policy.join(
            [memory.tensor_of(self._layout, state) for state in states],
            memory.shared_of(self._layout, states[0]),
        )
        signal = signal_of(
            self.learned_optimizer, views, states, loss, valid_loss, self.horizon
        )
        theta = self._theta_for(views[0].param.device)
        others = sharded.others_of(views)
        usable = numbers.usable(signal, "loss" in self.learned_optimizer.needs)
        usable = sharded.agreed(usable, others)
        with parts.with_others(others):
            lopt = self.learned_optimizer
            after, deltas = self._maths.advance(lopt, theta, before, signal)
        factor = decays.factor(self.decay, states[0][T], self.horizon)
        self._remember(views, states, numbers.where(usable, after, before), usable)
        for view, delta in zip(views, deltas, strict=True):
            view.add(delta, factor, usable)
        self._calls += 1
        if self._warn:
            self._skipped_in_a_row.saw(usable)

    def _warn_beyond(self) -> None:
        if self._warn and self._calls == farthest(self.learned_optimizer):
            warnings.warn(going_beyond(self.learned_optimizer), stacklevel=5)

    def _theta_for(self, device: torch.device) -> PyTree:
        if device not in self._theta_on:
            self._theta_on[device] = jax.tree.map(
                lambda leaf: leaf.to(device), self._theta
            )
        return self._theta_on[device]

    def _begin(self, views: list[View]) -> None:
        """Makes the states of parameters that have none; what all share they share."""
        if not views:
            return
        device, known = views[0].param.device, self._any_state()
        of_each, shared = self._begun(views)
        if known is None:
            self._calls = 0
            known = memory.counts(device)
            known.update(memory.copied(memory.entries_of_all(self._layout, shared)))
        of_all = {key: value for key, value in known.items() if memory.is_shared(key)}
        of_all = memory.moved(of_all, device)
        for view, tensor in zip(views, of_each, strict=True):
            own = memory.copied(self._entries_of(view, tensor))
            step = torch.zeros((), dtype=torch.int64, device=view.param.device)
            self.state[view.param] = {STEP: step, **own, **of_all}

    def _entries_of(self, view: View, tensor: PyTree) -> dict[str, Any]:
        """What is kept of a parameter: cut over processes as it is."""
        entries = memory.entries_of(self._layout, tensor)
        return self._cutting.of(view, entries) if view.is_cut else entries

    def _entries_at_first(self, view: View) -> dict[str, Any]:
        return memory.entries_of(self._layout, self._begun([view])[0][0])

    def _begun(self, views: list[View]) -> tuple[list[tuple], tuple]:
        """(what is remembered of each, what is shared) before the first step."""
        with parts.with_others(sharded.others_of(views)):
            begun = policy.begin(
                self.learned_optimizer,
                self._theta_for(views[0].value.device),
                [view.value for view in views],
                tuple(view.role for view in views),
            )
        return policy.split(begun, len(views))

    def _state_of(self, param: torch.Tensor) -> dict[str, Any]:
        """Where its parameter is, which may have been moved since."""
        state = self.state[param]
        if state[STEP].device != param.device:
            self.state[param] = state = memory.moved(state, param.device)
        return state

    def _remember(
        self,
        views: list[View],
        states: list[dict[str, Any]],
        after: policy.Memories,
        usable: torch.Tensor,
    ) -> None:
        of_each, shared = policy.split(after, len(states))
        of_all = memory.entries_of_all(self._layout, shared)
        of_all[T] = states[0][T] + usable
        of_all[SKIPPED] = states[0][SKIPPED] + ~usable
        for view, state, tensor in zip(views, states, of_each, strict=True):
            state.update(self._entries_of(view, tensor))
            state[STEP] = state[STEP] + usable
        for state in filter(None, self.state.values()):
            state.update(of_all)


def _trainable(groups: list[dict[str, Any]]) -> list[View]:
    """The parameters that have a state from the beginning."""
    every = ((param, group) for group in groups for param in group["params"])
    return [View(p, group) for p, group in every if can_step(p) and p.requires_grad]
