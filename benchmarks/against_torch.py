"""Training steps of three seed-0 tasks against the same models in PyTorch eager.

PyTorch runs in a process of its own, with 1 and with 2 threads, data resident in memory.
Rates are training steps per second of the whole machine: two unrolls on two devices for
ours in a scan; beside it one unroll alone, in a scan and as a jitted step in a loop.
"""

import concurrent.futures
import multiprocessing
from typing import Any

import jax
import numpy as np

from benchmarks import _families, _torch_loops

ROUNDS = 5
STEPS = {
    "mlp": (1000, 300),
    "conv_pooling": (60, 30),
    "char_rnn_language_model": (20, 10),
}
"""Of a scan; of a Python loop, ours and PyTorch's."""


def alone() -> dict[str, Any]:
    """Steps per second of ours, two unrolls in scans."""
    rates = {}
    for family, (steps, _) in STEPS.items():
        case = _families.seed_0(family)
        rate = _families.scanned(case, case.ours, steps, 2)
        rates[family] = max(rate() for _ in range(ROUNDS))
    return _families.rounded(rates)


def run() -> dict[str, Any]:
    """By family: rates, and the ratio of our best mode and of one run to PyTorch's best.

    Raises:
        RuntimeError: a loss differs from PyTorch's by more than 1e-4 (not asked of the GRU:
            PyTorch's is another one).
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as process:
        return {family: compare(family, process) for family in STEPS}


def compare(
    family: str, process: concurrent.futures.ProcessPoolExecutor
) -> dict[str, float]:
    """One row of the table."""
    case = _families.seed_0(family)
    _start(case, family, process)
    if family != "char_rnn_language_model":
        _check_loss(case, family, process)
    steps, looped = STEPS[family]

    def torch_rate(threads: int) -> Any:
        return lambda: process.submit(
            _torch_loops.rate, family, threads, looped
        ).result()

    found = _families.best_in_turns(
        {
            "ours_two": _families.scanned(case, case.ours, steps, 2),
            "ours_one": _families.scanned(case, case.ours, steps, 1),
            "ours_stepped": _families.stepped(case, case.ours, looped),
            "torch_1_thread": torch_rate(1),
            "torch_2_threads": torch_rate(2),
        },
        ROUNDS,
    )
    theirs = max(found["torch_1_thread"], found["torch_2_threads"])
    single = max(found["ours_one"], found["ours_stepped"])
    found["ratio"] = max(found["ours_two"], single) / theirs
    found["ratio_single"] = single / theirs
    return _families.rounded(found)


def _start(case: _families.Case, family: str, process: Any) -> None:
    train = jax.tree.map(np.asarray, case.data["train"])
    if family == "char_rnn_language_model":
        arrays = (train.tokens, train.starts, train.lengths)
    else:
        params, _ = jax.eval_shape(case.task.init, jax.random.key(0), case.data)
        classes = np.array(params[-1].shape[0])
        arrays = (train.images, train.labels, classes)
    rate = _families.LEARNING_RATE
    process.submit(_torch_loops.start, family, case.task.config, arrays, rate).result()


def _check_loss(case: _families.Case, family: str, process: Any) -> None:
    params, batch, mine = _families.first_loss(case)
    order = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
    params = [np.transpose(p, order[p.ndim]) for p in map(np.asarray, params)]
    images = np.transpose(np.asarray(batch.inputs), (0, 3, 1, 2))
    if family == "mlp":  # its first layer sees channels last, PyTorch's first
        channels, *size = images.shape[1:]
        rows = params[0].reshape(-1, *size, channels)
        params[0] = np.transpose(rows, (0, 3, 1, 2)).reshape(len(rows), -1)
    theirs = process.submit(
        _torch_loops.loss, family, params, images, np.asarray(batch.targets)
    ).result()
    _families.check_torch_loss(family, mine, theirs)
