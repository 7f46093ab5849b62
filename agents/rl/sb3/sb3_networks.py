"""The networks of policies that are shared over parameters, in torch.

`UpdateNet` is the architecture "mlp" applied to rows of an observation: its first layer reads
what the Gymnasium face shows of a parameter (scaled features, then the shared numbers), so
its weights are θ's. `PooledNet` is a critic that does not mind how many parameters there are,
nor their order.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import nn


class UpdateSettings(NamedTuple):
    """What `UpdateNet` takes from a learned optimizer; numbers only, as SB3 pickles them.

    num_rows, num_shared: features of a parameter, numbers that all share; hidden,
    num_layers, step_multiplier, exp_multiplier, action_scale: settings of "mlp".
    """

    num_rows: int
    num_shared: int
    hidden: int
    num_layers: int
    step_multiplier: float
    exp_multiplier: float
    action_scale: float

    @property
    def inputs(self) -> int:
        """F, the columns of an observation."""
        return self.num_rows + self.num_shared


class UpdateNet(nn.Module):
    """The mean of an action: Δφ / action_scale, a parameter at a time.

    (d, m) = MLP(row), Δφ = −step_multiplier · d · exp(exp_multiplier · m)

    Shapes: [..., n, F] -> [..., n].
    """

    def __init__(self, settings: UpdateSettings) -> None:
        super().__init__()
        self.settings = settings
        sizes = [settings.inputs, *[settings.hidden] * settings.num_layers, 2]
        self.layers: Any = nn.ModuleList(map(_linear, sizes[:-1], sizes[1:]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """See the class."""
        first, *rest = self.layers
        h = first(rows)
        for layer in rest:
            h = layer(torch.relu(h))
        direction, magnitude = h.unbind(-1)
        settings = self.settings
        unit = settings.step_multiplier / settings.action_scale
        return -unit * direction * torch.exp(settings.exp_multiplier * magnitude)


class PooledNet(nn.Module):
    """A number for a set of rows: MLP of each, mean ‖ max over them, MLP.

    Shapes: [B, n, F] -> [B, 1].
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.all = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """See the class."""
        h = self.each(rows)
        return self.all(torch.cat([h.mean(-2), h.amax(-2)], dim=-1))


def _linear(inputs: int, outputs: int) -> Any:
    """A layer initialized as `mlp`'s: truncated normal of 1/√inputs, zero biases."""
    layer = nn.Linear(inputs, outputs)
    std = 1.0 / math.sqrt(inputs)
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer
