"""Records of the archive with numbers of one's choice."""

import numpy as np

from opt_gym.archive.task_records import Measured, TaskRecord

STEPS = np.array([0, 1, 10, 100, 1000])


def measured(loss=(2.0, 1.8, 1.0, 0.5, 0.1), mean_cost=(0.3, 0.3, 0.3), *, drawn=True):
    """Train losses as given, validation .1 and test .2 above, all seeds alike."""
    mean = np.stack([np.asarray(loss, float) + more for more in (0.0, 0.1, 0.2)])
    seeds = len(mean_cost)
    curves = {
        "inner_steps": STEPS[: len(loss)],
        "mean": mean,
        "spread": 0.01 * mean,
    }
    return Measured(
        horizon=int(STEPS[len(loss) - 1]),
        mean_cost=np.asarray(mean_cost, np.float32),
        final_losses=np.tile(mean[:, -1], (seeds, 1)),
        final_accuracy=np.full(seeds, np.nan),
        diverged=np.full(seeds, False),
        **(curves if drawn else {}),
    )


def record(name="a", **settings):
    """By setting; an underscore for the space in its name."""
    found = {key.replace("_", " "): one for key, one in settings.items()}
    return TaskRecord(name, "c0ffee", "0123456789abcdef", found)
