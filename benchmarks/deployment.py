"""Milliseconds of one step on a million weights, in optax and torch, as ratios to AdamW."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (784, 640, 640, 128, 10)
NUM_WEIGHTS = sum(a * b + b for a, b in pairwise(SIZES))
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "adafactor_mlp_4": ("adafactor_mlp", {"hidden": 4}),
    "adafactor_mlp_32": ("adafactor_mlp", {"hidden": 32}),
    "mlp": ("mlp", {}),
    "nominal": ("nominal", {}),
    "general": ("general", {}),
    "star": ("star", {}),
    "normalized_direction": ("normalized_direction", {}),
    "hierarchical": ("hierarchical", {}),
    "velo_like": ("velo_like", {}),
    "nn_adam": ("nn_adam", {}),
    "lstm": ("lstm", {}),
    "hierarchical_rnn": ("hierarchical_rnn", {}),
}
ROUNDS, MAX_STEPS, ROUND_SECONDS = 7, 5, 0.5
THREADS = 2


def alone(only: str = "") -> dict[str, Any]:
    """Ours; AdamW is cheap and stays in."""
    return run(only)


def run(only: str = "") -> dict[str, Any]:
    """By framework and architecture: ms, ratio to AdamW, extra floats a weight.

    Args:
        only: rows whose name ("jax mlp") contains this.
    """
    rows: dict[str, Any] = {}
    for row in (
        f"{kind} {name}" for kind in ("jax", "torch") for name in ARCHITECTURES
    ):
        if only not in row:
            continue
        rows[row] = row_in_a_process("benchmarks.deployment", row)
    return rows


def row_in_a_process(module: str, row: str) -> dict[str, float]:
    """What `python -m MODULE WORD...` prints on its last line, for the words of a row.

    Raises:
        RuntimeError: the process failed; with what it said.
    """
    folder = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", module, *row.split()]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{row} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_jax(name: str) -> dict[str, float]:
    """One row, in a process of its own: one device with all cores, as users have it."""
    import jax
    import optax

    import learned

    architecture, config = ARCHITECTURES[name]
    lopt = learned.make(architecture, **config)
    ours: Any = learned.to_optax(lopt, lopt.init_theta(jax.random.key(0)), horizon=1000)
    began = time.perf_counter()
    ours_step, temporary = _jax_step(ours)
    ours_step()
    compile_seconds = time.perf_counter() - began
    adamw_step, _ = _jax_step(optax.with_extra_args_support(optax.adamw(1e-3)))
    adamw_step()
    seconds = interleaved(ours_step, adamw_step)
    return _row(*seconds, temporary / 4 / NUM_WEIGHTS, compile=compile_seconds)


def _jax_step(tx: Any) -> tuple[Callable[[], None], int]:
    import jax
    import optax

    def step(params: Any, state: Any, grads: Any, loss: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    params, grads = ({"arrays": arrays(seed)} for seed in (0, 1))
    jitted = jax.jit(step, donate_argnums=(0, 1))
    state = jax.jit(tx.init)(params)
    compiled = jitted.lower(params, state, grads, np.float32(1.0)).compile()
    memory: Any = compiled.memory_analysis()
    held = [jax.device_put(params), state, jax.device_put(grads)]

    def run_one() -> None:
        held[0], held[1] = compiled(held[0], held[1], held[2], np.float32(1.0))
        jax.block_until_ready(held[0])

    return run_one, memory.temp_size_in_bytes


def measure_torch(name: str) -> dict[str, float]:
    """One row, in a process of its own."""
    import jax
    import torch

    import learned
    from learned.torch import LearnedOptim

    torch.set_num_threads(THREADS)
    architecture, config = ARCHITECTURES[name]
    lopt = learned.make(architecture, **config)
    theta = lopt.init_theta(jax.random.key(0))
    ours = LearnedOptim(torch_params(), (lopt, theta), horizon=1000)
    adamw = torch.optim.AdamW(torch_params(), lr=1e-3, foreach=True)
    ours.step(loss=1.0)
    adamw.step()
    extra = _peak_bytes(lambda: ours.step(loss=1.0))
    seconds = interleaved(lambda: ours.step(loss=1.0), adamw.step)
    return _row(*seconds, extra / 4 / NUM_WEIGHTS)


def torch_params() -> list[Any]:
    """The million weights as torch parameters with gradients, kernels [out, in]."""
    import torch

    params = []
    for array, grad in zip(arrays(0), arrays(1), strict=True):
        # A kernel as torch holds it, [out, in].
        param = torch.nn.Parameter(torch.tensor(np.ascontiguousarray(array.T)))
        param.grad = torch.tensor(np.ascontiguousarray(grad.T))
        params.append(param)
    return params


def arrays(seed: int) -> list[Any]:
    """Kernels and biases of the million weights, or their gradients."""
    random = np.random.default_rng(seed)
    shapes = [shape for a, b in pairwise(SIZES) for shape in ((a, b), (b,))]
    return [0.05 * random.standard_normal(s).astype(np.float32) for s in shapes]


def interleaved(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    most: int = 10 * MAX_STEPS,
) -> tuple[float, float]:
    """Median seconds of one call each, both measured in every round; theirs `most` times."""
    began = time.perf_counter()
    ours()
    once = time.perf_counter() - began
    steps = max(1, min(MAX_STEPS, int(ROUND_SECONDS / once)))
    seconds = []
    for _ in range(ROUNDS):
        pair = []
        for call, count in ((ours, steps), (theirs, most)):
            began = time.perf_counter()
            for _ in range(count):
                call()
            pair.append((time.perf_counter() - began) / count)
        seconds.append(pair)
    return tuple(float(x) for x in np.median(seconds, axis=0))  # pyright: ignore[reportReturnType]


def _row(ours: float, adamw: float, floats: float, **more: float) -> dict[str, float]:
    row = {
        "ms": 1e3 * ours,
        "adamw_ms": 1e3 * adamw,
        "ratio": ours / adamw,
        "extra_floats": floats,
        **more,
    }
    return {key: float(f"{value:.3g}") for key, value in row.items()}


def _peak_bytes(call: Callable[[], Any]) -> int:
    """By how much resident memory rises during a call (Linux; else 0)."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0
    clear.write_text("5")  # the peak begins anew
    before = _kib(status, "VmRSS")
    call()
    return 1024 * max(0, _kib(status, "VmHWM") - before)


def _kib(status: Path, key: str) -> int:
    line = next(x for x in status.read_text().splitlines() if x.startswith(key))
    return int(line.split()[1])


if __name__ == "__main__":
    measures = {"jax": measure_jax, "torch": measure_torch}
    print(json.dumps(measures[sys.argv[1]](sys.argv[2])))
