"""Runs with numbers of one's choice, and the smallest task that has images."""

import numpy as np

from opt_gym.evaluation.runs import Runs
from opt_gym.records import Normalizer
from tests import toy

TINY = {
    "family": "small_mlp",
    "layer_sizes": [6],
    "activation": "relu",
    "w_init": ["he_normal", None],
    "dataset": ["digits", {"bs": 8}, None],
    "center_data": True,
}


def parabola(number):
    """`toy.quadratic()` as a task of the family that `parabola_family` announces."""
    return toy.quadratic()._replace(config={"family": "parabola", "number": number})


def runs(
    task="a",
    optimizer="adam",
    mean_cost=(0.1, 0.3),
    *,
    steps=(0, 1, 10, 100),
    loss=None,
    accuracy=0.5,
    diverged=False,
    config=None,
):
    """Losses fall from 2 by half a point at every evaluation, unless `loss` is given."""
    seeds = len(mean_cost)
    steps = np.array(steps)
    if loss is None:
        loss = 2.0 * 0.5 ** np.arange(len(steps))
    losses = np.tile(np.asarray(loss, float), (seeds, 1))
    return Runs(
        task=task,
        config=config or {"family": "toy"},
        optimizer=optimizer,
        horizon=int(steps[-1]),
        objective="train",
        normalizer=Normalizer(2.0, 0.0, "given"),
        seconds_per_step=0.001,
        inner_steps=steps,
        train_loss=losses,
        valid_loss=losses + 0.25,
        test_loss=losses + 0.5,
        objective_loss=losses,
        accuracy=np.full(losses.shape, accuracy),
        final_losses=np.stack([losses[:, -1] + more for more in (0, 0.25, 0.5)], 1),
        final_accuracy=np.full(seeds, accuracy),
        mean_cost=np.array(mean_cost),
        diverged=np.full(seeds, diverged),
        step_losses=np.tile(np.linspace(2.0, losses[0, -1], steps[-1]), (seeds, 1)),
    )
