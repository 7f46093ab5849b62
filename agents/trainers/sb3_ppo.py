"""PPO of stable-baselines3 with a policy shared over parameters.

The policy is the architecture "mlp" with Gaussian noise on its updates
(agents/rl/sb3/sb3_policy.py).
With γ = 1, time observed and no bootstrap at the horizon its objective is the outer-loss that
every trainer here has; the outer-loss reported is that of the exploring policy.
"""

from typing import Any

from agents.estimators.unrolled_windows import check_aggregation
from agents.records import OuterTrainer
from agents.rl.sb3.sb3_trainer import check_discount, check_settings, sb3_trainer
from agents.task_mixes import TaskMix
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer


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
    max_grad_norm: float = 0.5,
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
    check_settings(
        {
            "num_envs": num_envs,
            "horizon": horizon,
            "num_epochs": num_epochs,
            "num_minibatches": num_minibatches,
            "critic_hidden": critic_hidden,
        },
        {"learning_rate": learning_rate, "clip_range": clip_range},
    )
    check_discount(gamma, bootstrap)
    check_aggregation(aggregation)
    size = num_envs * horizon
    if size % num_minibatches or size < 2 * num_minibatches:
        raise ValueError(
            f"num_envs · horizon = {size} steps must be at least 2 in each of "
            f"{num_minibatches} equal minibatches"
        )

    def build(vec_env: Any, update_settings: Any) -> Any:
        from agents.rl.sb3.sb3_policy import PerParameterPolicy, PerParameterPPO

        return PerParameterPPO(
            PerParameterPolicy,
            vec_env,
            learning_rate=learning_rate,
            n_steps=horizon,
            batch_size=size // num_minibatches,
            n_epochs=num_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            max_grad_norm=max_grad_norm,
            policy_kwargs={
                "settings": tuple(update_settings),
                "log_std_init": log_std_init,
                "critic_hidden": critic_hidden,
                "ratio": ratio,
            },
            device="cpu",
        )

    settings = {
        "num_envs": num_envs,
        "horizon": horizon,
        "num_epochs": num_epochs,
        "num_minibatches": num_minibatches,
        "learning_rate": learning_rate,
        "clip_range": clip_range,
        "gae_lambda": gae_lambda,
        "max_grad_norm": max_grad_norm,
        "log_std_init": log_std_init,
        "critic_hidden": critic_hidden,
        "ratio": ratio,
        "gamma": gamma,
        "bootstrap": bootstrap,
        "aggregation": aggregation,
    }
    return sb3_trainer(
        "sb3_ppo", settings, mix, learned_optimizer, ("none", "clip"), build
    )


SPEC = Spec(
    kind="trainer",
    name="sb3_ppo",
    make=make,
    source="Schulman et al. 2017, arXiv:1707.06347; stable-baselines3 (Raffin et al. 2021)",
)
