"""An algorithm of stable-baselines3 as an outer-trainer.

One outer step is, for each of its tasks, one episode of every environment, then the
algorithm's updates. Episodes begin with the step, so nothing of an environment is carried
over and a resumed run of PPO is the unbroken one bit for bit.

The trainer's state is arrays: the weights of the policy and the moments of its Adams. They
are written into a model of stable-baselines3 before a step and read after it, a model a task
(its buffers have the task's shapes; the weights have the same everywhere). Updates that left
anything in it that is not finite are undone, and the task counts as skipped.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from agents.estimators.trainer_record import outer_trainer
from agents.records import AGGREGATIONS, OuterTrainer, Report, merged_reports
from agents.task_mixes import TaskMix
from opt_gym.checks import check_between, check_choice, check_positive, check_whole
from opt_gym.plugins import unknown
from opt_gym.records import Data, Env, LearnedOptimizer

RATIOS = ("parameter", "joint")
"""Whose log-probabilities PPO takes the ratio of; see `sb3_policy`."""

_log = logging.getLogger(__name__)
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Sb3State(NamedTuple):
    """All that an outer step needs.

    turn: outer steps done; num_updates: gradient steps, as the algorithm counts them;
    weights: of the policy, by name; moments: of its optimizers, a dict a parameter.
    """

    turn: Int[Array, ""]
    num_updates: Int[Array, ""]
    weights: dict[str, Array]
    moments: list[list[dict[str, Array]]]


def sb3_trainer(
    name: str,
    settings: dict[str, Any],
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    squashings: tuple[str, ...],
    build: Callable[[Any, Any], Any],
) -> OuterTrainer:
    """The outer-trainer of an algorithm.

    The environments load their data themselves (`opt_gym.load_data`'s arrays, shared); what
    `init` and `step` are given is not used.

    Args:
        name, settings: of the trainer; `horizon`, `num_envs`, `aggregation` and `bootstrap`
            are read here.
        mix, learned_optimizer: what is trained on, and whose θ.
        squashings: what may hold the updates, as the algorithm does it.
        build: (vector environment, `UpdateSettings`) -> model.

    Raises:
        ValueError: not the architecture "mlp", another squashing, an environment with other
            features than the learned optimizer's.
        ImportError: stable-baselines3 is not installed.
    """
    if find_spec("stable_baselines3") is None:
        raise ImportError(
            f"{name!r} needs stable-baselines3: pip install 'opt-gym[rl]'"
        )
    _check(name, learned_optimizer, squashings)
    models: dict[int, Any] = {}

    def model_of(task: int, key: PRNGKeyArray) -> Any:
        from stable_baselines3.common.logger import Logger

        from agents.rl.sb3.sb3_weights import update_settings

        if task not in models:
            vec_env = _vec_env(mix.envs[task], learned_optimizer, settings)
            with _seeded(key):
                model = build(vec_env, update_settings(learned_optimizer))
            # Without one, each `learn` makes a temporary folder for its own.
            model.set_logger(Logger(folder=None, output_formats=[]))
            models[task] = model
        return models[task]

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, outer_step: int = 0
    ) -> Sb3State:
        from agents.rl.sb3.sb3_weights import policy_from_theta

        models.clear()  # and with them the replay buffers of another run
        model = model_of(0, key)
        policy_from_theta(model.policy, theta)
        return _read(model, 0)

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: Sb3State
    ) -> tuple[Sb3State, Report]:
        reports = []
        for task in mix.pick(int(state.turn)):
            state, report = one_task(jax.random.fold_in(key, task), task, state)
            reports.append(report)
        state = state._replace(turn=state.turn + 1)
        return state, merged_reports(reports)

    def one_task(
        key: PRNGKeyArray, task: int, state: Sb3State
    ) -> tuple[Sb3State, Report]:
        turn = int(state.turn)
        model = model_of(task, key)
        _warn_of_lost_replay(name, model, turn >= len(mix.envs))
        _write(model, state)
        with _seeded(key) as seed:
            episodes = _learn(model, seed, settings["horizon"] * settings["num_envs"])
        learned = _read(model, turn)
        usable = all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(learned))
        report = Report(
            outer_loss=-np.mean([episode["r"] for episode in episodes]),
            grad_norm=_grad_norm(model.policy),
            variance=np.nan,  # nobody estimates it
            dropped=sum(bool(episode["diverged"]) for episode in episodes),
            inner_steps=settings["horizon"] * settings["num_envs"],
            skipped=not usable,
        )
        return learned if usable else state, report

    def theta(state: Sb3State) -> PyTree:
        from agents.rl.sb3.sb3_weights import theta_from_policy

        model = model_of(0, jax.random.key(0))
        _write(model, state)
        return theta_from_policy(model.policy)

    return outer_trainer(
        name,
        {name: settings},
        mix,
        learned_optimizer,
        init=init,
        step=step,
        theta=theta,
        horizon=settings["horizon"],
    )


def check_settings(
    settings: dict[str, Any], whole: Sequence[str], positive: Sequence[str]
) -> None:
    """Raises ValueError for a setting that cannot be, by name.

    Args:
        settings: of the trainer.
        whole: those that are integers >= 1, beside num_envs and horizon.
        positive: those that are numbers > 0.
    """
    for name in ("num_envs", "horizon", *whole):
        check_whole(name, settings[name], 1)
    for name in positive:
        check_positive(name, settings[name])
    gamma = settings["gamma"]
    check_between("gamma", gamma, 0.0, 1.0, closed="right")
    if settings["bootstrap"] and gamma == 1.0:
        raise ValueError("bootstrap=True beyond the horizon needs gamma < 1, got 1.0")
    check_choice("aggregation", settings["aggregation"], AGGREGATIONS)


def _check(
    name: str, learned_optimizer: LearnedOptimizer, squashings: tuple[str, ...]
) -> None:
    if learned_optimizer.name != "mlp":
        raise ValueError(
            f"{name!r} trains the architecture 'mlp', an MLP shared over parameters, got "
            f"{learned_optimizer.name!r}"
        )
    squashing = learned_optimizer.config["squashing"]
    if squashing not in squashings:
        what = f"squashing for {name!r} (a setting of the architecture 'mlp')"
        raise ValueError(unknown(what, squashing, list(squashings)))


def _vec_env(
    env: Env, learned_optimizer: LearnedOptimizer, settings: dict[str, Any]
) -> Any:
    from stable_baselines3.common.vec_env import VecMonitor

    from agents.rl.sb3.sb3_vec_env import Sb3VecEnv
    from opt_gym.gym.opt_vector_env import OptVectorEnv

    config = learned_optimizer.config
    envs = OptVectorEnv(
        settings["num_envs"],
        env.task,
        horizon=settings["horizon"],
        features=env.features,
        action_scale=config["action_scale"],
        objective=env.settings.objective,
        corruption=env.settings.corruption,
        data=env.settings.data,
        normalizer=env.normalizer,
        reward=settings["aggregation"],
        autoreset_mode="SameStep",
    )
    wrapped = Sb3VecEnv(
        envs, bootstrap=settings["bootstrap"], bounded=config["squashing"] != "none"
    )
    return VecMonitor(wrapped, info_keywords=("diverged",))


@contextmanager
def _seeded(key: PRNGKeyArray) -> Iterator[int]:
    """A seed from a key, for the generators of torch and numpy, which stay the user's."""
    import torch

    seed = int(jax.random.bits(key)) >> 1  # room for seed + row
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield seed
        finally:
            np.random.set_state(before)


def _learn(model: Any, seed: int, num_steps: int) -> list[dict[str, Any]]:
    """One call of the algorithm on new episodes; what `VecMonitor` says of these."""
    model.env.seed(seed)
    model._last_obs = None  # so that it resets them
    model.ep_info_buffer, model.ep_success_buffer = deque(), deque()
    model.learn(num_steps, reset_num_timesteps=False, log_interval=None)
    if hasattr(model, "rollout_buffer"):
        model.rollout_buffer.reset()  # new zeros, which take no memory until next time
    return list(model.ep_info_buffer)


def _warn_of_lost_replay(name: str, model: Any, seen_before: bool) -> None:
    replay = getattr(model, "replay_buffer", None)
    if replay is not None and replay.size() == 0 and seen_before:
        _log.warning(
            "%s goes on with an empty replay buffer: checkpoints do not hold it, so the "
            "resumed run is not the unbroken one",
            name,
        )


def _optimizers(policy: Any) -> list[Any]:
    if hasattr(policy, "actor"):
        return [policy.actor.optimizer, policy.critic.optimizer]
    return [policy.optimizer]


def _read(model: Any, turn: int) -> Sb3State:
    from agents.rl.sb3.sb3_weights import as_array

    policy = model.policy
    moments = [
        [_moments(optimizer, param) for param in optimizer.param_groups[0]["params"]]
        for optimizer in _optimizers(policy)
    ]
    return Sb3State(
        turn=jnp.int32(turn),
        num_updates=jnp.int32(model._n_updates),
        weights={name: as_array(x) for name, x in policy.state_dict().items()},
        moments=moments,
    )


def _moments(optimizer: Any, param: Any) -> dict[str, Array]:
    from agents.rl.sb3.sb3_weights import as_array

    kept = optimizer.state.get(param, {})
    if not kept:  # before its first step
        blank = jnp.zeros(tuple(param.shape))
        return dict(zip(_MOMENTS, (jnp.zeros(()), blank, blank), strict=True))
    return {name: as_array(kept[name]) for name in _MOMENTS}


def _write(model: Any, state: Sb3State) -> None:
    policy = model.policy
    policy.load_state_dict({name: _tensor(x) for name, x in state.weights.items()})
    for optimizer, moments in zip(_optimizers(policy), state.moments, strict=True):
        params = optimizer.param_groups[0]["params"]
        for param, kept in zip(params, moments, strict=True):
            optimizer.state[param] = {name: _tensor(x) for name, x in kept.items()}
    model._n_updates = int(state.num_updates)


def _grad_norm(policy: Any) -> float:
    """Of θ, in the last minibatch (PPO has clipped it)."""
    net = policy.actor.net if hasattr(policy, "actor") else policy.action_net
    grads = (param.grad for param in net.parameters())
    return float(sum(g.pow(2).sum() for g in grads if g is not None)) ** 0.5


def _tensor(array: Any) -> Any:
    import torch

    return torch.tensor(np.asarray(array))
