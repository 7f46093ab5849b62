"""Which of two optimizers steps, told by the loss alone: the rules of `guarded`.

The **incumbent** steps; at first it is the learned optimizer. In cycles of 100, 100, 200, 400,
... steps the **challenger** is tried, from the same weights, and is the incumbent from then on
where it lowered the loss further. No step asks for a second gradient.

    race        in the first tenth of a cycle the challenger steps; the weights go back, and in
                the second tenth the incumbent does. Where the challenger's losses (those of the
                later half of its tenth) were lower, a learned one's by more than noise, the
                weights go back once more and it goes on
    stall       a cycle whose rest did not lower the loss under the learned optimizer ends with
                the fallback as the incumbent
    bad batch   where a loss is not finite the weights stay, once
    explosion   two in a row are not, or their average rose far above that at the snapshot:
                the weights go back, in the next step once more (a sum cannot undo in one step
                what was a thousand times as large), the fallback is the incumbent, what both
                remember begins anew, and the cycle with its rest: twice as long, if learned
                steps were in it
    snapshot    the weights where a cycle begins, later those of every tenth of it, at most a
                hundred steps apart, where the loss is no worse than at the last one
    return      a loss at the snapshot that is higher than it was there is believed: else a
                first loss far below the others would hold the weights for ever

So a tenth of the steps, a fifth where the incumbent changes, leads nowhere. Cycles that would
begin beyond half of a known horizon have no race: their losses end with the run.

Source: ours. Guards by the loss: Prémont-Schwarz et al. 2022, arXiv 2201.12426; a fallback
where a learned step does not descend: Heaton et al. 2020, arXiv 2003.01880. Both compare what
the two candidates lead to, which takes more evaluations of the loss.
"""

from typing import Any, NamedTuple

from opt_gym.maths.array_namespace import constant, namespace, zeros
from opt_gym.maths.limits import LIMIT

FIRST_CYCLE = 100.0
SHARE_OF_BLOCK = 0.1
CHALLENGE, ANSWER, REST = 0.0, 1.0, 2.0
"""The blocks of a cycle: two of that share, challenger's and incumbent's, and the rest."""

LONGEST_WITHOUT_SNAPSHOT = 100.0
"""Steps of the rest."""

AVERAGING = 0.1
"""Of one loss in the running averages."""

RISE_IN_DEVIATIONS, RISE_IN_RANGES = 10.0, 0.1
"""An explosion: above the snapshot by so many mean deviations and shares of the range."""

UNKNOWN = 0.1
"""Of the first loss: how far losses lie apart, before a second one is known."""

DOUBT = 1.0
"""Standard errors by which a learned challenger must be better; a tie is the fallback's."""

ONCE_MORE, AT_SNAPSHOT = 2.0, 1.0
"""Steps after an explosion: the weights go back again; and the first loss there."""


