"""The seed-0 character model: our GRU, JAX's own gradient of it, plain JAX, and PyTorch.

SGD on windows of the embedded text. Ours and plain JAX: two unrolls, one per device, in a
scan, and besides as a jitted step in a Python loop on one device. PyTorch: eager, the better
of one and of all threads; its `nn.GRU` multiplies with r after the recurrent matmul and not
before it, which is another net of the same cost.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import _families
from opt_gym.tasks.building import recurrent_networks

FAMILY = "char_rnn_language_model"
STEPS, ROUNDS, NUM_UNROLLS = 20, 5, 2
LEARNING_RATE = 0.01

Rate = Callable[[], float]


def alone() -> dict[str, Any]:
    """Training steps per second of ours."""
    case = _families.seed_0(FAMILY)
    rate = _families.scanned(case, case.ours, STEPS, NUM_UNROLLS)
    return {"steps_per_s": max(rate() for _ in range(ROUNDS))}


def run() -> dict[str, Any]:
    """Training steps per second of each, called in turn, and ratios of ours to them.

    Raises:
        RuntimeError: ours and plain JAX differ by more than 1e-4 somewhere.
    """
    case = _families.seed_0(FAMILY)
    _families.check_alike(case)
    rates: dict[str, Rate] = {
        "ours": _families.scanned(case, case.ours, STEPS, NUM_UNROLLS),
        "plain": _families.scanned(case, case.plain, STEPS, NUM_UNROLLS),
        "ours_stepped": _families.stepped(case, case.ours, STEPS),
        "plain_stepped": _families.stepped(case, case.plain, STEPS),
        **_torch_rates(case),
    }
    with mock.patch.object(recurrent_networks, "recur", _jax_gradient):
        other = _families.seed_0(FAMILY)
        rates["jax_gradient"] = _families.scanned(other, other.ours, STEPS, NUM_UNROLLS)
    found = _families.best_in_turns(rates, ROUNDS)
    torch = max(rate for name, rate in found.items() if name.startswith("torch"))
    found["ratio_plain"] = found["ours"] / found["plain"]
    found["ratio_torch"] = found["ours"] / torch
    found["ratio_torch_stepped"] = found["ours_stepped"] / torch
    return _families.rounded(found)


def _jax_gradient(cell: Any, x: Any, state: Any, kernels: Any, bias: Any) -> Any:
    return recurrent_networks._forward(cell, x, state, kernels, bias)[0]


def _torch_rates(case: _families.Case) -> dict[str, Rate]:
    import torch

    config, texts = case.task.config, case.data["train"]
    settings, vocab = config["dataset"][1], config["vocab_size"]
    tokens, starts = (
        np.asarray(x).astype(np.int64) for x in (texts.tokens, texts.starts)
    )
    size, length = settings["batch_size"], settings["patch_length"]
    units = config["core"][1]["core_dim"]
    embed = torch.nn.Embedding(vocab, config["embed_dim"])
    gru = torch.nn.GRU(config["embed_dim"], units)
    head = torch.nn.Linear(units, vocab)
    first = torch.nn.Parameter(torch.zeros(1, 1, units))
    params = [first, *embed.parameters(), *gru.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(params, lr=LEARNING_RATE)
    rng = np.random.default_rng(0)

    def step() -> None:
        begin = np.minimum(rng.choice(starts, size), len(tokens) - length)
        batch = tokens[begin[None, :] + np.arange(length)[:, None]]
        ids = torch.from_numpy(np.minimum(batch, vocab - 1))
        outputs, _ = gru(embed(ids), first.expand(1, size, units).contiguous())
        logits = head(outputs[:-1]).reshape(-1, vocab)
        loss = torch.nn.functional.cross_entropy(logits, ids[1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def rate(threads: int) -> float:
        torch.set_num_threads(threads)
        step()
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        return STEPS / (time.perf_counter() - began)

    counts = sorted({1, len(os.sched_getaffinity(0))})
    return {f"torch_{n}_threads": functools.partial(rate, n) for n in counts}
