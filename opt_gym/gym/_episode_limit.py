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
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeLimit


def asked(
    made: Any, horizon: int | None, max_episode_steps: int | None
) -> tuple[int | None, int | None]:
    """(horizon, max_episode_steps) as whoever constructs an environment wants them.

    A spec that an environment handed out says both, and says one thing; a call that makes it
    again may say another one, by either name.

    Args:
        made: the environment, in whose `__init__` this is called.
        horizon, max_episode_steps: the arguments of it.
    """
    call = _call_of_gym_make(made)
    if call is None:
        return horizon, max_episode_steps
    spec = call["id"] if isinstance(call["id"], EnvSpec) else call["env_spec"]
    given = call["kwargs"]
    cuts = "max_episode_steps" in call  # gym.make does, make_vec does not
    told = call["max_episode_steps"] if cuts else given.get("max_episode_steps")
    of_spec = spec.kwargs.get("horizon"), spec.max_episode_steps
    if None not in of_spec and of_spec[0] == of_spec[1]:
        wanted = given.get("horizon")
        too_long = cuts and wanted is not None and wanted > spec.max_episode_steps
        if told is None and (wanted is None or too_long):
            return horizon, spec.max_episode_steps
        return wanted, told
    if told is None:
        told = max_episode_steps
    return horizon, spec.max_episode_steps if told is None else told


def _call_of_gym_make(made: Any) -> dict[str, Any] | None:
    """The variables of the call that constructs this object."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_locals.get("self") is made:
        frame = frame.f_back
    makers = (registration.make.__code__, registration.make_vec.__code__)
    return frame.f_locals if frame is not None and frame.f_code in makers else None


def warn_of_time_limit(reset: Any, horizon: int) -> bool:
    """Warns where a TimeLimit around the environment is shorter than its horizon.

    Args:
        reset: the environment, in whose `reset` this is called.
        horizon: of it.

    Returns:
        Whether there is one.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if (
            isinstance(owner, TimeLimit)
            and owner.unwrapped is reset
            and owner._max_episode_steps < horizon
        ):
            logger.warn(
                f"a TimeLimit of {owner._max_episode_steps} steps cuts episodes of "
                f"horizon={horizon}, which pay for all of them: make the environment with "
                f"horizon={owner._max_episode_steps}"
            )
            return True
        frame = frame.f_back
    return False
