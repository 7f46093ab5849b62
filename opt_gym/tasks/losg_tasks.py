"""TaskSet's synthetic problems: 14 kinds of objectives with noisy or sparse gradients."""

import json
from functools import lru_cache
from typing import Any

import jax
from jaxtyping import PRNGKeyArray
from numpy.random import RandomState

from opt_gym.plugins import Spec
from opt_gym.records import SPLITS, Batch, Config, Data, Task
from opt_gym.tasks.building import config_checks, samplers
from opt_gym.tasks.building.model import Loss, Params, no_data
from opt_gym.tasks.losg import losg_data, losg_gradient
from opt_gym.tasks.losg.losg_problems import Problem, make_problem
from opt_gym.tasks.losg.losg_settings import KINDS, check_settings, sample_settings

FAMILY = "losg_tasks"
KEYS = ("kind", "settings", "problem_seed")
NUM_CACHED = 16
"""Problems whose drawn arrays are kept on the host."""


def sample_config(seed: int) -> Config:
    """TaskSet's published config `losg_tasks_family_seed<seed>`, its three parts named."""
    rng = RandomState(seed)
    kind = samplers.pick(rng, KINDS)
    settings = sample_settings(rng, kind)
    problem_seed = int(rng.uniform(0, 100000))
    return {"kind": kind, "settings": settings, "problem_seed": problem_seed}


def published(config: Config) -> list[Any]:
    """A config as TaskSet writes it: [kind, settings, problem seed]."""
    return [config[key] for key in KEYS]


def design(config: Config) -> Problem:
    """The problem that a config says, without its random arrays.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    return make_problem(config["kind"], config["settings"])


def build(config: Config) -> Task:
    """The task of one config: φ is a tuple, the loss that of `losg_problems`.

    The value of a loss is the objective's; noise and zeros are in its gradient alone (see
    `losg_gradient`), fresh in every evaluation. What a problem draws once, a matrix and a
    target or a data set, follows `problem_seed`: numpy draws it in `load_data`, it is data
    shared by all unrolls. Where `problem_seed` is null it follows the reset key and is ψ.
    φ follows the reset key always, unless the settings of a two-dimensional kind state
    where it begins, as `initial: [x, y]`. All splits are one: there is no validation data.

    Raises:
        ValueError: see `design`.
    Source: Metz et al. 2020, arXiv 2002.11887, losg_tasks_family. Differs: data sets and the
        arrays of a sparse problem follow `problem_seed` (TaskSet leaves them unseeded),
        batches are drawn with replacement, and `dependency_chain`, whose data set has no
        effect, has none.
    """
    config = _checked(config)
    problem = make_problem(config["kind"], config["settings"])
    draw, seed = problem.draw, config["problem_seed"]
    loss_fn = losg_gradient.perturb(
        problem.objective,
        problem.noise_stdev,
        problem.zero_probability,
        problem.spread,
    )

    def init(key: PRNGKeyArray, data: Data) -> tuple[Params, Any]:
        if draw is None or seed is not None:
            return problem.init(key), ()
        k_params, k_arrays = jax.random.split(key)
        return problem.init(k_params), draw(losg_data.from_key(k_arrays))

    def sample_batch(key: PRNGKeyArray, data: Data, instance: Any, split: str) -> Batch:
        if draw is None:
            return Batch(None, None)
        arrays = data[split] if seed is not None else instance
        if not problem.batch_size:
            return Batch(*arrays)
        num = arrays.inputs.shape[0]
        rows = jax.random.randint(key, (problem.batch_size,), 0, num)
        return Batch(*jax.tree.map(lambda array: array[rows], arrays))

    def loss(key: PRNGKeyArray, params: Params, instance: Any, batch: Batch) -> Loss:
        return loss_fn(key, params, batch)

    def load_data(source: str) -> Data:
        if draw is None or seed is None:
            return no_data(source)
        return dict(_drawn(json.dumps(published(config), sort_keys=True)))

    return Task(
        config={"family": FAMILY, **config},
        batch_size=problem.batch_size,
        dataset="none",
        input_kind="none" if draw is None else "array",
        loss_floor=problem.floor,
        roles=problem.roles,
        load_data=load_data,
        init=init,
        sample_batch=sample_batch,
        loss=loss,
        constrain=lambda params: params,
    )


@lru_cache(maxsize=NUM_CACHED)
def _drawn(text: str) -> Data:
    """What the published config of this JSON draws; its splits are the same arrays."""
    kind, settings, seed = json.loads(text)
    draw = make_problem(kind, settings).draw
    if draw is None:
        raise ValueError(f"{FAMILY}: nothing is drawn for {kind!r}")
    arrays = draw(losg_data.from_state(RandomState(seed)))
    for array in jax.tree.leaves(arrays):
        array.flags.writeable = False
    return dict.fromkeys(SPLITS, arrays)


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check_choice(FAMILY, "kind", config["kind"], KINDS)
    check_settings(f"{FAMILY}: {config['kind']}", config["kind"], config["settings"])
    seed = config["problem_seed"]
    valid = seed is None or config_checks.is_int(seed, 0, 2**32 - 1)
    config_checks.check(
        FAMILY, "problem_seed", seed, valid, "an integer in [0, 2^32) or null"
    )
    return config


SPEC = Spec(
    kind="task",
    name=FAMILY,
    make=build,
    sample_config=sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, losg_tasks_family (google-research)",
)
