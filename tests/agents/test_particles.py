"""The program of a window: what it is compiled for, and what it is only told."""

import jax

from agents.estimators import particles
from agents.estimators.slots import SlotSettings
from agents.records import lengths_of
from agents.trainers import pes
from tests import toy


def test_every_sigma_has_the_same_program(monkeypatch):
    """So that a training's second phase, with smaller steps, compiles nothing anew."""
    texts = []

    def kept(body, num, donate):
        compiled = jax.jit(body)

        def called(mapped, shared):
            texts.append(compiled.lower(mapped, shared).as_text())
            return compiled(mapped, shared)

        return called

    monkeypatch.setattr(particles.strategy, "map_parts", kept)
    env, optimizer, theta = toy.sgd_env(toy.quadratic())
    key = jax.random.key(0)
    for sigma in (0.1, 0.03):
        settings = SlotSettings(2, lengths_of((2, 8), 2), sigma=sigma)
        estimator = pes.estimator(env, optimizer, settings)
        estimator.step(key, {}, theta, estimator.init(key, {}, theta), 0)
    assert len(texts) == 2
    assert texts[0] == texts[1]
