"""The same episode for a plain training loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from opt_gym.env import split_reset_key, stream_keys
from opt_gym.records import Data, Task


class Replay(NamedTuple):
    """The initial weights, the instance, and per inner step t the batch and the loss key.

    The loop that an episode of the same key runs:

        for t in range(horizon):
            loss, grad = value_and_grad(task.loss)(loss_key(t), params, instance, batch(t))
            params = task.constrain(params + update(grad))
    """

    params: PyTree
    instance: PyTree
    batch: Callable[[Int[Array, ""] | int], Any]
    loss_key: Callable[[Int[Array, ""] | int], PRNGKeyArray]


def replay(task: Task, data: Data, key: PRNGKeyArray) -> Replay:
    """What the episode with this reset key sees, for a loop without the environment."""
    k_init, k_stream = split_reset_key(key)
    params, instance = task.init(k_init, data)

    def batch(t: Int[Array, ""] | int) -> Any:
        return task.sample_batch(stream_keys(k_stream, t).batch, data, instance, "train")

    def loss_key(t: Int[Array, ""] | int) -> PRNGKeyArray:
        return stream_keys(k_stream, t).loss

    return Replay(params, instance, batch, loss_key)
