"""Named tasks of our own."""

from opt_gym.tasks._fixed.common import Config

TASKS: dict[str, Config] = {}
