"""Names and ids: what there is, what each stands for, what an unknown one says."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import jax
import pytest

import opt_gym
from envs_registry import names
from opt_gym.records import Batch
from opt_gym.tasks import named

ROOT = Path(__file__).resolve().parent.parent


def test_the_ids_of_taskset_are_registered():
    published = names.published_tasks()
    seeded = [name for name in published if "_family_seed" in name]
    assert len(seeded) == 1190
    assert len(named.PUBLISHED) == 109
    assert len(published) == len(set(published)) == 1299
    ids = {names.env_id(name) for name in [*names.INFEASIBLE_SEEDS, *published]}
    assert len(ids) == 1311
    assert ids | {"OptTask-small_mlp-v0"} <= set(gym.registry)
    registered = {i for i in gym.registry if i.startswith("OptTask-")}
    of_tasks = {names.env_id(name) for name in names.task_names()}
    assert registered == of_tasks | {names.OWN_TASK}


def test_infeasible_tasks_have_no_id_and_say_why():
    for family, seeds in names.INFEASIBLE_SEEDS.items():
        for seed in seeds:
            name = f"{family}_family_seed{seed}"
            assert names.env_id(name) not in gym.registry
            with pytest.raises(ValueError, match=f"{family}: .*padding.*'VALID'"):
                opt_gym.make_task(opt_gym.task_config(name))
    # Among many tasks it is said which one.
    with pytest.raises(ValueError, match=rf"{name}: \w+: .*padding.*'VALID'"):
        opt_gym.make(name, data="embedded")


def test_registering_is_cheap():
    code = (
        "import opt_gym, time; from envs_registry import names;"
        "t = time.process_time(); names.register_envs(); print(time.process_time() - t)"
    )
    command = [sys.executable, "-c", code]
    runs = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert min(float(run.stdout) for run in runs) < 0.06


def test_a_named_task_is_a_config_of_its_family():
    for name, config in named.TASKS.items():
        assert json.loads(json.dumps(config)) == config
        assert names.family_of(name) == config["family"]
        assert config["family"] in names.families()
        assert opt_gym.task_config(names.env_id(name)) == config


def test_a_named_config_is_the_callers_own():
    name = "FixedMLP_mnist_ce_128x128x128_relu_bs128"
    config = opt_gym.task_config(name)
    config["layer_sizes"].append(3)
    assert opt_gym.task_config(name)["layer_sizes"] == [128, 128, 128]


def test_a_named_task_takes_no_task_seed():
    with pytest.raises(ValueError, match="TwoD_Bowl1' is one task; task_seed=3"):
        opt_gym.task_config("TwoD_Bowl1", 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TwoD_Bowl2", "'TwoD_Bowl2'; did you mean 'TwoD_Bowl"),
        ("mlp_vea_family_seed3", "unknown task: 'mlp_vea_family_seed3'"),
        ("OptTask-conv_polling-v0", "unknown task"),
    ],
)
def test_unknown_names_are_named_with_near_matches(name, message):
    with pytest.raises(ValueError, match=message):
        opt_gym.task_config(name)


def test_an_unseeded_family_draws_everything_anew():
    assert opt_gym.task_config("quadratic")["seed"] is None
    assert opt_gym.task_config("quadratic_family_seed0")["seed"] == 48600
    assert opt_gym.task_config("losg_tasks")["problem_seed"] is None


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        # What the original's loss is where it starts.
        ("TwoD_Bowl10", 2.869364),
        ("TwoD_Rosenbrock", 107088.29),
        ("TwoD_Ackley", 21.24981),
        ("TwoD_Beale", 2323.961),
        ("TwoD_StyblinskiTang", 24.378067),
    ],
)
def test_two_dimensional_tasks_start_where_the_original_does(name, loss):
    task = opt_gym.make_task(opt_gym.task_config(name))
    key = jax.random.key(0)
    params, instance = task.init(key, task.load_data("embedded"))
    found, _ = task.loss(key, params, instance, Batch(None, None))
    assert float(found) == pytest.approx(loss, rel=1e-5)


def test_names_can_be_imported_first():
    """Ours import each other: `opt_gym` registers the ids, which are named by tasks."""
    code = (
        "import envs_registry.names, gymnasium; gymnasium.spec('OptTask-quadratic-v0')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
