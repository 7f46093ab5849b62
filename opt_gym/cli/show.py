"""`opt-gym show`: one task in full."""

import json
import math
from typing import Annotated, Literal

import tyro


def show(
    task: Annotated[str, tyro.conf.Positional],
    data: Literal["auto", "embedded", "tfds"] = "auto",
    objective: Literal["train", "valid", "noisy"] = "train",
    config_only: bool = False,
    tiny: bool = False,
) -> int:
    """Shows one task: its config, its parameters, its data, its cost and its normalizer.

    Try:
      opt-gym show mlp_family_seed3
      opt-gym show mlp_family_seed3 --tiny
      opt-gym show mlp_family_seed3 --config-only > mine.json     # edit it, then
      opt-gym show mine.json

    Args:
        task: a name, an id or a .json file with a config.
        data: where data sets come from; "auto" takes prepared originals if there are any.
        objective: whose normalizer to show.
        config_only: print nothing but the config, as JSON.
        tiny: show its tiny twin: the same config with the data made small.
    """
    import opt_gym
    from opt_gym import normalize, twins
    from opt_gym.cli._tasks import expand
    from opt_gym.tasks.named import TINY_SUFFIX

    opt_gym.use_all_cores()
    ((name, chosen),) = _only_one(expand([task])).items()
    config = opt_gym.task_config(chosen)
    if tiny:
        name = f"{name.removesuffix(TINY_SUFFIX)}{TINY_SUFFIX}"
        config = twins.twin(config)
    if config_only:
        print(_as_json(config))
        return 0
    built = opt_gym.make_task(config)
    print(name)
    print(_as_json(config))
    print()
    print(_parameters(built, data))
    print()
    print(f"data        {_dataset(built.dataset, data)}")
    if built.batch_size:
        print(f"batch       {built.batch_size}")
    print(f"cost        {_cost(name)}")
    normalizer = normalize.lookup(built, objective, data)
    print(
        f"normalizer  objective {objective!r}: 1 at {normalizer.initial:.6g}, "
        f"0 at {normalizer.best:.6g} ({_EXPLAINED[normalizer.source]})"
    )
    return 0


_EXPLAINED = {
    "table": "from the shipped table",
    "cache": "from your own table; `opt-gym normalize` measured it",
    "provisional": "provisional: initial loss and a lower bound; "
    "`opt-gym normalize` measures it",
}


def _as_json(config: dict) -> str:
    """One line a key, where json.dumps gives one a number."""
    lines = (f"  {json.dumps(key)}: {json.dumps(config[key])}" for key in config)
    return "{\n" + ",\n".join(lines) + "\n}"


def _only_one(tasks: dict) -> dict:
    if len(tasks) != 1:
        raise ValueError(f"show takes one task, this is a list of {len(tasks)}")
    return tasks


def _parameters(task, data: str) -> str:  # noqa: ANN001 — its type would import JAX
    import jax

    host = task.load_data(data)
    params, _ = jax.eval_shape(task.init, jax.random.key(0), host)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows = [("tensor", "shape", "role", "size")]
    for (path, leaf), role in zip(leaves, task.roles, strict=True):
        shape = "x".join(map(str, leaf.shape)) or "scalar"
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        rows.append((name, shape, role, f"{math.prod(leaf.shape):,}"))
    total = sum(math.prod(leaf.shape) for _, leaf in leaves)
    rows.append(("all", "", "", f"{total:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}"
        for a, b, c, d in rows
    )


def _dataset(name: str, source: str) -> str:
    from opt_gym.data import catalog

    if catalog.is_known(name):
        return catalog.describe(name, source)
    return "none (synthetic)" if name == "none" else name


def _cost(name: str) -> str:
    """From the user's own table or the shipped one, where the name is in it."""
    from envs_registry import names
    from opt_gym.task_statistics import statistics_table

    row = statistics_table.find(
        statistics_table.known_rows(names.STATISTICS_TABLE), name
    )
    if row is None or row.seconds_per_10k_steps is None:
        return "not measured; `opt-gym stats` does"
    return (
        f"{row.seconds_per_10k_steps:.3g} s per 10,000 inner steps on one core with "
        "embedded data, where the table was measured"
    )
