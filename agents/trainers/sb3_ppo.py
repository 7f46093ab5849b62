"""PPO of stable-baselines3 with a policy shared over parameters.

The policy is the architecture "mlp" with Gaussian noise on its updates
(agents/rl/sb3/sb3_policy.py).
With γ = 1, time observed and no bootstrap at the horizon its objective is the outer-loss that
every trainer here has; the outer-loss reported is that of the exploring policy.
"""

from functools import partial
from typing import Any

from agents.estimators.trainer_record import settings_among
from agents.records import OuterTrainer, TrainerTraits
from agents.rl.ppo_rollout import LOG_STDS
from agents.rl.sb3.sb3_trainer import RATIOS, check_settings, sb3_trainer
from agents.task_mixes import TaskMix
from opt_gym.checks import check_between, check_choice, check_positive
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer
from opt_gym.setting_kinds import Bound


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    num_envs: int = 64,
    horizon: int = 50,
    num_epochs: int = 4,
    num_minibatches: int = 8,
    learning_rate: float = 1e-3,
    clip_range: float = 0.2,
    gae_lambda: float = 0.95,
    max_grad_norm: Bound = 0.5,
    log_std_init: float = 0.0,
    critic_hidden: int = 32,
    ratio: str = "parameter",
    gamma: float = 1.0,
    bootstrap: bool = False,
    aggregation: str = "mean",
) -> OuterTrainer:
    """The outer-trainer.

    Args:
        mix: the tasks.
        learned_optimizer: of the architecture "mlp", squashing "clip" (what PPO draws is
            clipped to ±action_scale) or "none".
        num_envs, horizon: an outer step is one episode of `horizon` inner steps in each.
        num_epochs, num_minibatches: passes over them, and parts of a pass.
        learning_rate: of Adam.
        clip_range: of the ratio.
        gae_lambda: of the advantages.
        max_grad_norm: of a minibatch's gradient.
        log_std_init: log of the noise at first, in units of `action_scale`; it is learned.
        critic_hidden: units of the critic's layers.
        ratio: "parameter" or "joint" (agents/rl/sb3/sb3_policy.py).
        gamma, bootstrap: < 1 and True for discounted learning with a value beyond the
            horizon, which is another objective than the outer-loss.
        aggregation: what is minimized: the "mean" over an episode, or the "final" loss.

    Raises:
        ValueError: a setting out of its range, or a rollout above 2 GB.
    """
    settings = settings_among(locals())
    whole = ("num_epochs", "num_minibatches", "critic_hidden")
    check_settings(settings, whole, ("learning_rate", "clip_range"))
    check_between("gae_lambda", gae_lambda, 0.0, 1.0)
    check_positive("max_grad_norm", max_grad_norm, infinite=True)
    check_between("log_std_init", log_std_init, *LOG_STDS)
    check_choice("ratio", ratio, RATIOS)
    size = num_envs * horizon
    if size % num_minibatches or size < 2 * num_minibatches:
        raise ValueError(
            f"num_envs · horizon = {size} steps must be at least 2 in each of "
            f"{num_minibatches} equal minibatches"
        )
    build = partial(_model, settings)
    return sb3_trainer(
        "sb3_ppo", settings, mix, learned_optimizer, ("none", "clip"), build
    )


def _model(settings: dict[str, Any], vec_env: Any, update_settings: Any) -> Any:
    """The model of stable-baselines3."""
    from agents.rl.sb3.sb3_policy import PerParameterPolicy, PerParameterPPO

    size = settings["num_envs"] * settings["horizon"]
    passed_on = ("learning_rate", "gamma", "gae_lambda", "clip_range", "max_grad_norm")
    of_policy = ("log_std_init", "critic_hidden", "ratio")
    return PerParameterPPO(
        PerParameterPolicy,
        vec_env,
        n_steps=settings["horizon"],
        batch_size=size // settings["num_minibatches"],
        n_epochs=settings["num_epochs"],
        policy_kwargs={
            "settings": tuple(update_settings),
            **{name: settings[name] for name in of_policy},
        },
        device="cpu",
        **{name: settings[name] for name in passed_on},
    )


SPEC = Spec(
    kind="trainer",
    name="sb3_ppo",
    make=make,
    source="Schulman et al. 2017, arXiv:1707.06347; stable-baselines3 (Raffin et al. 2021)",
    traits=TrainerTraits(architecture_options={"action_scale": 0.1}),
)
