"""Results on disk: found again, never mistaken, resumed."""

import jax
import numpy as np
import pytest

import learned
import opt_gym
from opt_gym.evaluation import jobs, run_cache
from opt_gym.records import Normalizer
from tests import toy
from tests.evaluation.made_up import TINY, parabola

pytestmark = pytest.mark.usefixtures("parabola_family")

QUICK = {
    "horizon": 5,
    "num_points": 3,
    "num_seeds": 2,
    "num_batches": 1,
    "normalizer": toy.NORMALIZER,
}
OTHER = {**TINY, "layer_sizes": [5]}


@pytest.fixture
def built(monkeypatch):
    """The numbers of the parabolas whose programs were built so far."""
    calls = []
    build = jobs.build_program

    def counted(env, *args, **kwargs):
        calls.append(env.task.config["number"])
        return build(env, *args, **kwargs)

    monkeypatch.setattr(jobs, "build_program", counted)
    return calls


def test_results_are_found_again_and_never_mistaken(tmp_path, built):
    adam = learned.make("adam")

    def run(theta=None, **changed):
        return opt_gym.evaluate(
            adam, {"one": parabola(1)}, theta, cache=tmp_path, **{**QUICK, **changed}
        )[0]

    first, again = run(), run()
    assert len(built) == 1
    for field in ("train_loss", "mean_cost", "accuracy", "inner_steps"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert again.seconds_per_step == first.seconds_per_step
    assert again.normalizer == first.normalizer

    theta = adam.init_theta(jax.random.key(0))
    run({**theta, "learning_rate": np.float32(0.3)})
    run(seed=1)
    assert len(built) == 3

    (path, *_) = sorted(tmp_path.glob("*.npz"), key=lambda p: p.stat().st_mtime)
    path.write_bytes(path.read_bytes()[:100])  # a damaged file is computed again
    with pytest.warns(UserWarning, match="is damaged"):
        repaired = run()
    np.testing.assert_array_equal(repaired.mean_cost, first.mean_cost)
    assert len(built) == 4


def test_an_interrupted_evaluation_goes_on(tmp_path, built):
    tasks = {"one": parabola(1), "two": parabola(2)}
    sgd = learned.make("sgd")

    def stop(name, done, total):
        assert (name, done, total) == ("one", 1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opt_gym.evaluate(sgd, tasks, cache=tmp_path, progress=stop, **QUICK)
    built.clear()
    runs = opt_gym.evaluate(sgd, tasks, cache=tmp_path, **QUICK)
    assert [one.task for one in runs] == ["one", "two"]
    assert built == [2]


def test_a_digest_tells_normalizers_data_and_settings_apart():
    adam = learned.make("adam")
    theta = adam.init_theta(jax.random.key(0))

    def digest(best=0.0, task=TINY, **settings):
        env = opt_gym.make(
            task,
            learned_optimizer=adam,
            data="embedded",
            normalizer=Normalizer(2.3, best, "given"),
        )
        return run_cache.digest(env, adam, theta, settings)

    digests = [digest(), digest(0.1), digest(task=OTHER), digest(horizon=3)]
    assert len(set(digests)) == 4
    assert digest() == digests[0]


def test_what_names_do_not_tell_is_never_cached():
    adam = learned.make("adam")
    named, nameless = (
        opt_gym.make(task, learned_optimizer=adam, normalizer=toy.NORMALIZER)
        for task in (parabola(1), toy.quadratic())
    )
    assert run_cache.is_cacheable(adam, named)
    assert not run_cache.is_cacheable(adam._replace(name="mine"), named)
    assert not run_cache.is_cacheable(adam, nameless)


def test_a_replaced_function_is_never_taken_for_the_original():
    adam = learned.make("adam")
    env = opt_gym.make(parabola(1), learned_optimizer=adam, normalizer=toy.NORMALIZER)
    other = env.task._replace(loss=lambda *a: (0.0, {}))
    replaced = opt_gym.make(other, learned_optimizer=adam, normalizer=toy.NORMALIZER)
    assert not run_cache.is_cacheable(adam, replaced)
    stepping = adam._replace(step=lambda *a: a)
    assert not run_cache.is_cacheable(stepping, env)
