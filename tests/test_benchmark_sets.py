"""The frozen lists: what they hold, that they are apart, and that they never change."""

import hashlib
from collections import Counter

import pytest

import opt_gym
from envs_registry import names
from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym import normalize, twins

DIGESTS = {
    "small_mlp/train": "f749b9e1f25971e0",
    "small_mlp/train_27": "c2c9d37262304a8e",
    "small_mlp/development": "bf4e41bb17c6c0e3",
    "small_mlp/development_24": "074c5f682f26bc20",
    "small_mlp/held_out": "ebbadcab1e3534e5",
    "small_mlp/held_out_16": "12d6ff18caf79b64",
    "small_mlp/held_out_32": "e062d63fe1c42803",
    "taskset-small-v1/train": "5d14fcfdf285cd08",
    "taskset-small-v1/held_out": "f57cfe147180b7b0",
    "taskset-small-v1/held_out_families": "7db2dde9ba616bff",
    "taskset-small-v2/test": "9e9fe2d112210b77",
    "taskset-small-v2/test_families": "cc554aa6970cb994",
    "taskset-tiny-v1/train": "e6e313957f58a081",
    "taskset-tiny-v1/development": "302d32360e56a69a",
    "modern-tiny-v1/train": "98ee9e8d2153ca80",
    "modern-tiny-v1/held_out": "0452cf45dec19c72",
    "modern-tiny-v1/held_out_families": "b8c46d6417d5e5e5",
    "modern-small-v1/train": "fd2775d76b31f802",
    "modern-small-v1/held_out": "92b5db6a03957c61",
    "modern-small-v1/held_out_families": "4ee4199e3ac9f979",
    "transfer/tables": "379b4cad993ac685",
    "transfer/text": "138282442ab3a7fa",
    "taskset-full-v1/train": "6e5f44c49aeacb02",
    "taskset-full-v1/held_out": "cf5606feda323085",
    "taskset-full-v1/held_out_families": "335077126bfa4242",
    "taskset-full-v1/train_1": "91633637038ed2d8",
    "taskset-full-v1/train_10": "7e372e7ac775c9d3",
    "taskset-full-v1/train_100": "0b8d8f2883583dd2",
    "taskset-full-v1/train_1000": "6e5f44c49aeacb02",
}
"""The first 16 hex digits of the SHA-256 of the names, one a line."""

MEASURED = {
    (config, objective)
    for config, objective, _ in normalize.read_table(normalize.NORMALIZER_TABLE)
}
"""Whatever the data: the text of another Python is another."""

MODERN_SIZES = {"modern-tiny-v1": [36, 12, 12], "modern-small-v1": [18, 8, 8]}
OVERFITS_AT_ONCE = (
    "fine_tuning_family_seed8_tiny",
    "fine_tuning_family_seed16_tiny",
)
"""No rate of Adam lowers their validation loss."""

HELD_OUT_FAMILIES = {"mlp_ae", "rnn_text_classification"}
PARTS = ("train", "held_out", "held_out_families")


def test_every_list_is_pinned():
    found = {
        name: hashlib.sha256("\n".join(tasks).encode()).hexdigest()[:16]
        for name, tasks in BENCHMARK_SETS.items()
    }
    assert found == DIGESTS


@pytest.mark.parametrize("name", BENCHMARK_SETS)
def test_every_name_is_a_task(name):
    tasks = BENCHMARK_SETS[name]
    assert len(set(tasks)) == len(tasks) > 0
    if name.startswith(("taskset-small-v2", "taskset-tiny", "modern")):
        assert all(opt_gym.task_config(task) for task in tasks)
    elif name.startswith("taskset"):
        assert set(tasks) <= set(names.published_tasks())


@pytest.mark.parametrize("name", ["taskset-small-v1", "taskset-full-v1"])
def test_parts_are_apart(name):
    train, held_out, families = (BENCHMARK_SETS[f"{name}/{part}"] for part in PARTS)
    assert not set(train) & set(held_out)
    assert {names.family_of(task) for task in families} == HELD_OUT_FAMILIES
    others = {names.family_of(task) for task in (*train, *held_out)}
    assert not others & HELD_OUT_FAMILIES
    if name == "taskset-full-v1":
        whole = [*train, *held_out, *families]
        assert sorted(whole) == sorted(names.published_tasks())
    else:
        assert {names.family_of(task) for task in train} == {
            names.family_of(task) for task in held_out
        }
        assert len(others) == 10


