"""What is timed from the start of a process: `python -m benchmarks._fresh WHAT NAME`.

Prints one JSON line of seconds. `in_a_process` is the side that starts such processes.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_BEGAN = "OPT_GYM_BENCHMARK_BEGAN"


def in_a_process(what: str, name: str, cache: Path) -> dict[str, float]:
    """The seconds that a new process finds, and its whole life as "process".

    Args:
        what: "compile" or "observe".
        name: of a task, or an id.
        cache: the user's cache folder; an empty one for a cold start.

    Raises:
        RuntimeError: the process failed; with what it said.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["OPT_GYM_CACHE"] = str(cache)
    began = time.time()
    environment[_BEGAN] = str(began)
    command = [sys.executable, "-m", "benchmarks._fresh", what, name]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{what} {name} failed: {done.stderr[-2000:]}")
    seconds = json.loads(done.stdout.splitlines()[-1])
    return {**seconds, "process": time.time() - began}


def compile_step(name: str) -> dict[str, float]:
    """Seconds from a task's name to one step of Adam done, in parts.

    start: of Python; imports: JAX and ours; build: config and task; data: loading them;
    compile: tracing, compiling and running the step.
    """
    marks = [float(os.environ[_BEGAN]), time.time()]
    import jax
    import numpy as np
    import optax

    import opt_gym
    from opt_gym import factory
    from opt_gym.runtime import strategy

    opt_gym.use_all_cores()
    jax.devices()
    marks.append(time.time())
    strategy.use_compilation_cache()
    task = factory.make_task(factory.task_config(name))
    marks.append(time.time())
    data = jax.device_put({"train": task.load_data("embedded")["train"]})
    jax.block_until_ready(data)
    marks.append(time.time())
    adam = optax.adam(1e-3)

    def step(one: Any, data: Any) -> Any:
        bits, params, instance, state = one
        k_batch, k_loss = jax.random.split(jax.random.wrap_key_data(bits))
        batch = task.sample_batch(k_batch, data, instance, "train")

        def loss_fn(params: Any) -> tuple[Any, Any]:
            return task.loss(k_loss, params, instance, batch)

        (loss, _), grad = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, state = adam.update(grad, state, params)
        return task.constrain(optax.apply_updates(params, updates)), state, loss

    # Numbers do not matter here, so nothing else is compiled.
    params, instance = jax.eval_shape(task.init, jax.random.key(0), data)
    like = (params, instance, jax.eval_shape(adam.init, params))
    zeros = jax.tree.map(lambda x: np.zeros((1, *x.shape), x.dtype), like)
    bits = np.array([[0, 1]], np.uint32)
    jax.block_until_ready(strategy.map_unrolls(step, 1)((bits, *zeros), data))
    marks.append(time.time())
    names = ("start", "imports", "build", "data", "compile")
    return dict(zip(names, np.diff(marks).tolist(), strict=True))


def first_observation(name: str) -> dict[str, float]:
    """Seconds of `gym.make` and of the first `reset`; imports of JAX and data included.

    core_seconds are what both take of all cores, a measure that other programs disturb less.
    """
    import gymnasium as gym

    import opt_gym  # noqa: F401 — registers the ids

    began, used = time.perf_counter(), time.process_time()
    env = gym.make(name)
    made = time.perf_counter()
    env.reset(seed=0)
    reset = time.perf_counter()
    return {
        "make": made - began,
        "reset": reset - made,
        "to_observation": reset - began,
        "core_seconds": time.process_time() - used,
    }


if __name__ == "__main__":
    _WHAT = {"compile": compile_step, "observe": first_observation}
    print(json.dumps(_WHAT[sys.argv[1]](sys.argv[2])))
