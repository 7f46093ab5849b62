"""TD3 with a policy that is shared over parameters, for stable-baselines3.

The actor is tanh of the architecture "mlp" (in units of its `action_scale`), the critics pool
over parameters. TD3 rather than SAC: an actor without a distribution has no entropy that
would have to be weighed differently for every number of parameters.

Source: Fujimoto et al. 2018, arXiv:1802.09477.
"""

from typing import Any

import torch
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.td3.policies import TD3Policy

from agents.rl.sb3.sb3_networks import PooledNet, UpdateNet, UpdateSettings
from agents.rl.sb3.sb3_policy import check_spaces


class PerParameterActor(BasePolicy):
    """tanh(Δφ / action_scale) of every parameter."""

    def __init__(
        self, observation_space: Any, action_space: Any, settings: UpdateSettings
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=True)
        self.net = UpdateNet(settings)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """[B, n, F] -> [B, n]."""
        return torch.tanh(self.net(obs))

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return self(observation)


class PooledCritic(BaseModel):
    """Estimates of an action's value, each by a `PooledNet` of its own."""

    def __init__(
        self, observation_space: Any, action_space: Any, hidden: int, num: int
    ) -> None:
        super().__init__(observation_space, action_space)
        inputs = observation_space.shape[-1] + 1
        self.nets = torch.nn.ModuleList(PooledNet(inputs, hidden) for _ in range(num))

    def forward(
        self, obs: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """(values [B, 1], one of every net)."""
        rows = torch.cat([obs, actions[..., None]], dim=-1)
        return tuple(net(rows) for net in self.nets)

    def q1_forward(self, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """The first of them."""
        return self.nets[0](torch.cat([obs, actions[..., None]], dim=-1))


class PerParameterTD3Policy(TD3Policy):
    """Actor, critics and their targets; keywords as those of `PerParameterPolicy`.

    Raises:
        ValueError: spaces of other shapes.
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Any,
        *,
        settings: Any,
        critic_hidden: int = 32,
        **keywords: Any,
    ) -> None:
        self.settings = UpdateSettings(*settings)
        check_spaces(observation_space, action_space, self.settings)
        self.critic_hidden = critic_hidden
        super().__init__(observation_space, action_space, lr_schedule, **keywords)

    def make_actor(self, features_extractor: Any = None) -> Any:
        """An actor."""
        actor = PerParameterActor(
            self.observation_space, self.action_space, self.settings
        )
        return actor.to(self.device)

    def make_critic(self, features_extractor: Any = None) -> Any:
        """The two critics as one."""
        critic = PooledCritic(
            self.observation_space, self.action_space, self.critic_hidden, 2
        )
        return critic.to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = ("observation_space", "action_space", "optimizer_class")
        return {
            **{name: getattr(self, name) for name in names},
            "lr_schedule": self._dummy_schedule,
            "optimizer_kwargs": self.optimizer_kwargs,
            "settings": tuple(self.settings),
            "critic_hidden": self.critic_hidden,
        }
