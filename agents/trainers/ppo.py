"""Proximal policy optimization on the device: rollouts and updates in one jitted program.

The policy is Gaussian over weight updates and shared by all parameters: its mean is the
learned optimizer's Δφ, divided by `action_scale`, and its standard deviation one number. The
critic pools over parameters. Both are independent of how many parameters there are.

Return = −outer-loss, so with the defaults (γ = 1, time observed, no bootstrap at the horizon)
this minimizes what every other outer-trainer does. A window may be shorter than an episode:
environments keep going from one outer step to the next, first episodes are short by different
amounts, and a reset is a program of its own between windows.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from agents.estimators import theta_averages
from agents.estimators.live_programs import LivePrograms
from agents.estimators.trainer_record import outer_trainer, settings_among
from agents.records import (
    AGGREGATIONS,
    OuterTrainer,
    Report,
    TrainerTraits,
    merged_reports,
)
from agents.rl import pooled_critic, ppo_programs, ppo_rollout, ppo_update
from agents.rl.ppo_programs import EnvSlots, PpoPrograms, RolloutSettings
from agents.rl.ppo_rollout import LOG_STDS, Actor, Credit
from agents.rl.ppo_update import Learner, Update
from agents.task_mixes import TaskMix
from opt_gym.checks import (
    check_between,
    check_choice,
    check_not_negative,
    check_positive,
    check_whole,
)
from opt_gym.plugins import Spec
from opt_gym.records import Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy
from opt_gym.setting_kinds import Bound

_WHOLE = (
    "num_envs",
    "num_steps",
    "horizon",
    "num_epochs",
    "num_minibatches",
    "critic_hidden",
)
_BOUNDS = ("max_buffer_gb", "clip_range", "max_grad_norm")

Part = TypeVar("Part", RolloutSettings, Credit, Update)


class PpoState(NamedTuple):
    """turn: outer steps done. average: of θ, see `make`. slots: of every live task."""

    turn: Int[Array, ""]
    learner: Learner
    average: PyTree
    slots: dict[int, EnvSlots]


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    num_envs: int = 256,
    num_steps: int = 50,
    horizon: int = 50,
    num_epochs: int = 4,
    num_minibatches: int = 8,
    clip_range: Bound = 0.2,
    ratio: str = "parameter",
    gae_lambda: float = 0.95,
    gamma: float = 1.0,
    bootstrap: bool = False,
    aggregation: str = "mean",
    normalize_advantages: bool = True,
    entropy_coef: float = 0.0,
    value_coef: float = 0.5,
    max_grad_norm: Bound = 0.5,
    action_scale: float = 0.01,
    log_std_init: float = 0.0,
    critic_hidden: int = 32,
    theta_average: float = 0.0,
    max_buffer_gb: Bound = 2.0,
) -> OuterTrainer:
    """The outer-trainer "ppo".

    Args:
        mix: the tasks, an update for each of a step; θ and the critic are shared.
        learned_optimizer: whose θ is trained; no carry, an action map without memory.
        outer_optimizer: any optax transformation, of θ, log σ and critic together.
        num_envs: environments of each task.
        num_steps: inner steps of a window, the rollout of each environment.
        horizon: of the episodes, a multiple of num_steps.
        num_epochs, num_minibatches: passes over the samples, and updates in each.
        clip_range: of the ratio; it, max_grad_norm and max_buffer_gb may be infinity.
        ratio: "parameter", "joint" or "geometric"; see `ppo_update`.
        gae_lambda, gamma: λ and γ of the advantages.
        bootstrap: count what the critic says of the last moment, as if the horizon were not
            the end; another objective than the outer-loss, and it needs gamma < 1.
        aggregation: what is minimized: the "mean" over an episode, or the "final" loss (that
            of its last step; no bootstrap).
        normalize_advantages: to mean 0 and standard deviation 1 over a window's samples.
        entropy_coef, value_coef: factors beside the surrogate.
        max_grad_norm: of a minibatch's gradient, as a whole.
        action_scale: the policy's unit of Δφ.
        log_std_init: log σ at first, in that unit.
        critic_hidden: units of each of the critic's two layers.
        theta_average: decay of the average of θ that is handed out; 0 for the last θ.
        max_buffer_gb: a larger rollout buffer is refused.

    Raises:
        ValueError: a setting out of its range, a learned optimizer with a memory, an env that
            was made for another one; from `init`, a buffer too large.
    """
    settings = settings_among(locals())
    _check(settings)
    ppo_rollout.check_memoryless(learned_optimizer)
    optimizer = optax.with_extra_args_support(outer_optimizer)
    return _trainer(mix, learned_optimizer, optimizer, settings)


def _trainer(
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    optimizer: optax.GradientTransformationExtraArgs,
    settings: dict[str, Any],
) -> OuterTrainer:
    """The outer-trainer; its settings are checked."""
    rollout = _part(RolloutSettings, settings)
    credit, update = _part(Credit, settings), _part(Update, settings)
    decay = settings["theta_average"]

    def build(env: Env) -> PpoPrograms:
        return ppo_programs.programs(
            env, learned_optimizer, optimizer, rollout, credit, update
        )

    programs = LivePrograms(build, mix)
    mix.check_episodes(rollout.horizon // rollout.num_steps)
    live_slots = _live_slots(programs, mix)

    @jax.jit
    def init_critic(key: PRNGKeyArray) -> PyTree:
        units = settings["critic_hidden"]
        return pooled_critic.init(key, learned_optimizer.features, units)

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, outer_step: int = 0
    ) -> PpoState:
        for env, part in zip(mix.envs, data, strict=True):  # those that wait, too
            build(env).check(part)
        actor = Actor(theta, jnp.float32(settings["log_std_init"]), init_critic(key))
        return PpoState(
            turn=jnp.zeros((), jnp.int32),
            learner=Learner(actor, optimizer.init(actor)),  # type: ignore[arg-type]
            average=jax.tree.map(jnp.zeros_like, theta),
            slots=live_slots({}, data, outer_step),
        )

    @jax.jit
    def averaged(old: PyTree, theta: PyTree) -> PyTree:
        return theta_averages.updated(old, theta, decay)

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: PpoState
    ) -> tuple[PpoState, Report]:
        turn, all_slots, learner = int(state.turn), dict(state.slots), state.learner
        reports = []
        for task in mix.pick(turn):
            run, slots = programs.of(task, turn), all_slots[task]
            k_reset, k_window = jax.random.split(jax.random.fold_in(key, task))
            if np.any(np.asarray(slots.done)):
                slots = run.reset(k_reset, data[task], slots)
            all_slots[task], learner, report = run.window(
                k_window, data[task], slots, learner
            )
            reports.append(report)
        average = averaged(state.average, strategy.gather(learner.actor.theta))
        live = live_slots(all_slots, data, turn + 1)
        state = PpoState(state.turn + 1, learner, average, live)
        return state, merged_reports(reports)

    def theta(state: PpoState) -> PyTree:
        last, turn = state.learner.actor.theta, int(state.turn)
        return theta_averages.read(last, state.average, turn, decay)

    return outer_trainer(
        "ppo",
        settings,
        mix,
        learned_optimizer,
        init=init,
        step=step,
        theta=theta,
        horizon=rollout.horizon,
    )


def _part(kind: type[Part], settings: dict[str, Any]) -> Part:
    """The record of some of the settings."""
    return kind(*(settings[name] for name in kind._fields))


def _live_slots(
    programs: LivePrograms[PpoPrograms], mix: TaskMix
) -> Callable[..., dict[int, EnvSlots]]:
    """(known, data, outer step) -> the slots of the live tasks."""

    def live(
        known: dict[int, EnvSlots], data: tuple[Data, ...], turn: int
    ) -> dict[int, EnvSlots]:
        def begin(task: int) -> EnvSlots:
            # Arrays that were not yet put anywhere would make its programs compile twice.
            return strategy.gather(programs.of(task, turn).empty(data[task]))

        return mix.of_live(turn, known, begin)

    return live


def _check(settings: dict[str, Any]) -> None:
    """Raises ValueError for a setting that cannot be, by name."""
    for name in _WHOLE:
        check_whole(name, settings[name], 1)
    for name in _BOUNDS:  # which infinity switches off
        check_positive(name, settings[name], infinite=True)
    check_positive("action_scale", settings["action_scale"])
    horizon, num_steps = settings["horizon"], settings["num_steps"]
    if horizon % num_steps:
        raise ValueError(
            f"horizon must be a multiple of num_steps, got {horizon} and {num_steps}"
        )
    check_choice("ratio", settings["ratio"], ppo_update.PPO_RATIOS)
    for name in ("gamma", "gae_lambda"):
        check_between(name, settings[name], 0.0, 1.0)
    check_not_negative(value_coef=settings["value_coef"])
    check_between("log_std_init", settings["log_std_init"], *LOG_STDS)
    aggregation, gamma = settings["aggregation"], settings["gamma"]
    check_choice("aggregation", aggregation, AGGREGATIONS)
    if settings["bootstrap"] and (gamma == 1.0 or aggregation == "final"):
        raise ValueError(
            'bootstrap=True needs gamma < 1 and aggregation "mean", got gamma '
            f"{gamma} and {aggregation!r}"
        )
    theta_averages.check_decay(settings["theta_average"])
    num_envs, parts = settings["num_envs"], settings["num_minibatches"]
    devices = len(strategy.devices_for(num_envs))
    samples = num_envs * num_steps // devices
    if samples % parts:
        raise ValueError(
            f"num_minibatches={parts} must divide the samples of a device, {num_envs} envs "
            f"x {num_steps} steps / {devices} devices = {samples}"
        )


def _updates_per_step(settings: Mapping[str, Any], tasks: int) -> int:
    return tasks * settings["num_epochs"] * settings["num_minibatches"]


SPEC = Spec(
    kind="trainer",
    name="ppo",
    make=make,
    source="Schulman et al. 2017, arXiv:1707.06347; the ratio per parameter as in "
    "parameter-shared multi-agent PPO (Yu et al. 2022, arXiv:2103.01955)",
    traits=TrainerTraits(_updates_per_step, settings={"action_scale": 0.1}),
)
