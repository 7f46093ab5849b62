"""The seed-0 task of each of TaskSet's families, ours and by hand, and how both train."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import opt_gym
from benchmarks import (
    _plain_attention,
    _plain_images,
    _plain_sequences,
    _plain_synthetic,
)
from benchmarks._plain import Arrays, Plain
from opt_gym import plugins
from opt_gym.records import Config, Data, Task
from opt_gym.runtime import strategy

LEARNING_RATE = 1e-6
"""So small that nothing diverges; plain SGD, everywhere."""

PLAIN: dict[str, Callable[[Config], Plain]] = {
    "mlp": _plain_images.classifier,
    "mlp_ae": _plain_images.autoencoder,
    "mlp_vae": _plain_images.variational,
    "conv_fc": _plain_images.convolutional,
    "conv_pooling": _plain_images.convolutional,
    "nvp": _plain_images.coupling_flow,
    "maf": _plain_images.autoregressive_flow,
    "transformer_lm": _plain_attention.decoder,
    "char_rnn_language_model": _plain_sequences.language_model,
    "word_rnn_language_model": _plain_sequences.language_model,
    "rnn_text_classification": _plain_sequences.text_classifier,
    "quadratic": _plain_synthetic.quadratic,
    "losg_tasks": _plain_synthetic.noisy_parity,
}

Step = Callable[[Any, Any, Any, Data], tuple[Any, Any]]
"""(key, φ, ψ, data) -> (φ, loss)."""


class Case(NamedTuple):
    """A task twice.

    Attributes:
        ours, plain: one training step.
        data: {"train": ...} on the device.
    """

    task: Task
    by_hand: Plain
    ours: Step
    plain: Step
    data: Data


def seed_0(family: str) -> Case:
    """The task `<family>_family_seed0` on embedded data, ours and by hand."""
    return case_of(opt_gym.task_config(f"{family}_family_seed0"))


def case_of(config: Config) -> Case:
    """The task of that config, ours and by hand."""
    task, by_hand = opt_gym.make_task(config), PLAIN[config["family"]](config)
    data = jax.device_put({"train": task.load_data("embedded")["train"]})
    return Case(task, by_hand, _our_step(task), _plain_step(by_hand), data)


def first_loss(case: Case) -> tuple[Any, Any, float]:
    """(φ, batch, loss) of ours, at the beginning."""
    task = case.task
    k_init, k_batch, k_loss = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def ours(data: Data) -> Any:
        params, instance = task.init(k_init, data)
        batch = task.sample_batch(k_batch, data, instance, "train")
        return params, batch, task.loss(k_loss, params, instance, batch)[0]

    params, batch, loss = ours(case.data)
    return params, batch, float(loss)


def check_torch_loss(family: str, mine: float, theirs: float) -> None:
    """Raises RuntimeError where PyTorch's loss differs by more than 1e-4."""
    if not abs(theirs - mine) < 1e-4 * abs(theirs):
        raise RuntimeError(f"{family}: loss {mine} here, {theirs} in PyTorch")


def check_alike(case: Case) -> float:
    """The largest relative difference of loss and gradients at the same φ, batch and noise.

    Raises:
        RuntimeError: it is above 1e-4.
    """
    task, by_hand = case.task, case.by_hand
    k_init, k_batch, k_noise = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def both(data: Data) -> Any:
        params, instance = _start(task, k_init, data)
        batch = task.sample_batch(k_batch, data, instance, "train")
        fields = tuple(x for x in (batch.inputs, batch.targets) if x is not None)
        draw = _noise_of(task) or by_hand.noise
        noise = draw(k_noise, batch if draw is not by_hand.noise else fields)

        def ours(params: Any) -> Any:
            return task.loss(k_noise, params, instance, batch)[0]

        def plain(params: Any) -> Any:
            return by_hand.loss(params, instance, noise, fields)

        return jax.value_and_grad(ours)(params), jax.value_and_grad(plain)(params)

    ours, plain = (jax.tree.leaves(tree) for tree in both(case.data))
    worst = max(
        float(np.linalg.norm(a - b) / (np.linalg.norm(b) + 1e-12))
        for a, b in zip(map(np.asarray, ours), map(np.asarray, plain), strict=True)
    )
    if not worst < 1e-4:
        raise RuntimeError(f"{task.config['family']}: the two differ by {worst:.2g}")
    return worst


