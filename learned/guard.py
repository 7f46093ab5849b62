"""Which of two optimizers steps, told by the loss alone: the rules of `guarded`.

The **incumbent** steps; at first it is the learned optimizer. Now
and then the **challenger** is let in for a few steps, and where the loss falls faster under it
than before and after, it is the incumbent from then on. No step asks for a second gradient.

    explosion   the loss is not finite, or its average rose far above that at the snapshot:
                the weights go back to the snapshot, the fallback is the incumbent, and a
                cycle twice as long begins
    race        cycles of 50, 100, 200, ... steps, each with three blocks of a tenth at its
                start: incumbent, challenger, incumbent. The challenger wins where its block
                lowered the loss by more than the mean of the other two, noise apart; where it
                raised the loss, the weights go back to where it came in
    snapshot    taken every tenth of a cycle where the loss is no worse than at the last one

Cycles that would begin beyond half of a known horizon have no race: what is then left is too
short for a loss that a challenger spoils at the end.

Source: ours. Guards by the loss: Prémont-Schwarz et al. 2022, arXiv 2201.12426; a fallback
where a learned step does not descend: Heaton et al. 2020, arXiv 2003.01880. Both compare what
the two candidates lead to, which takes more evaluations of the loss.
"""

from typing import Any, NamedTuple

from opt_gym.maths.array_namespace import constant, namespace
from opt_gym.maths.limits import LIMIT

FIRST_CYCLE = 50.0
SHARE_OF_BLOCK = 0.1
NUM_BLOCKS = 3
CHALLENGE = 1
"""Which of the three blocks is the challenger's."""

AVERAGING = 0.1
"""Of one loss in the running averages."""

RISE_IN_DEVIATIONS, RISE_IN_RANGES = 10.0, 0.1
"""An explosion: above the snapshot by so many mean deviations and shares of the range."""

UNKNOWN = 0.1
"""Of the first loss: how far losses lie apart, before a second one is known."""

DOUBT = 1.0
"""Standard errors by which a challenger must be better."""


class Guard(NamedTuple):
    """What is remembered, all numbers [] float32.

    t: losses seen; initial: the first; mean, deviation: running averages of the loss and of
    its distance from that; level, spread: both at the snapshot; learned: 1 where the learned
    optimizer is the incumbent; start, length: of the cycle; earlier, later: [3], sums of the
    losses in the halves of its blocks; switches, returns: how often the incumbent changed and
    weights went back; last: t of the last of either.
    """

    t: Any
    initial: Any
    mean: Any
    deviation: Any
    level: Any
    spread: Any
    learned: Any
    start: Any
    length: Any
    earlier: Any
    later: Any
    switches: Any
    returns: Any
    last: Any


class _Place(NamedTuple):
    """Of a step in its cycle; numbers [].

    size: of a block; block: 0, 1, 2, or 3 for the rest; inside: steps into it; is_tenth:
    whether a tenth of the cycle begins.
    """

    size: Any
    block: Any
    inside: Any
    is_tenth: Any


class Verdict(NamedTuple):
    """What to do now; booleans [].

    learned: the learned optimizer steps, else the fallback; back: to the snapshot, instead of
    any step; keep: the weights as they are now are the next snapshot.
    """

    learned: Any
    back: Any
    keep: Any


def begin(like: Any) -> Guard:
    """Before the first loss; in the namespace and on the device of the array `like`."""
    zero, one = constant(0.0, like), constant(1.0, like)
    halves = constant([0.0] * NUM_BLOCKS, like)
    known = dict.fromkeys(Guard._fields, zero)
    known |= {"learned": one, "length": constant(FIRST_CYCLE, like)}
    return Guard(**{**known, "earlier": halves, "later": halves})


def judge(guard: Guard, loss: Any, horizon: Any) -> tuple[Guard, Verdict]:
    """The rules above, for the loss at the weights as they are.

    Args:
        guard: so far.
        loss: [], of the batch that gave the gradient.
        horizon: planned steps, 0 where nobody knows.
    """
    xp = namespace(loss)
    finite = xp.isfinite(loss)
    loss = xp.clip(xp.where(finite, loss, guard.mean), -LIMIT, LIMIT)
    guard = _averaged(guard, loss)
    exploded = _exploded(guard, finite)
    guard = _with_cycle(guard)
    place = _place_in(guard)
    guard = _summed(guard, loss, place)
    races = _races(guard, horizon)
    harmed, wins = _outcome(guard, place, races)
    back = exploded | harmed
    guard = _decided(guard, exploded, wins, back)
    challenges = races & (place.block == CHALLENGE) & ~exploded
    acts = (guard.learned > 0.5) ^ challenges
    good = guard.mean <= guard.level + guard.spread
    enters = (place.block == CHALLENGE) & (place.inside == 0)
    keep = (place.is_tenth & (good | enters) | (guard.t == 1)) & ~back
    return _kept(guard, keep), Verdict(acts, back, keep)


