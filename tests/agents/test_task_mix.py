"""Which tasks an outer step takes."""

from collections import Counter

import pytest

import agents
from agents.estimators.live_programs import LivePrograms
from opt_gym.runtime import strategy
from tests import toy


def envs(count):
    env, _, _ = toy.sgd_env(toy.quadratic())
    return [env._replace(config={"number": i}) for i in range(count)]


def picks(mix, steps):
    return [mix.pick(step) for step in range(steps)]


def test_in_turn_by_default():
    assert picks(agents.task_mix(envs(3)), 4) == [(0,), (1,), (2,), (0,)]
    several = agents.task_mix(envs(5), per_step=2)
    assert picks(several, 4) == [(0, 1), (2, 3), (4, 0), (1, 2)]


def test_weights_are_how_often_and_a_step_takes_no_task_twice():
    mix = agents.task_mix(envs(3), [1.0, 2.0, 5.0])
    counts = Counter(task for pick in picks(mix, 4000) for task in pick)
    for task, share in enumerate([1 / 8, 2 / 8, 5 / 8]):
        assert abs(counts[task] / 4000 - share) < 0.03
    pairs = picks(agents.task_mix(envs(3), [1.0, 2.0, 5.0], per_step=2), 200)
    assert all(len(set(pair)) == 2 for pair in pairs)
    # A function of the step alone: a resumed run takes the same tasks.
    assert mix.pick(77) == agents.task_mix(envs(3), [1.0, 2.0, 5.0]).pick(77)
    others = agents.task_mix(envs(3), [1.0, 2.0, 5.0], seed=1)
    assert picks(others, 50) != picks(mix, 50)


@pytest.mark.parametrize("weights", [(), (1.0,) * 5])
def test_only_so_many_tasks_are_live_and_all_come_round(weights):
    mix = agents.task_mix(envs(5), weights, max_programs=2, refresh_every=10)
    seen = set()
    for step in range(60):
        live = {place % 5 for place in mix.live(step)}
        assert len(live) == 2
        assert set(mix.pick(step)) <= live
        seen |= set(mix.pick(step))
    assert seen == set(range(5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": [1.0]}, r"weights must be 2 numbers > 0, got \[1.0\]"),
        ({"weights": [1.0, 0.0]}, r"numbers > 0, got \[1.0, 0.0\]"),
        ({"per_step": 3}, "per_step must be an integer >= 1 and <= 2, got 3"),
        ({"per_step": 2, "max_programs": 1}, ">= 1 and <= 1, got 2"),
        ({"max_programs": -1}, "max_programs must be an integer >= 0, got -1"),
        ({"refresh_every": 0}, "refresh_every must be an integer >= 1, got 0"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        agents.task_mix(envs(2), **settings)


def test_a_task_is_live_for_two_episodes_at_least():
    mix = agents.task_mix(envs(3), max_programs=2, refresh_every=5, per_step=2)
    mix.check_episodes(5)
    with pytest.raises(ValueError, match=r"live for 10 windows .* an episode lasts 6"):
        mix.check_episodes(6)
    agents.task_mix(envs(3)).check_episodes(1000)  # all are live all the time


def test_programs_of_tasks_that_are_no_longer_live_are_freed():
    built = []

    def build(env):
        built.append(env.config["number"])
        return env.config["number"]

    mix = agents.task_mix(envs(3), max_programs=2, refresh_every=2)
    programs = LivePrograms(build, mix)
    for step in range(6):
        for task in mix.pick(step):
            assert programs.of(task, step) == task
    # Live are 0 1 | 1 2 | 2 0: task 0 was freed when 2 came, and is built again at the end.
    assert built == [0, 1, 2, 0]


def test_the_oldest_programs_give_way_where_one_more_could_crash(monkeypatch):
    crowded = iter([False, True, False, False])
    monkeypatch.setattr(strategy, "is_crowded", lambda: next(crowded))
    built = []
    programs = LivePrograms(
        lambda env: built.append(env.config["number"]), agents.task_mix(envs(3))
    )
    for task in (0, 1, 2, 1, 0):  # the third finds it crowded, and 0 gives way
        programs.of(task, 0)
    assert built == [0, 1, 2, 0]


def test_tasks_of_one_config_share_their_programs():
    same = [
        env._replace(task=env.task._replace(config={"family": "x"})) for env in envs(1)
    ]
    mix = agents.task_mix([*same, *same])
    built = []
    programs = LivePrograms(built.append, mix)
    for task in (0, 1):
        programs.of(task, 0)
    assert len(built) == 1
