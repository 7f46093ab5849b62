"""Jobs on a Ray cluster, as `worker_processes` has them on one machine."""

from collections.abc import Iterator, Sequence
from typing import Any

from opt_gym.runtime.worker_processes import Outcome, describe, named


def run_jobs(
    function: str,
    jobs: Sequence[Any],
    *,
    workers: int = 0,
    limit: float | None = None,
    memory: float | None = None,
) -> Iterator[Outcome]:
    """Outcomes in the order in which the jobs end; each has a core of some machine.

    The cluster is the one of the environment (`RAY_ADDRESS`), else this machine.

    Args:
        function, jobs: see `worker_processes.run_jobs`; every machine has the package.
        workers: jobs at a time at most; 0: as many as the cluster has cores.
        limit: seconds a job may take.
        memory: GiB that Ray sets aside for a job.

    Raises:
        ValueError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("this needs the package ray: pip install ray") from error
    begun_here = not ray.is_initialized()
    if begun_here:
        ray.init(log_to_driver=False, include_dashboard=False)
    options: dict[str, Any] = {"num_cpus": 1, "max_retries": 1}
    if memory is not None:
        options["memory"] = int(memory * 2**30)
    remote = ray.remote(**options)(_work)
    waiting = list(reversed(jobs))
    most = workers or int(ray.cluster_resources().get("CPU", 1))
    running: dict[Any, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most:
                job = waiting.pop()
                running[remote.remote(function, job)] = job
            done, _ = ray.wait(list(running), timeout=limit)
            # None ended within the limit: the oldest has had its time.
            for reference in done or [next(iter(running))]:
                yield _outcome(
                    ray, running.pop(reference), reference, bool(done), limit
                )
    finally:
        if begun_here:
            ray.shutdown()


def _outcome(
    ray: Any, job: Any, reference: Any, is_done: bool, limit: float | None
) -> Outcome:
    if not is_done:
        ray.cancel(reference, force=True)
        return Outcome(job, None, f"took over {limit:g} s")
    try:
        return Outcome(job, ray.get(reference), "")
    except Exception as error:
        return Outcome(job, None, describe(error))


def _work(function: str, job: Any) -> Any:
    from opt_gym.runtime import strategy

    strategy.use_all_cores(1)
    return named(function)(job, lambda result: None)