def _averaged(guard: Guard, loss: Any) -> Guard:
    """With one more loss. The first is the average as it is."""
    xp = namespace(loss)
    is_first = guard.t == 0
    mean = xp.where(is_first, loss, guard.mean + AVERAGING * (loss - guard.mean))
    distance = xp.abs(loss - mean)
    deviation = guard.deviation + AVERAGING * (distance - guard.deviation)
    deviation = xp.where(is_first, UNKNOWN * xp.abs(loss), deviation)
    return guard._replace(
        t=guard.t + 1,
        initial=xp.where(is_first, loss, guard.initial),
        mean=mean,
        deviation=deviation,
        level=xp.where(is_first, loss, guard.level),
    )


def _kept(guard: Guard, keep: Any) -> Guard:
    xp = namespace(guard.t)
    return guard._replace(
        level=xp.where(keep, guard.mean, guard.level),
        spread=xp.where(keep, guard.deviation, guard.spread),
    )


def _exploded(guard: Guard, finite: Any) -> Any:
    xp = namespace(guard.t)
    gained = xp.abs(guard.initial - guard.level)
    # Deviations as of the snapshot: they grow with a loss that explodes.
    allowed = RISE_IN_DEVIATIONS * guard.spread + RISE_IN_RANGES * gained
    return ~finite | ((guard.mean > guard.level + allowed) & (guard.t > 1))


def _with_cycle(guard: Guard) -> Guard:
    """With a new cycle where the last one has ended."""
    xp = namespace(guard.t)
    ended = guard.t - 1 >= guard.start + guard.length
    # From the second on, a cycle is as long as all before it.
    return _new_cycle(guard, ended, guard.t - 1, xp.where(guard.start > 0, 2.0, 1.0))


def _new_cycle(guard: Guard, begins: Any, start: Any, longer: Any) -> Guard:
    xp = namespace(guard.t)
    return guard._replace(
        start=xp.where(begins, start, guard.start),
        length=xp.where(begins, longer * guard.length, guard.length),
        earlier=xp.where(begins, 0.0, guard.earlier),
        later=xp.where(begins, 0.0, guard.later),
    )


def _place_in(guard: Guard) -> _Place:
    xp = namespace(guard.t)
    size = xp.floor(SHARE_OF_BLOCK * guard.length)
    place = guard.t - 1 - guard.start
    tenth = xp.floor(place / size)
    block = xp.clip(tenth, 0.0, float(NUM_BLOCKS))
    return _Place(size, block, place - block * size, place == tenth * size)


def _summed(guard: Guard, loss: Any, place: _Place) -> Guard:
    """With the loss added to its half of its block."""
    xp = namespace(loss)
    half = xp.floor(place.size / 2.0)
    here = constant([float(block) for block in range(NUM_BLOCKS)], loss) == place.block
    is_earlier, is_later = place.inside < half, place.inside >= place.size - half
    return guard._replace(
        earlier=guard.earlier + xp.where(here & is_earlier, loss, 0.0),
        later=guard.later + xp.where(here & is_later, loss, 0.0),
    )


def _races(guard: Guard, horizon: Any) -> Any:
    """Whether this cycle has a race: not the first, and none that begins too late."""
    in_time = (horizon == 0) | (2.0 * guard.start <= horizon)
    return (guard.start > 0) & in_time


def _outcome(guard: Guard, place: _Place, races: Any) -> tuple[Any, Any]:
    """(the challenger raised the loss, it wins): each told at one step of a cycle."""
    xp = namespace(guard.t)
    half = xp.floor(place.size / 2.0)
    fell = (guard.earlier - guard.later) / half
    error = DOUBT * guard.deviation * xp.sqrt(2.0 / half)
    told, block = races & (place.inside == 0), place.block
    harmed = told & (block == CHALLENGE + 1) & (fell[CHALLENGE] < -error)
    others = 0.5 * (fell[CHALLENGE - 1] + fell[CHALLENGE + 1])
    return harmed, told & (block == NUM_BLOCKS) & (fell[CHALLENGE] > others + error)


def _decided(guard: Guard, exploded: Any, wins: Any, back: Any) -> Guard:
    """The incumbent, the counts and, where weights go back, averages as of the snapshot."""
    xp = namespace(guard.t)
    learned = xp.where(wins, 1.0 - guard.learned, guard.learned)
    learned = xp.where(exploded, 0.0, learned)
    switched = learned != guard.learned
    # After an explosion the blocks of this cycle are of other weights.
    guard = _new_cycle(guard, exploded, guard.t, 2.0)
    return guard._replace(
        learned=learned,
        mean=xp.where(back, guard.level, guard.mean),
        deviation=xp.where(back, guard.spread, guard.deviation),
        switches=guard.switches + xp.where(switched, 1.0, 0.0),
        returns=guard.returns + xp.where(back, 1.0, 0.0),
        last=xp.where(switched | back, guard.t, guard.last),
    )
