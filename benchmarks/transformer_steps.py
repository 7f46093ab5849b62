"""Training steps of a small decoder against the same by hand in JAX, and PyTorch eager.

4 blocks of width 128 on 16 windows of 64 bytes, SGD. In a scan, two unrolls on two devices as
our programs run, and one alone; by hand in the same loop. PyTorch in a process of its own,
with 1 and with 2 threads. Rates are training steps per second of the whole machine.
"""

import concurrent.futures
import multiprocessing
from typing import Any

import numpy as np

from benchmarks import _families, _torch_loops

ROUNDS, STEPS, LOOPED = 5, 30, 15
CONFIG: dict[str, Any] = {
    "family": "transformer_lm",
    "depth": 4,
    "width": 128,
    "heads": 4,
    "expansion": 4,
    "activation": "relu",
    "w_init": ["glorot_uniform", None],
    "positions": "learned",
    "tied": False,
    "vocab_size": 256,
    "dataset": ["lm1b/bytes", {"patch_length": 65, "batch_size": 16}],
}


def alone() -> dict[str, Any]:
    """Steps per second of ours, two unrolls in scans."""
    case = _families.case_of(CONFIG)
    rate = _families.scanned(case, case.ours, STEPS, 2)
    return _families.rounded({"ours_two": max(rate() for _ in range(ROUNDS))})


def run() -> dict[str, Any]:
    """Rates; the ratio to the loop by hand, and of our best mode to PyTorch's best.

    Raises:
        RuntimeError: loss or gradients differ from those by hand, or the loss from
            PyTorch's, by more than 1e-4.
    """
    case = _families.case_of(CONFIG)
    difference = _families.check_alike(case)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as process:
        _start(case, process)

        def torch_rate(threads: int) -> Any:
            asked = (_torch_loops.rate, "transformer_lm", threads, LOOPED)
            return lambda: process.submit(*asked).result()

        found = _families.best_in_turns(
            {
                "ours_two": _families.scanned(case, case.ours, STEPS, 2),
                "plain_two": _families.scanned(case, case.plain, STEPS, 2),
                "ours_one": _families.scanned(case, case.ours, STEPS, 1),
                "plain_one": _families.scanned(case, case.plain, STEPS, 1),
                "ours_stepped": _families.stepped(case, case.ours, LOOPED),
                "torch_1_thread": torch_rate(1),
                "torch_2_threads": torch_rate(2),
            },
            ROUNDS,
        )
    theirs = max(found["torch_1_thread"], found["torch_2_threads"])
    ours = max(found["ours_two"], found["ours_one"], found["ours_stepped"])
    found["ratio_by_hand"] = found["ours_two"] / found["plain_two"]
    found["ratio_torch"] = ours / theirs
    found["ratio_torch_single"] = max(found["ours_one"], found["ours_stepped"]) / theirs
    return {**_families.rounded(found), "difference": difference}


def _start(case: _families.Case, process: Any) -> None:
    """Hands the data over, and compares the loss at the same weights."""
    train, task = case.data["train"], case.task
    arrays = tuple(map(np.asarray, (train.tokens, train.starts, train.lengths)))
    started = ("transformer_lm", task.config, arrays, _families.LEARNING_RATE)
    process.submit(_torch_loops.start, *started).result()
    params, batch, mine = _families.first_loss(case)
    roles = zip(map(np.asarray, params), task.roles, strict=True)
    weights = [leaf.T if role == "kernel" else leaf for leaf, role in roles]
    # PyTorch lists a parameter of its own before those of the layers.
    weights[0], weights[1] = weights[1], weights[0]
    theirs = process.submit(
        _torch_loops.loss, "transformer_lm", weights, np.asarray(batch.inputs)
    ).result()
    _families.check_torch_loss("transformer_lm", mine, theirs)
