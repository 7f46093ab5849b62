"""OptList: what to try, in order, before tuning anything yourself."""

import jax.numpy as jnp
import optax

from learned.optax_transformation import to_optax
from opt_gym import plugins
from opt_gym.evaluation.search_spaces import SPACES


def opt_list(
    k: int | None = None, *, num_steps: int, faithful: bool = True
) -> list[optax.GradientTransformationExtraArgs]:
    """The first k optimizers of TaskSet's published list, as optax transformations.

    Train once with each and keep the best: ten are a good search, and the first alone is
    the setting that is best on average. All are `nadamw` with a schedule over num_steps, so
    a run must be as long as was said. `update` needs params.

    To run many of them on tasks of ours, `opt-gym evaluate --baselines opt_list:10` puts
    them into one program; `opt_gym.evaluation.search_spaces.SPACES["opt_list"]` has their θ.

    Args:
        k: how many, 1 to 1,000; None for all.
        num_steps: the planned number of steps.
        faithful: exactly what was published and ranked, TensorFlow code with its faults
            (`learned/architectures/nadamw.py` lists them); False: without them.

    Raises:
        ValueError: a k that the list does not have, or num_steps < 1.
    Source: Metz et al. 2020, arXiv 2002.11887; google-research/opt_list.
    """
    space = SPACES["opt_list" if faithful else "opt_list_corrected"]
    count = space.num_trials if k is None else k
    if not 1 <= count <= space.num_trials:
        raise ValueError(f"k must be 1 to {space.num_trials}, got {k}")
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")
    optimizer = plugins.build("architecture", space.architecture, space.options)
    return [
        to_optax(optimizer, _float32(space.trial(number)), horizon=num_steps)
        for number in range(count)
    ]


def _float32(entries: dict[str, float]) -> dict[str, jnp.ndarray]:
    return {key: jnp.asarray(value, jnp.float32) for key, value in entries.items()}
