"""How a loss goes, in numbers that stay what they are where ℓ becomes a·ℓ + b, a > 0.

What a loss is measured in says nothing: a log density is negative, a sum over pixels is in
thousands. Its unit here is its own mean absolute deviation from its fast average.
"""

from typing import Any, NamedTuple

from opt_gym.maths.array_namespace import constant, namespace, zeros

DECAYS = (0.9, 0.99)
DEVIATION_DECAY = 0.98
CLIP = 6.0
_TINY = 1e-30

NAMES = ("has_loss", "loss_trend", "loss_progress", "loss_above_lowest")


class LossProgress(NamedTuple):
    """What is remembered of the losses that were told.

    Shapes: average [2], fast and slow; the rest []. deviation: mean of |ℓ − fast average
    before it|; initial: the first loss; lowest: of the fast average; seen: how many.
    """

    average: Any
    deviation: Any
    initial: Any
    lowest: Any
    seen: Any


def start(like: Any) -> LossProgress:
    """Before the first loss: zeros in the namespace of `like`."""
    zero = zeros((), like)
    return LossProgress(zeros((len(DECAYS),), like), zero, zero, zero, zero)


def follow(progress: LossProgress, loss: Any, has_loss: Any) -> LossProgress:
    """`progress` with one more loss, or as it was where `has_loss` is false.

    `loss` and `has_loss` are scalars. Averages are means until they are as old as their decay
    says: unbiased from the start.
    """
    xp, (average, deviation, initial, lowest, seen) = namespace(loss), progress
    seen = seen + 1.0
    is_first = seen == 1.0
    error = xp.abs(loss - average[0])
    decays = constant([1.0 - decay for decay in DECAYS], loss)
    weights = xp.maximum(decays, 1.0 / seen)
    average = average + weights * (loss - average)
    # The first loss has no average before it.
    weight = xp.clip(1.0 / xp.clip(seen - 1.0, min=1.0), min=1.0 - DEVIATION_DECAY)
    followed = LossProgress(
        average=average,
        deviation=xp.where(is_first, 0.0, deviation + weight * (error - deviation)),
        initial=xp.where(is_first, loss, initial),
        lowest=xp.where(is_first, loss, xp.minimum(lowest, average[0])),
        seen=seen,
    )
    return LossProgress(
        *(
            xp.where(has_loss, new, old)
            for new, old in zip(followed, progress, strict=True)
        )
    )


def numbers(progress: LossProgress) -> Any:
    """What is told of `progress`, [4], see `NAMES`; zeros before the first loss.

    Whether there was one; (fast − slow average)/deviation; how far the loss fell, as a signed
    logarithm in units of the deviation; how far it is above its lowest, as a share of how far
    it fell to there. The middle two in [−2, 2], the last in [0, 2].
    """
    average, deviation, initial, lowest, seen = progress
    xp, unit = namespace(average), deviation + _TINY
    fast, slow = average[0], average[1]
    fell = initial - fast
    far = xp.clip(xp.log((xp.abs(fell) + unit) / unit), 0.0, CLIP) / 3.0
    parts = (
        xp.clip((fast - slow) / unit, -CLIP, CLIP) / 3.0,
        xp.where(fell < 0, -far, far),
        xp.clip((fast - lowest) / (initial - lowest + unit), 0.0, 2.0),
    )
    has_loss = xp.clip(seen, 0.0, 1.0)
    return xp.stack([has_loss, *(has_loss * part for part in parts)])
