"""The decoder of `transformer_lm` in PyTorch eager."""

from typing import Any


def decoder(config: dict[str, Any]) -> Any:
    """A module, tokens [b, t + 1] -> logits [b, t, v]."""
    import torch
    from torch import nn
    from torch.nn import functional

    width, heads, depth = config["width"], config["heads"], config["depth"]
    hidden, vocab = config["expansion"] * width, config["vocab_size"]
    time = config["dataset"][1]["patch_length"] - 1

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.projection = nn.Linear(width, 3 * width)
            self.output = nn.Linear(width, width)
            self.norm2 = nn.LayerNorm(width)
            self.up = nn.Linear(width, hidden)
            self.down = nn.Linear(hidden, width)

        def forward(self, x: Any) -> Any:
            shape = (*x.shape[:2], 3, heads, width // heads)
            q, k, v = self.projection(self.norm1(x)).view(shape).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.output(y.transpose(1, 2).reshape(x.shape))
            return x + self.down(functional.relu(self.up(self.norm2(x))))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(vocab, width)
            self.positions = nn.Parameter(0.02 * torch.randn(time, width))
            self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            self.norm = nn.LayerNorm(width)
            self.linear = nn.Linear(width, vocab)

        def forward(self, tokens: Any) -> Any:
            x = self.table(tokens[:, :-1]) + self.positions
            for block in self.blocks:
                x = block(x)
            return self.linear(self.norm(x))

    return Decoder()
