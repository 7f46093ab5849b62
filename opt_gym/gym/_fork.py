"""Processes that were forked while JAX ran: JAX's threads are gone there, and it hangs."""

import os

import jax

_OPTION = "jax_num_cpu_devices"
_forked_while_running = False


def check_usable() -> None:
    """Raises RuntimeError, with the remedy, in a process where JAX would hang."""
    if _forked_while_running:
        raise RuntimeError(
            "this process was forked from one in which JAX runs, and JAX would hang in it. "
            "With Gymnasium, start workers afresh: gym.make_vec(id, num_envs=n, "
            "vectorization_mode='async', vector_kwargs={'context': 'spawn'}); or leave "
            "vectorization_mode out, for one jitted program that steps them all"
        )


def _note_fork() -> None:
    global _forked_while_running
    _forked_while_running = _forked_while_running or _jax_runs()


def _jax_runs() -> bool:
    # JAX has no public question for this, but it refuses this option once it runs.
    before = getattr(jax.config, _OPTION)
    try:
        jax.config.update(_OPTION, before + 2)
    except RuntimeError:
        return True
    jax.config.update(_OPTION, before)
    return False


os.register_at_fork(after_in_child=_note_fork)
