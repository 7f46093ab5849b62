"""Milliseconds of one step on a million weights, in optax and torch, as ratios to AdamW.

`--scale 10M 100M` takes that many weights instead, on the accelerator where there is one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._scales import number_of


def num_weights(sizes: tuple[int, ...]) -> int:
    """Of layers, biases included."""
    return sum(a * b + b for a, b in pairwise(sizes))


SIZES = (784, 640, 640, 128, 10)
NUM_WEIGHTS = num_weights(SIZES)
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
LARGE = ("general", "adafactor_mlp_4")
"""What is measured at other scales."""

ROUNDS, MAX_STEPS, ROUND_SECONDS = 7, 5, 0.5
THREADS = 2


def alone(only: str = "", scale: Sequence[str] = ()) -> dict[str, Any]:
    """Ours; AdamW is cheap and stays in."""
    return run(only, scale)


def run(only: str = "", scale: Sequence[str] = ()) -> dict[str, Any]:
    """By framework and architecture: ms, ratio to AdamW, extra floats a weight.

    Args:
        only: rows whose name ("jax mlp") contains this.
        scale: numbers of weights, instead of a million.
    """
    kinds = ("jax", "torch")
    rows = [f"{kind} {name}" for kind in kinds for name in ARCHITECTURES]
    if scale:
        rows = [f"{k} {name} {size}" for size in scale for k in kinds for name in LARGE]
    return {
        row: row_in_a_process("benchmarks.deployment", row)
        for row in rows
        if only in row
    }


def row_in_a_process(module: str, row: str) -> dict[str, float]:
    """What `python -m MODULE WORD...` prints on its last line, for the words of a row.

    Raises:
        RuntimeError: the process failed; with what it said.
    """
    folder = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", module, *row.split()]
    # Two frameworks share an accelerator: JAX does not take most of its memory at once.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"{row} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def sizes_of(num_weights: int) -> tuple[int, ...]:
    """Layers as those of the million, wider, with about so many weights."""
    factor = (num_weights / NUM_WEIGHTS) ** 0.5
    return (*(max(1, round(factor * size)) for size in SIZES[:-1]), SIZES[-1])


def measure_jax(name: str, sizes: tuple[int, ...]) -> dict[str, float]:
    """One row, in a process of its own: one device with all cores, as users have it."""
    import jax
    import optax

    import learned

    architecture, config = ARCHITECTURES[name]
    lopt = learned.make(architecture, **config)
    ours: Any = learned.to_optax(lopt, lopt.init_theta(jax.random.key(0)), horizon=1000)
    began = time.perf_counter()
    ours_step, temporary = _jax_step(ours, sizes)
    ours_step()
    compile_seconds = time.perf_counter() - began
    adamw_step, _ = _jax_step(optax.with_extra_args_support(optax.adamw(1e-3)), sizes)
    adamw_step()
    seconds = interleaved(ours_step, adamw_step)
    floats = temporary / 4 / num_weights(sizes)
    return _row(*seconds, floats, compile=compile_seconds)


def _jax_step(tx: Any, sizes: tuple[int, ...]) -> tuple[Callable[[], None], int]:
    import jax
    import optax

    def step(params: Any, state: Any, grads: Any, loss: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    params, grads = ({"arrays": arrays(seed, sizes)} for seed in (0, 1))
    jitted = jax.jit(step, donate_argnums=(0, 1))
    state = jax.jit(tx.init)(params)
    compiled = jitted.lower(params, state, grads, np.float32(1.0)).compile()
    memory: Any = compiled.memory_analysis()
    held = [jax.device_put(params), state, jax.device_put(grads)]

    def run_one() -> None:
        held[0], held[1] = compiled(held[0], held[1], held[2], np.float32(1.0))
        jax.block_until_ready(held[0])

    return run_one, memory.temp_size_in_bytes


def measure_torch(name: str, sizes: tuple[int, ...]) -> dict[str, float]:
    """One row, in a process of its own."""
    import jax
    import torch

    import learned
    from learned.torch import LearnedOptim

    torch.set_num_threads(THREADS)
    architecture, config = ARCHITECTURES[name]
    lopt = learned.make(architecture, **config)
    theta = lopt.init_theta(jax.random.key(0))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = LearnedOptim(torch_params(sizes, device), (lopt, theta), horizon=1000)
    adamw = torch.optim.AdamW(torch_params(sizes, device), lr=1e-3, foreach=True)

    def ours_step() -> None:
        ours.step(loss=1.0)
        _wait_for(device)

    def adamw_step() -> None:
        adamw.step()
        _wait_for(device)

    ours_step()
    adamw_step()
    extra = _peak_bytes(ours_step, device)
    seconds = interleaved(ours_step, adamw_step)
    return _row(*seconds, extra / 4 / num_weights(sizes))


def _wait_for(device: str) -> None:
    """A step on an accelerator is done when it says so."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def torch_params(sizes: tuple[int, ...] = SIZES, device: str = "cpu") -> list[Any]:
    """The weights as torch parameters with gradients, kernels [out, in]."""
    import torch

    params = []
    for array, grad in zip(arrays(0, sizes), arrays(1, sizes), strict=True):
        # A kernel as torch holds it, [out, in].
        param = torch.nn.Parameter(_as_torch(array).to(device))
        param.grad = _as_torch(grad).to(device)
        params.append(param)
    return params


def _as_torch(array: Any) -> Any:
    import torch

    return torch.tensor(np.ascontiguousarray(array.T))


def arrays(seed: int, sizes: tuple[int, ...] = SIZES) -> list[Any]:
    """Kernels and biases of such layers, or their gradients."""
    random = np.random.default_rng(seed)
    shapes = [shape for a, b in pairwise(sizes) for shape in ((a, b), (b,))]
    return [0.05 * random.standard_normal(s, np.float32) for s in shapes]


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


def _peak_bytes(call: Callable[[], Any], device: str) -> int:
    """By how much memory rises during a call: the accelerator's, or what is resident."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - held
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
    kind, chosen, *scaled = sys.argv[1:]
    layers = sizes_of(number_of(scaled[0])) if scaled else SIZES
    print(json.dumps(measures[kind](chosen, layers)))