class Guard(NamedTuple):
    """What is remembered, all numbers [] float32.

    t: losses seen; initial: the first; mean, deviation: running averages of the loss and of
    its distance from that; level, spread: both at the snapshot; learned: 1 where the learned
    optimizer is the incumbent; start, length: of the cycle; sums: [4], of its losses in the
    later halves of the two tenths, and in both halves of the rest; switches, returns: how often
    the incumbent changed, and how often weights went back after an explosion; last: t of the
    last of either; lost: 1 where the last loss was not finite; settling: 0, or how many steps
    after an explosion are to come.
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
    sums: Any
    switches: Any
    returns: Any
    last: Any
    lost: Any
    settling: Any


class _Place(NamedTuple):
    """Of a step in its cycle; numbers [].

    size: of a tenth; block: which; inside: steps into it; is_first: whether the cycle begins.
    """

    size: Any
    block: Any
    inside: Any
    is_first: Any


class Verdict(NamedTuple):
    """What to do now; booleans [].

    learned: the learned optimizer steps, else the fallback; stays: nobody does; back: to the
    snapshot, instead of any step; anew: what both remember begins; keep: the weights as they
    are now are the next snapshot.
    """

    learned: Any
    stays: Any
    back: Any
    anew: Any
    keep: Any


def begin(like: Any) -> Guard:
    """Before the first loss; in the namespace and on the device of the array `like`.

    Every number is an array of its own, for there are checkpointers that write into them.
    """
    known = {name: zeros((), like) for name in Guard._fields}
    known |= {"learned": known["learned"] + 1.0, "sums": zeros((4,), like)}
    return Guard(**{**known, "length": known["length"] + FIRST_CYCLE})


def judge(guard: Guard, loss: Any, horizon: Any) -> tuple[Guard, Verdict]:
    """The rules above, for the loss at the weights as they are.

    Args:
        guard: so far.
        loss: [], of the batch that gave the gradient.
        horizon: planned steps, 0 where nobody knows.
    """
    xp, before = namespace(loss), guard
    finite, again = xp.isfinite(loss), guard.settling == ONCE_MORE
    # Between the two returns the weights are those of neither.
    loss = xp.clip(xp.where(finite & ~again, loss, guard.mean), -LIMIT, LIMIT)
    guard = _averaged(guard, loss)
    is_lost = ~finite & (guard.lost > 0.5)
    exploded = is_lost | (_rose(guard) & (guard.settling == 0))
    guard = _believed(guard, loss, finite)
    guard = _with_cycle(guard)
    place = _place_in(guard)
    guard = _summed(guard, loss, place)
    races = (horizon == 0) | (2.0 * guard.start <= horizon)
    wins = races & _won(guard, place)
    turns = races & (place.block == ANSWER) & (place.inside == 0)
    guard = _decided(guard, place, exploded, wins)
    challenges = races & (place.block == CHALLENGE) & ~exploded
    acts = (guard.learned > 0.5) ^ challenges
    back = exploded | again | turns | wins
    keep = (place.is_first | _is_due(guard, place)) & finite & ~back
    guard = _kept(guard, keep, back)
    guard = guard._replace(lost=xp.where(finite | exploded, 0.0, 1.0))
    # Before the first loss that is a number nothing is known.
    knows = finite | (before.t > 0)
    guard = Guard(*(xp.where(knows, *pair) for pair in zip(guard, before, strict=True)))
    return guard, Verdict(acts, ~finite & ~back, back, exploded, keep)


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


def _kept(guard: Guard, keep: Any, back: Any) -> Guard:
    """Averages go back with the weights, and are kept with them."""
    xp = namespace(guard.t)
    return guard._replace(
        mean=xp.where(back, guard.level, guard.mean),
        deviation=xp.where(back, guard.spread, guard.deviation),
        level=xp.where(keep, guard.mean, guard.level),
        spread=xp.where(keep, guard.deviation, guard.spread),
    )


def _rose(guard: Guard) -> Any:
    """Whether the average is far above that at the snapshot."""
    xp = namespace(guard.t)
    gained = xp.abs(guard.initial - guard.level)
    # Deviations as of the snapshot: they grow with a loss that explodes.
    allowed = RISE_IN_DEVIATIONS * guard.spread + RISE_IN_RANGES * gained
    return (guard.mean > guard.level + allowed) & (guard.t > 1)


def _believed(guard: Guard, loss: Any, finite: Any) -> Guard:
    """With a loss at the snapshot that is higher than it was there."""
    xp = namespace(guard.t)
    told = finite & (guard.settling == AT_SNAPSHOT)
    rise = xp.where(told, xp.clip(loss - guard.level, min=0.0), 0.0)
    level, spread = guard.level + rise, guard.spread + AVERAGING * rise
    return guard._replace(
        mean=xp.where(told, level, guard.mean),
        deviation=xp.where(told, spread, guard.deviation),
        level=level,
        spread=spread,
        settling=xp.clip(guard.settling - 1.0, min=0.0),
    )


def _with_cycle(guard: Guard) -> Guard:
    """With a new cycle where the last one has ended, and the fallback after a stall."""
    xp = namespace(guard.t)
    ended = guard.t - 1 >= guard.start + guard.length
    half = _half_of_rest(guard)
    fell = (guard.sums[2] - guard.sums[3]) / half
    stalls = ended & (fell < _error(guard, half)) & (guard.learned > 0.5)
    guard = _switched(guard, stalls, xp.where(stalls, 0.0, guard.learned))
    # From the second on, a cycle is as long as all before it.
    return _new_cycle(guard, ended, guard.t - 1, xp.where(guard.start > 0, 2.0, 1.0))


def _tenth(length: Any) -> Any:
    """Steps of a block of a cycle of that length."""
    return namespace(length).floor(SHARE_OF_BLOCK * length)


def _half_of_rest(guard: Guard) -> Any:
    """Steps of each half of what follows the two tenths."""
    rest = guard.length - 2.0 * _tenth(guard.length)
    return namespace(rest).floor(rest / 2.0)


def _error(guard: Guard, count: Any) -> Any:
    """Of the difference of two means of so many losses: `DOUBT` standard errors."""
    return DOUBT * guard.deviation * namespace(count).sqrt(2.0 / count)


def _switched(guard: Guard, condition: Any, learned: Any) -> Guard:
    xp = namespace(guard.t)
    return guard._replace(
        learned=learned,
        switches=guard.switches + xp.where(condition, 1.0, 0.0),
        last=xp.where(condition, guard.t, guard.last),
    )


def _new_cycle(guard: Guard, begins: Any, start: Any, longer: Any) -> Guard:
    xp = namespace(guard.t)
    return guard._replace(
        start=xp.where(begins, start, guard.start),
        length=xp.where(begins, longer * guard.length, guard.length),
        sums=xp.where(begins, 0.0, guard.sums),
    )


def _place_in(guard: Guard) -> _Place:
    xp = namespace(guard.t)
    size = _tenth(guard.length)
    place = guard.t - 1 - guard.start
    block = xp.clip(xp.floor(place / size), CHALLENGE, REST)
    return _Place(size, block, place - block * size, place == 0)


def _is_due(guard: Guard, place: _Place) -> Any:
    """Whether the weights are the next snapshot, if nothing happens."""
    xp = namespace(guard.t)
    every = xp.clip(place.size, max=LONGEST_WITHOUT_SNAPSHOT)
    is_time = place.inside == every * xp.floor(place.inside / every)
    is_good = guard.mean <= guard.level + guard.spread
    return is_time & (place.block == REST) & is_good


def _summed(guard: Guard, loss: Any, place: _Place) -> Guard:
    """With the loss added to its sum. A loss is of the step before."""
    xp = namespace(loss)
    half = xp.floor(place.size / 2.0)
    is_rest = place.block == REST
    is_late = is_rest & (place.inside >= _half_of_rest(guard))
    index = xp.where(is_late, REST + 1.0, place.block)
    counts = is_rest | (place.inside >= place.size - half)
    here = constant([0.0, 1.0, 2.0, 3.0], loss) == index
    return guard._replace(sums=guard.sums + xp.where(here & counts, loss, 0.0))


def _won(guard: Guard, place: _Place) -> Any:
    """Whether the challenger has won: told at the first step after the incumbent's tenth."""
    half = namespace(guard.t).floor(place.size / 2.0)
    lower = (guard.sums[1] - guard.sums[0]) / half
    told = (place.block == REST) & (place.inside == 0)
    doubted = namespace(half).where(guard.learned > 0.5, 0.0, _error(guard, half))
    return told & (lower > doubted)


def _decided(guard: Guard, place: _Place, exploded: Any, wins: Any) -> Guard:
    """The incumbent and the counts."""
    xp = namespace(guard.t)
    is_blamed = (guard.learned > 0.5) | (place.block == CHALLENGE)
    longer = xp.where(is_blamed, 2.0, 1.0)
    learned = xp.where(wins, 1.0 - guard.learned, guard.learned)
    learned = xp.where(exploded, 0.0, learned)
    guard = _switched(guard, learned != guard.learned, learned)
    skipped = 2.0 * _tenth(longer * guard.length)
    guard = _new_cycle(guard, exploded, guard.t - skipped, longer)
    return guard._replace(
        returns=guard.returns + xp.where(exploded, 1.0, 0.0),
        last=xp.where(exploded, guard.t, guard.last),
        settling=xp.where(exploded, ONCE_MORE, guard.settling),
    )
