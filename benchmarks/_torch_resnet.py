"""The residual network of `resnet` in PyTorch eager."""

from typing import Any


def resnet(config: dict[str, Any]) -> Any:
    """A module, images [b, 3, h, w] -> logits [b, 10]."""
    from torch import nn
    from torch.nn import functional

    groups = config["groups"]

    def normed(inputs: int, outputs: int, size: int, stride: int) -> Any:
        conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        return nn.Sequential(conv, nn.GroupNorm(groups, outputs))

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.first = normed(inputs, outputs, 3, stride)
            self.second = normed(outputs, outputs, 3, 1)
            alike = stride == 1
            self.shortcut = (
                nn.Identity() if alike else normed(inputs, outputs, 1, stride)
            )

        def forward(self, x: Any) -> Any:
            y = self.second(functional.relu(self.first(x)))
            return functional.relu(self.shortcut(x) + y)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels = config["width"]
            layers: list[Any] = [normed(3, channels, 3, 1), nn.ReLU()]
            for stage, count in enumerate(config["blocks"]):
                width = config["width"] * 2**stage
                for place in range(count):
                    stride = 2 if stage and not place else 1
                    layers.append(Block(channels, width, stride))
                    channels = width
            self.layers = nn.Sequential(*layers)
            self.linear = nn.Linear(channels, 10)

        def forward(self, x: Any) -> Any:
            return self.linear(self.layers(x).mean((2, 3)))

    return Network()