def scanned(case: Case, step: Step, num_steps: int, num: int) -> Callable[[], float]:
    """() -> training steps per second of `num` unrolls, one device per core."""

    def train(one: Any, data: Data) -> Any:
        key, params, instance = one

        def body(params: Any, t: Any) -> tuple[Any, Any]:
            return step(jax.random.fold_in(key, t), params, instance, data)

        return jax.lax.scan(body, params, jnp.arange(num_steps))

    keys = jax.random.split(jax.random.key(1), num)
    start = jax.vmap(lambda key, data: _start(case.task, key, data), in_axes=(0, None))
    states = jax.jit(start)(keys, case.data)
    run = strategy.map_unrolls(train, num)
    mapped = (keys, *states)

    def rate() -> float:
        began = time.perf_counter()
        jax.block_until_ready(run(mapped, case.data))
        return num * num_steps / (time.perf_counter() - began)

    rate()
    return rate


def stepped(case: Case, step: Step, num_steps: int) -> Callable[[], float]:
    """() -> training steps per second of a Python loop over a jitted step.

    On one device, with XLA's own threads and options; φ is donated.
    """
    run = jax.jit(step, donate_argnums=1)
    k_init, k_stream = jax.random.split(jax.random.key(1))
    params, instance = jax.jit(lambda data: _start(case.task, k_init, data))(case.data)
    keys = list(jax.random.split(k_stream, num_steps))
    state = [params]

    def rate() -> float:
        began = time.perf_counter()
        for key in keys:
            state[0], loss = run(key, state[0], instance, case.data)
        jax.block_until_ready((state[0], loss))
        return num_steps / (time.perf_counter() - began)

    rate()
    return rate


def best_in_turns(
    rates: dict[str, Callable[[], float]], rounds: int
) -> dict[str, float]:
    """The best rate of each, all measured once in every round."""
    found = [{name: rate() for name, rate in rates.items()} for _ in range(rounds)]
    return {name: max(row[name] for row in found) for name in rates}


def rounded(table: dict[str, float]) -> dict[str, float]:
    """Four digits of every number."""
    return {name: float(f"{value:.4g}") for name, value in table.items()}


def _start(task: Task, key: Any, data: Data) -> tuple[Any, Any]:
    """(φ, ψ), φ half of what it would be: the loss of nvp's seed 0 begins infinite."""
    params, instance = task.init(key, data)
    return jax.tree.map(lambda x: 0.5 * x, params), instance


def _our_step(task: Task) -> Step:
    def step(key: Any, params: Any, instance: Any, data: Data) -> tuple[Any, Any]:
        k_batch, k_loss = jax.random.split(key)
        batch = task.sample_batch(k_batch, data, instance, "train")

        def loss_fn(params: Any) -> tuple[Any, Any]:
            return task.loss(k_loss, params, instance, batch)

        (loss, _), grad = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return task.constrain(_descend(params, grad)), loss

    return step


def _plain_step(by_hand: Plain) -> Step:
    def step(key: Any, params: Any, instance: Any, data: Data) -> tuple[Any, Any]:
        k_batch, k_noise = jax.random.split(key)
        batch = by_hand.sample(k_batch, data)
        noise = by_hand.noise(k_noise, batch)
        loss, grad = jax.value_and_grad(by_hand.loss)(params, instance, noise, batch)
        return _descend(params, grad), loss

    return step


def _descend(params: Any, grad: Any) -> Any:
    return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grad)


def _noise_of(task: Task) -> Callable[[Any, Any], Arrays] | None:
    """The noise of a network's model; None where the family draws otherwise."""
    family = plugins.spec("task", task.config["family"])
    design = getattr(sys.modules[family.make.__module__], "design", None)
    if design is None:
        return None
    return getattr(getattr(design(task.config), "model", None), "noise", None)
