"""How a golden entry of losg_tasks becomes a loss of ours.

The original was built after `np.random.seed(7)`. Systems of plain, rescaled and log
problems follow the problem seed all the same. The base of a sparse problem has no seed: it
draws one from the global stream. Of data sets a golden entry takes nothing, its rows come
from a seed of their own. Noise and sparsity are off.
"""

from typing import Any

import numpy as np

from envs_registry.parity.golden import Case, golden_params
from opt_gym.records import Batch, Config
from opt_gym.tasks import losg_tasks
from opt_gym.tasks.losg.losg_data import NUM_IDS, NUM_SYMBOLS, from_state
from opt_gym.tasks.losg.losg_problems import Problem

CONSTRUCTION_SEED = 7
BATCH_SEED = 99
MAX_ROWS = 6
SEED_LIMIT = 2**32 - 1


def losg_case(config: Config, entry: dict[str, Any]) -> Case:
    """The case of a golden entry; the arrays are what a batch of ours would hold.

    Args:
        config: ours, with its family.
        entry: of `numeric/losg_tasks_family.json`, or a TwoD one of `numeric/fixed.json`.
    """
    problem = losg_tasks.design(config)

    def loss(params: Any, batch: Batch) -> Any:
        return problem.objective(params, batch)[0]

    batch = _rows(problem, config) if problem.batch_size else _system(problem, config)
    return Case(loss, list(problem.shapes), golden_params(entry), batch)


def _system(problem: Problem, config: Config) -> Batch:
    if problem.draw is None:
        return Batch(None, None)
    seed = config["problem_seed"]
    if config["kind"] == "sparse_problems":
        seed = np.random.RandomState(CONSTRUCTION_SEED).randint(SEED_LIMIT)
    return Batch(*problem.draw(from_state(np.random.RandomState(seed))))


def _rows(problem: Problem, config: Config) -> Batch:
    """At most six rows of the width that the innermost problem has."""
    kind, settings = config["kind"], config["settings"]
    while "base" in settings:
        kind, settings = settings["base"]
    num = min(problem.batch_size, MAX_ROWS)
    rng = np.random.RandomState(BATCH_SEED)
    if kind == "sparse_softmax_regression":
        inputs = rng.randint(0, NUM_SYMBOLS, (num, NUM_IDS)).astype(np.int32)
    else:
        features = settings.get("n_features", settings.get("dim"))
        inputs = rng.standard_normal((num, features)).astype(np.float32)
    return Batch(inputs, rng.randint(0, 2, num).astype(np.int32))
