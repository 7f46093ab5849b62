"""The judge: what is said of an optimizer beside others, each number defined once.

Pure functions of losses; who runs what is `opt_gym.evaluation`. docs/judging.md defines every
score for readers.
"""
