"""PPO with a policy that is shared over parameters, for stable-baselines3.

The policy is a Gaussian over the updates of every parameter, its mean the architecture "mlp",
its standard deviation one number for all. It does not know how many parameters there are:
`load_state_dict` takes its weights to a task with another number of them.

PPO's ratio is taken, and clipped, for every parameter by itself, with the advantage that all
share (parameters as agents of one team). The ratio of all updates together has a log whose
variance grows with their number: on quadratics of 100 parameters the mean return after
51,200 steps was -0.71 with it and -0.27 without (-0.85 at first; one seed).

differs: from stable-baselines3's PPO in nothing else, `ratio="joint"` is that.
Source: Schulman et al. 2017, arXiv:1707.06347; parameter-shared multi-agent PPO: Yu et al.
2022, arXiv:2103.01955.
"""

from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from agents.rl.sb3.sb3_networks import PooledNet, UpdateNet, UpdateSettings
from agents.rl.sb3.sb3_trainer import RATIOS
from agents.rl.sb3.sb3_vec_env import check_rollout_size
from opt_gym.plugins import unknown


class PerParameterPolicy(ActorCriticPolicy):
    """An actor that is an MLP applied to every parameter, and a critic that pools over them.

    Args:
        observation_space: [n, F].
        action_space: [n].
        lr_schedule: of the optimizer, Adam.
        settings: `update_settings(learned_optimizer)`; a tuple of its numbers will do.
        critic_hidden: units of the critic's layers.
        log_std_init: log of the standard deviation, in units of the action.
        ratio: "parameter" (log-probabilities are [B, n]) or "joint" ([B]).
        keywords: `use_sde` (must be False), `optimizer_class`, `optimizer_kwargs`.

    Raises:
        ValueError: unknown ratio, or spaces of other shapes.
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Any,
        *,
        settings: Any,
        critic_hidden: int = 32,
        log_std_init: float = 0.0,
        ratio: str = "parameter",
        **keywords: Any,
    ) -> None:
        if ratio not in RATIOS:
            raise ValueError(unknown("ratio", ratio, list(RATIOS)))
        self.settings = UpdateSettings(*settings)
        check_spaces(observation_space, action_space, self.settings)
        self.critic_hidden, self.ratio = critic_hidden, ratio
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            log_std_init=log_std_init,
            **keywords,
        )

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(actions [B, n], values [B, 1], log-probabilities [B, n] or [B])."""
        normal = self._normal(obs)
        actions = normal.mean if deterministic else normal.sample()
        return (
            actions,
            self.value_net(obs),
            self._over_parameters(normal.log_prob(actions)),
        )

    def evaluate_actions(
        self, obs: Any, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(values, log-probabilities, entropies) as `forward` gives them."""
        normal = self._normal(obs)
        log_prob = self._over_parameters(normal.log_prob(actions))
        return self.value_net(obs), log_prob, self._over_parameters(normal.entropy())

    def predict_values(self, obs: Any) -> torch.Tensor:
        """[B, 1]."""
        return self.value_net(obs)

    def get_distribution(self, obs: Any) -> Any:
        """The distribution of actions, as stable-baselines3 has it."""
        return self.action_dist.proba_distribution(self.action_net(obs), self.log_std)

    def _build(self, lr_schedule: Any) -> None:
        self.action_net = UpdateNet(self.settings)
        self.log_std = torch.nn.Parameter(torch.full((1,), float(self.log_std_init)))
        self.value_net = PooledNet(self.settings.inputs, self.critic_hidden)
        optimizer_class: Any = self.optimizer_class
        self.optimizer = optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _normal(self, obs: Any) -> torch.distributions.Normal:
        mean = self.action_net(obs)
        return torch.distributions.Normal(
            mean, self.log_std.exp().expand_as(mean), validate_args=False
        )

    def _over_parameters(self, each: torch.Tensor) -> torch.Tensor:
        return each if self.ratio == "parameter" else each.sum(-1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = ("observation_space", "action_space", "use_sde", "log_std_init")
        return {
            **{name: getattr(self, name) for name in names},
            "lr_schedule": self._dummy_schedule,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
            "settings": tuple(self.settings),
            "critic_hidden": self.critic_hidden,
            "ratio": self.ratio,
        }


class PerParameterBuffer(RolloutBuffer):
    """A rollout whose log-probabilities have one number a parameter.

    Advantages come out as a column, so that PPO's loss multiplies each with the ratios of all
    parameters of its step.
    """

    def reset(self) -> None:
        """Empties it."""
        super().reset()
        shape = (self.buffer_size, self.n_envs, self.action_dim)
        self.log_probs = np.zeros(shape, np.float32)

    def _get_samples(
        self, batch_inds: np.ndarray, env: Any = None
    ) -> RolloutBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        return samples._replace(
            old_log_prob=samples.old_log_prob.reshape(len(batch_inds), -1),
            advantages=samples.advantages[:, None],
        )


class PerParameterPPO(PPO):
    """PPO for a `PerParameterPolicy`, with the rollout that the policy's ratio needs.

    PerParameterPPO(PerParameterPolicy, env, policy_kwargs={"settings": ...}, ...)

    Raises:
        ValueError: a rollout above 2 GB (see `check_rollout_size`).
    """

    def _setup_model(self) -> None:
        shape = self.observation_space.shape or ()
        check_rollout_size(self.n_steps, self.n_envs, shape)
        if self.policy_kwargs.get("ratio", RATIOS[0]) == "parameter":
            self.rollout_buffer_class = PerParameterBuffer
        super()._setup_model()


def check_spaces(
    observation_space: Any, action_space: Any, settings: UpdateSettings
) -> None:
    """Raises ValueError unless there are rows of a parameter and an update for each.

    `observation_space` has the shape [n, F], F the inputs of `settings`; `action_space` [n].
    """
    shape = observation_space.shape
    inputs = settings.inputs
    if len(shape) != 2 or shape[1] != inputs or action_space.shape != shape[:1]:
        raise ValueError(
            f"the policy needs observations [n, {inputs}] and actions [n], got {shape} and "
            f"{action_space.shape}: make the environments with the learned optimizer's "
            "features and action='update'"
        )
