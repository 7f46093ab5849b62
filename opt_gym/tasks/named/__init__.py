"""Tasks that have a name of their own: TaskSet's 109 fixed ones, and ours.

Every name stands for a config of one of the families; nothing here imports JAX. Where a
name says one thing and the original's code does another, the code is followed and a comment
says so.

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, fixed tasks).
"""

from opt_gym.tasks.named import convolutional, dense, ours, sequences
from opt_gym.tasks.named.common import Config

PUBLISHED: dict[str, Config] = {
    **sequences.SEQUENCES,
    **sequences.TWO_D,
    **convolutional.CLASSIFIERS,
    **convolutional.GENERATIVE,
    **sequences.LANGUAGE_MODELS,
    **dense.MAFS,
    **dense.MLPS,
    **dense.AUTOENCODERS,
    **dense.VARIATIONAL,
    **dense.NVPS,
    **sequences.TEXT_CLASSIFICATION,
}
"""The 109 fixed tasks of TaskSet, in its order."""

TINY_SUFFIX = "_tiny"
"""Behind any name: its tiny twin (`opt_gym.twins`)."""

TASKS: dict[str, Config] = {**PUBLISHED, **ours.TASKS}
"""Name -> config of every task with a name of its own."""
