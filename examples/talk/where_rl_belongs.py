"""Train an RL agent as an optimizer, judge it like any other, and take it home.

    python -m examples.talk.where_rl_belongs
    python -m examples.talk.where_rl_belongs --out results/talk/where_rl_belongs    # once more

PPO on the device teaches `general`, its rates standing still since PPO can teach nothing that
remembers what depends on θ, on small networks that classify 8x8 digits. Then its θ goes where
every θ goes: through the judge's suite `small` (`opt-gym report`), and as an optax and a torch
optimizer into the training of a net that nobody trained it on, a classifier of tumours, beside
AdamW. Ten minutes of two cores.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import torch
import tyro
from sklearn.datasets import load_breast_cancer

import learned
import learned.torch
import opt_gym
from envs_registry.benchmark_sets import SMALL_MLP_TRAIN
from examples.at_work.shown import show
from examples.bundle import Phase, json_of, trained
from learned.contest import with_usual
from learned.how_they_fared import Contest
from opt_gym.cli.report import report

ARCHITECTURE = "general"
ENTRANT = "taught by PPO"
SPLIT, BATCH = 400, 32


def main(
    out: Path = Path("runs/talk/where_rl_belongs"),
    outer_steps: int = 100,
    num_tasks: int = 4,
    seed: int = 0,
    quick: bool = False,
    num_seeds: int = 5,
    budget_s: float = 60.0,
) -> tuple[Contest, Contest]:
    """Trains, writes the report, and compares in optax and in torch.

    Args:
        out: folder; θ that is there is not trained again.
        outer_steps: of PPO, each 50 inner steps in 16 environments of two tasks.
        num_tasks: networks that are trained on, at most 60.
        seed: of outer-training.
        quick: judge on a few of the suite's tasks.
        num_seeds: of each of these.
        budget_s: seconds of each comparison.
    """
    opt_gym.use_all_cores()
    phase = phase_of(SMALL_MLP_TRAIN[:num_tasks], outer_steps)
    theta = trained(out / f"ppo_seed{seed}", ARCHITECTURE, phase, seed)
    report(
        [str(theta)],
        suite="small",
        out=out / "report",
        quick=quick,
        num_seeds=num_seeds,
        data="embedded",
    )
    return in_optax(out / "optax", theta, budget_s), in_torch(
        out / "torch", theta, budget_s
    )


def phase_of(tasks: tuple[str, ...], outer_steps: int) -> Phase:
    """How PPO teaches: windows of 50 steps, of episodes that are a thousand long."""
    options: dict[str, Any] = {
        "num_envs": 16,
        "num_steps": 50,
        "horizon": 1000,
        "num_epochs": 2,
        "num_minibatches": 4,
        "action_scale": 0.0003,
        "theta_average": 0.99,
    }
    return {
        "trainer": "ppo",
        "tasks": [*tasks],
        "tasks_per_step": min(2, len(tasks)),
        "outer_steps": outer_steps,
        "learning_rate": 3e-4,
        "options": json_of(**options),
        "architecture_options": json_of(searching=False),
    }


def tumours() -> tuple[list[Any], list[Any]]:
    """Batches to train on, and to validate on."""
    found = load_breast_cancer(return_X_y=True)
    inputs, labels = np.asarray(found[0]), np.asarray(found[1])
    order = np.random.default_rng(0).permutation(len(labels))
    inputs = ((inputs - inputs.mean(0)) / inputs.std(0)).astype(np.float32)[order]
    labels = labels[order].astype(np.int32)
    starts = range(0, len(labels) - BATCH + 1, BATCH)
    batches = [(inputs[i : i + BATCH], labels[i : i + BATCH]) for i in starts]
    return batches[: SPLIT // BATCH], batches[SPLIT // BATCH :]


class Net(nn.Module):
    """Two hidden layers."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """[batch, 30] -> [batch, 2]."""
        return nn.Dense(2)(nn.relu(nn.Dense(32)(nn.relu(nn.Dense(32)(x)))))


def in_optax(out: Path, theta: Path, budget_s: float) -> Contest:
    """θ as an optax optimizer, beside AdamW."""
    batches, valid = tumours()
    params = Net().init(jax.random.key(0), batches[0][0])["params"]
    return show(
        out,
        learned.compare_on(
            Net(),
            params,
            batches,
            valid_batches=valid,
            optimizers=with_usual({ENTRANT: theta}),
            budget_s=budget_s,
        ),
    )


def in_torch(out: Path, theta: Path, budget_s: float) -> Contest:
    """The same in torch."""
    batches, valid = tumours()
    torch.manual_seed(0)
    layers = [torch.nn.Linear(*shape) for shape in ((30, 32), (32, 32), (32, 2))]
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])

    def loss(net: torch.nn.Module, batch: Any) -> torch.Tensor:
        inputs, labels = map(torch.from_numpy, batch)
        return torch.nn.functional.cross_entropy(net(inputs), labels.long())

    return show(
        out,
        learned.torch.compare_on(
            net,
            loss,
            batches,
            valid_batches=valid,
            optimizers=with_usual({ENTRANT: theta}),
            budget_s=budget_s,
        ),
    )


if __name__ == "__main__":
    tyro.cli(main)
