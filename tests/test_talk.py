"""The experiments of the talk, each in its small form: they train, measure, and go on."""

from pathlib import Path

import pytest

from examples.talk import (
    architectures,
    large_models,
    more_tasks,
    noise,
    other_worlds,
    out_of_distribution,
    task_specific,
    where_rl_belongs,
)

pytestmark = pytest.mark.slow
SMALL = {"seeds": 1, "inner_steps": 2e4, "num_seeds": 1}


def check_kept(folder: Path, again, table) -> None:
    """Nothing is done twice, and the figure is made from what is kept."""
    (folder / "figure.png").unlink()
    for run in folder.glob("*_seed*"):
        kept = {"run.json", "log.csv", "theta.safetensors", "evaluations.csv"}
        for path in run.iterdir():
            if path.is_file() and path.name not in kept:
                path.unlink()
    assert again() == table
    assert (folder / "figure.png").stat().st_size > 5_000


def test_more_tasks(tmp_path, monkeypatch):
    cheap = [name for name in more_tasks.POOL if name.startswith("quadratic")]
    lists = dict.fromkeys(more_tasks.LISTS, cheap[-1:])
    monkeypatch.setattr(more_tasks, "POOL", cheap)
    monkeypatch.setattr(more_tasks, "LISTS", lists)

    def run():
        few = {"sizes": (1, 3), "num_tasks": 1, "horizon": 50}
        return more_tasks.main(tmp_path, **few, **SMALL)

    table = run()
    assert [(row.size, row.tasks) for row in table] == [
        (size, name) for size in (1, 3) for name in more_tasks.LISTS
    ]
    check_kept(tmp_path, run, table)


def test_chains_are_nested_and_their_own():
    chains = [more_tasks.chain(seed) for seed in (0, 1)]
    assert sorted(chains[0]) == sorted(chains[1]) == sorted(more_tasks.POOL)
    assert chains[0][:3] != chains[1][:3]


def test_other_worlds(tmp_path):
    def run():
        few = {"worlds": ("fully connected", "recurrent"), "num_tasks": 1}
        return other_worlds.main(tmp_path, **few, **SMALL, horizon=30)

    table = run()
    assert [(row.home, row.world) for row in table] == [
        (home, world)
        for home in ("fully connected", "recurrent")
        for world in ("fully connected", "recurrent")
    ]
    check_kept(tmp_path, run, table)


def test_noise(tmp_path):
    def run():
        return noise.main(tmp_path, num_tasks=1, horizon=100, **SMALL)

    table = run()
    assert [(row.trained_for, row.inputs) for row in table] == [
        (name, inputs) for name in noise.OBJECTIVES for inputs in noise.INPUTS
    ]
    of_clean = {row.inputs: row.final_loss for row in table[:3]}
    assert of_clean["clean"] < of_clean["others"]
    check_kept(tmp_path, run, table)


def test_architectures(tmp_path):
    def run():
        few = {"names": ("FF", "nominal"), "num_tasks": 1}
        held_out = "small_mlp_family_seed100"
        return architectures.main(tmp_path, **few, **SMALL, held_out=held_out)

    table = run()
    assert {row.name for row in table} == {"FF", "nominal"}
    for name in ("FF", "nominal"):
        own = [row for row in table if row.name == name]
        assert own[-1].outer_step == 6
        assert all(row.seconds > 0 for row in own)
    check_kept(tmp_path, run, table)


def test_out_of_distribution(tmp_path):
    def run():
        few = {"data": ("mnist",), "axes": ("width", "activation"), "num_values": 2}
        return out_of_distribution.main(tmp_path, **few, num_seeds=1, horizon=60)

    table = run()
    points = dict.fromkeys((row.axis, row.value) for row in table)
    assert [*points] == [
        ("width", "1"),
        ("width", "3"),
        ("activation", "relu"),
        ("activation", "tanh"),
    ]
    of_relu = {row.optimizer: row.final_loss for row in table if row.value == "relu"}
    assert of_relu["learned"] < min(of_relu["Adam 0.0001"], 1.0)  # 2.3 is to guess
    check_kept(tmp_path, run, table)


def test_what_was_trained_on_is_what_the_recipe_has():
    ranges = out_of_distribution.trained_on()
    assert set(ranges) < set(out_of_distribution.AXES)
    assert all(low < high for low, high in ranges.values())


def test_large_models(tmp_path):
    def run():
        nets = ("small_mlp_family_seed100",)
        return large_models.main(tmp_path, ("general",), nets, steps=40)

    table = run()
    assert {row.optimizer for row in table} == {
        "general",
        *(
            f"{kind} {rate:g}"
            for kind, rates in large_models.RATES.items()
            for rate in rates
        ),
    }
    ends = {row.optimizer: row.final_loss for row in large_models.last(table)}
    assert ends["general"] < ends["momentum 0.001"]
    check_kept(tmp_path, run, table)


def test_task_specific(tmp_path, monkeypatch):
    few = {
        name: (*case[:2], case[2][1:2]) for name, case in task_specific.USUAL.items()
    }
    monkeypatch.setattr(task_specific, "USUAL", few)

    def run():
        few = {"num_tasks": 1, "num_held_out": 1, "horizon": 60}
        return task_specific.main(tmp_path, **few, **SMALL | {"inner_steps": 1200})

    table = run()
    kinds = {(row.optimizer, row.shown) for row in table}
    assert kinds == {*task_specific.OBJECTIVES.items()} | {
        (name, shown) for name in few for shown in ("train", "valid")
    }
    ends = {(end.optimizer, end.shown): end for end in task_specific.ends(table)}
    first = next(row for row in table if row.optimizer == "Adam")
    assert ends["Adam", "train"].train_loss < first.train_loss
    assert all(end.ms_a_step > 0 for end in ends.values())
    check_kept(tmp_path, run, table)


def test_where_rl_belongs(tmp_path):
    few = {"outer_steps": 4, "num_tasks": 1, "quick": True, "num_seeds": 1}
    contests = where_rl_belongs.main(tmp_path, **few, budget_s=20.0)
    for contest, folder in zip(contests, ("optax", "torch"), strict=True):
        ours = [entry for entry in contest.entries if entry.is_learned]
        assert [entry.name for entry in ours] == [where_rl_belongs.ENTRANT]
        assert ours[0].final_loss < ours[0].losses[:, 0].mean()
        assert (tmp_path / folder / "table.txt").read_text().startswith("optimizer")
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000