def test_the_judge_s_lists_are_apart_from_all_that_was_seen():
    new = [name for name in BENCHMARK_SETS if name.startswith("taskset-small-v2/")]
    older = [
        task
        for name in BENCHMARK_SETS.keys() - set(new)
        for task in BENCHMARK_SETS[name]
    ]
    seen = [opt_gym.task_config(task) for task in {*older, *names.published_tasks()}]
    for name in new:
        tasks = BENCHMARK_SETS[name]
        assert not [task for task in tasks if opt_gym.task_config(task) in seen]
        families = [names.family_of(task) for task in tasks]
        held_out = name.endswith("test_families")
        assert len(set(families)) == (2 if held_out else 10)
        assert {families.count(family) for family in families} == {
            10 if held_out else 2
        }
        assert (set(families) == HELD_OUT_FAMILIES) == held_out


def test_the_tiny_lists_are_apart_from_all_that_is_looked_at():
    tiny = {
        part: [
            opt_gym.task_config(t) for t in BENCHMARK_SETS[f"taskset-tiny-v1/{part}"]
        ]
        for part in ("train", "development")
    }
    everything = [*tiny["train"], *tiny["development"]]
    assert all(everything.count(config) == 1 for config in everything)
    looked_at = {
        task
        for name, tasks in BENCHMARK_SETS.items()
        if name.startswith(("taskset-small", "small_mlp"))
        for task in tasks
    }
    plain = [opt_gym.task_config(task) for task in looked_at]
    assert not [config for config in everything if config in plain]
    assert not [
        twins.twin(config) for config in plain if twins.twin(config) in everything
    ]
    for configs in tiny.values():
        families = [config["family"] for config in configs]
        counts = {families.count(family) for family in set(families)}
        assert len(set(families)) == 10
        assert max(counts) <= 2 * min(counts)
        assert not set(families) & HELD_OUT_FAMILIES
        assert all(twins.num_weights(one) <= twins.MOST_WEIGHTS for one in configs)


def test_the_modern_lists_are_apart_and_hold_out_families():
    lists = {
        name: tasks
        for name, tasks in BENCHMARK_SETS.items()
        if name.startswith("modern")
    }
    configs = [opt_gym.task_config(task) for tasks in lists.values() for task in tasks]
    assert all(configs.count(config) == 1 for config in configs)
    counts = Counter(
        names.family_of(task) for tasks in lists.values() for task in tasks
    )
    assert min(counts.values()) >= 6
    for title, sizes in MODERN_SIZES.items():
        parts = [lists[f"{title}/{part}"] for part in PARTS]
        assert [len(part) for part in parts] == sizes
        families = [{names.family_of(task) for task in part} for part in parts]
        assert families[0] == families[1]
        assert families[2] == {"vit", "physics"}
        assert not families[0] & families[2]


def test_normalizers_of_the_lists_to_train_on_are_shipped():
    missing = {
        (name, objective)
        for title, tasks in BENCHMARK_SETS.items()
        if title.startswith(("taskset-tiny", "modern"))
        for name in tasks
        for objective in ("train", "valid")
        if (normalize.digest_config(opt_gym.task_config(name)), objective)
        not in MEASURED
    }
    assert missing == {(name, "valid") for name in OVERFITS_AT_ONCE}


def test_small_lists_are_apart():
    lists = {
        name: set(of) for name, of in BENCHMARK_SETS.items() if "small_mlp/" in name
    }
    train = lists["small_mlp/train"] | lists["small_mlp/train_27"]
    held_out = lists["small_mlp/held_out_16"] | lists["small_mlp/held_out_32"]
    assert lists["small_mlp/development"] < lists["small_mlp/development_24"]
    assert lists["small_mlp/held_out"] < lists["small_mlp/held_out_16"]
    assert not lists["small_mlp/held_out_16"] & lists["small_mlp/held_out_32"]
    assert not train & held_out
    assert not lists["small_mlp/development_24"] & (train | held_out)


def test_train_27_has_every_activation_at_every_depth():
    configs = [
        opt_gym.task_config(name) for name in BENCHMARK_SETS["small_mlp/train_27"]
    ]
    found = {(str(one["activation"]), len(one["layer_sizes"])) for one in configs}
    assert len(found) == len(configs) == 9 * 3


def test_the_small_set_is_part_of_the_full_one():
    for part in PARTS:
        small = BENCHMARK_SETS[f"taskset-small-v1/{part}"]
        assert set(small) <= set(BENCHMARK_SETS[f"taskset-full-v1/{part}"])


def test_prefixes_are_nested():
    train = BENCHMARK_SETS["taskset-full-v1/train"]
    for count in (1, 10, 100, 1000):
        prefix = BENCHMARK_SETS[f"taskset-full-v1/train_{count}"]
        assert prefix == train[:count]
        assert len(prefix) == count
