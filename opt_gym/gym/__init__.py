"""The Gymnasium face: adapters from the functional core to Gymnasium's dialect."""

OWN_TASK = "OptTask-v0"
"""The id of an environment of one's own task: `gym.make(OWN_TASK, task=...)`."""
