"""The judge's suites by name: which frozen lists, and what they may be used for."""

from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym.report.suites import Suite


def _parts(*lists: str) -> dict[str, dict[str, str]]:
    return {
        name.rpartition("/")[2]: {task: task for task in BENCHMARK_SETS[name]}
        for name in lists
    }


_ALL = (
    Suite(
        "small",
        "development",
        "twelve small networks on 8x8 digits: minutes",
        _parts("small_mlp/held_out"),
    ),
    Suite(
        "taskset-small-v1",
        "development",
        "forty of TaskSet's tasks; both lists were looked at while things were designed",
        _parts("taskset-small-v1/held_out", "taskset-small-v1/held_out_families"),
        num_seeds=1,
    ),
    Suite(
        "taskset-small-v2",
        "test",
        "forty tasks that nobody has looked at: a θ is entered twice at most, and each look "
        "is written down in results/ with its date and the digest of θ",
        _parts("taskset-small-v2/test", "taskset-small-v2/test_families"),
        num_seeds=1,
    ),
    Suite(
        "modern-tiny-v1",
        "development",
        "tiny twins of what TaskSet lacks: attention, mixers, residual networks, "
        "differential equations, policies, fine-tuning, learned optimizers",
        _parts("modern-tiny-v1/held_out", "modern-tiny-v1/held_out_families"),
        num_seeds=1,
    ),
    Suite(
        "modern-small-v1",
        "test",
        "the same families at their own size; a θ is entered twice at most",
        _parts("modern-small-v1/held_out", "modern-small-v1/held_out_families"),
        num_seeds=1,
    ),
    Suite(
        "transfer",
        "test",
        "nets on tables and on code, data that no θ of ours was trained on; a θ is entered "
        "twice at most",
        _parts("transfer/tables", "transfer/text"),
    ),
)

SUITES = {suite.name: suite for suite in _ALL}
"""By name."""
