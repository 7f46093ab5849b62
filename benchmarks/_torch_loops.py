"""The training loops of `against_torch`, in PyTorch eager, for a process of their own.

Nothing here imports JAX. `start` gets the arrays; `rate` and `loss` answer about them.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

_loops: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {}


def start(
    family: str, config: dict[str, Any], arrays: Any, learning_rate: float
) -> None:
    """Builds the model of a family and keeps its data in memory.

    Args:
        family: "mlp", "conv_pooling", "char_rnn_language_model" or "transformer_lm".
        config: of a task of it.
        arrays: the train split's, as a plain tuple of numpy arrays.
        learning_rate: of plain SGD.
    """
    import torch

    makers = {
        "mlp": _classifier,
        "conv_pooling": _convolutional,
        "char_rnn_language_model": _language_model,
        "transformer_lm": _transformer,
    }
    torch.manual_seed(0)
    model, batch, criterion = makers[family](config, [_tensor(a) for a in arrays])
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)

    def step() -> Any:
        optimizer.zero_grad()
        value = criterion(model, *batch())
        value.backward()
        optimizer.step()
        return value

    def loss_at(params: list[Any], *fields: Any) -> float:
        with torch.no_grad():
            for own, given in zip(model.parameters(), params, strict=True):
                own.copy_(_tensor(given))
            return float(criterion(model, *map(_tensor, fields)))

    _loops[family] = step, loss_at


def rate(family: str, threads: int, num_steps: int) -> float:
    """Training steps per second with so many threads."""
    import torch

    torch.set_num_threads(threads)
    step, _ = _loops[family]
    step()
    began = time.perf_counter()
    for _ in range(num_steps):
        value = step()
    value.item()
    return num_steps / (time.perf_counter() - began)


def loss(family: str, params: list[Any], *fields: Any) -> float:
    """The model's loss at given weights (in PyTorch's layout) and batch."""
    return _loops[family][1](params, *fields)


def _tensor(array: Any) -> Any:
    import torch

    wide = array.astype(np.int64) if array.dtype in (np.int32, np.uint16) else array
    return torch.from_numpy(np.array(wide))


def _image_batches(
    config: dict[str, Any], images: Any, labels: Any
) -> Callable[[], Any]:
    import torch

    _, settings, augmentation = config["dataset"]
    size, flips = settings["bs"], dict(augmentation or {})
    images = images.permute(0, 3, 1, 2).contiguous()
    axes = [
        axis
        for axis, name in ((3, "flip_left_right"), (2, "flip_up_down"))
        if flips.get(name)
    ]

    def batch() -> Any:
        index = torch.randint(len(labels), (size,))
        x = images[index].float() / 255
        for axis in axes:
            x = torch.where(torch.rand(size, 1, 1, 1) < 0.5, x.flip(axis), x)
        return x, labels[index]

    return batch


def _classifier(config: dict[str, Any], arrays: list[Any]) -> Any:
    import itertools

    import torch

    images, labels, classes = arrays[0], arrays[1], int(arrays[2])
    sizes = [images[0].numel(), *config["layer_sizes"], classes]
    layers: list[Any] = [torch.nn.Flatten()]
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.LeakyReLU(0.2)]
    model = torch.nn.Sequential(*layers[:-1])
    return model, _image_batches(config, images, labels), _cross_entropy


def _convolutional(config: dict[str, Any], arrays: list[Any]) -> Any:
    import torch

    images, labels, classes = arrays[0], arrays[1], int(arrays[2])
    channels, layers = images.shape[3], []
    for units, strides, padding in zip(
        config["hidden_units"], config["strides"], config["padding"], strict=True
    ):
        if padding == "SAME":
            # TensorFlow's padding: at stride 2 on even sizes all of it is at the end.
            even = strides[0] == 2
            layers.append(torch.nn.ZeroPad2d((0, 1, 0, 1) if even else (1, 1, 1, 1)))
        layers += [
            torch.nn.Conv2d(channels, units, 3, strides[0], bias=config["use_bias"]),
            torch.nn.LeakyReLU(0.4),
        ]
        channels = units
    head = torch.nn.Linear(channels, classes)
    body = torch.nn.Sequential(*layers)

    def criterion(model: Any, x: Any, labels: Any) -> Any:
        pooled = (model[0](x) ** 2).mean((2, 3))
        return torch.nn.functional.cross_entropy(model[1](pooled), labels)

    model = torch.nn.ModuleList([body, head])
    return model, _image_batches(config, images, labels), criterion


def _language_model(config: dict[str, Any], arrays: list[Any]) -> Any:
    """`torch.nn.GRU` multiplies the reset gate in after the matmul, TaskSet before."""
    import torch

    core, vocabulary = config["core"][1]["core_dim"], config["vocab_size"]
    model = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Embedding(vocabulary, config["embed_dim"]),
            "core": torch.nn.GRU(config["embed_dim"], core),
            "linear": torch.nn.Linear(core, vocabulary),
        }
    )
    first = torch.nn.Parameter(torch.zeros(1, 1, core))
    model["core"].register_parameter("first", first)

    def criterion(model: Any, found: Any) -> Any:
        state = first.expand(1, len(found), core).contiguous()
        outputs, _ = model["core"](model["embed"](found.T), state)
        logits = model["linear"](outputs[:-1]).reshape(-1, vocabulary)
        return torch.nn.functional.cross_entropy(logits, found.T[1:].reshape(-1))

    return model, _text_batches(config, arrays), criterion


def _transformer(config: dict[str, Any], arrays: list[Any]) -> Any:
    import torch

    from benchmarks._torch_decoder import decoder

    def criterion(model: Any, found: Any) -> Any:
        logits, targets = model(found).flatten(0, 1), found[:, 1:].reshape(-1)
        return torch.nn.functional.cross_entropy(logits, targets)

    return decoder(config), _text_batches(config, arrays), criterion


def _text_batches(config: dict[str, Any], arrays: list[Any]) -> Callable[[], Any]:
    import torch

    tokens, starts, lengths = arrays
    largest, settings = config["vocab_size"] - 1, config["dataset"][1]
    size, length = settings["batch_size"], settings["patch_length"]
    place = torch.arange(length)

    def batch() -> Any:
        index = torch.randint(len(starts), (size,))
        choices = (lengths[index] - length).clamp(min=1)
        at = (torch.rand(size) * choices).long()[:, None] + place
        rows = (starts[index][:, None] + at).clamp(max=len(tokens) - 1)
        found = torch.where(at < lengths[index][:, None], tokens[rows].long(), 0)
        return (found.clamp(max=largest),)

    return batch


def _cross_entropy(model: Any, x: Any, labels: Any) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(model(x), labels)
