"""`max_episode_steps` is the horizon, however an environment is made.

Cut short by a wrapper, an episode of 1,000 steps would pay for its first 50 as if they were a
twentieth of it, and `reward="final"` nothing. But `gym.make` keeps the argument to itself,
and hands it to a wrapper: it is read from the call that constructs the environment. This is
the one place that looks into another function's call; where Gymnasium is another one some
day, `horizon=` says the same.
"""

import sys
from types import FrameType
from typing import Any

from gymnasium import logger
from gymnasium.envs import registration
from gymnasium.wrappers import TimeLimit


def asked_of_gym_make(made: Any) -> int | None:
    """What the `gym.make` that constructs this object was told, or its spec; else None.

    Args:
        made: the environment, in whose `__init__` this is called.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_locals.get("self") is made:
        frame = frame.f_back
    if frame is None or frame.f_code is not registration.make.__code__:
        return None
    told = frame.f_locals.get("max_episode_steps")
    limit = frame.f_locals["env_spec"].max_episode_steps if told is None else told
    return None if limit == -1 else limit  # which says that nothing is to be cut


def warn_of_time_limit(reset: Any, horizon: int) -> bool:
    """Warns where a TimeLimit around the environment is shorter than its horizon.

    Args:
        reset: the environment, in whose `reset` this is called.
        horizon: of it.

    Returns:
        Whether there is one.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and "reset" in frame.f_code.co_name:  # checkers, too
        owner = frame.f_locals.get("self")
        if isinstance(owner, TimeLimit) and owner._max_episode_steps < horizon:
            logger.warn(
                f"a TimeLimit of {owner._max_episode_steps} steps cuts episodes of "
                f"horizon={horizon}, which pay for all of them: make the environment with "
                f"horizon={owner._max_episode_steps}"
            )
            return True
        frame = frame.f_back
    return False
