"""Jobs on a Ray cluster: the same outcomes as from worker processes."""

import builtins

import pytest

from opt_gym.runtime import ray_jobs, worker_processes

FUNCTION = "tests.cli.unreliable_jobs:double_or_fail"


def test_without_ray_it_says_what_is_needed(monkeypatch):
    real = builtins.__import__

    def without_ray(name, *args, **kwargs):
        if name == "ray":
            raise ImportError("no ray here")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(ValueError, match="pip install ray"):
        next(ray_jobs.run_jobs(FUNCTION, [1]))


@pytest.mark.slow  # a cluster takes ten seconds to start
@pytest.mark.filterwarnings("ignore:.*os.fork", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_outcomes_are_those_of_worker_processes():
    jobs = [1, 2, "three", 4]
    found = {o.job: o for o in ray_jobs.run_jobs(FUNCTION, jobs, workers=2)}
    expected = {o.job: o for o in worker_processes.run_jobs(FUNCTION, jobs)}
    for job in jobs:
        assert found[job].result == expected[job].result
        assert bool(found[job].error) == bool(expected[job].error)
