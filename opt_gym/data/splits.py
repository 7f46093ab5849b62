"""TaskSet's four splits: where they lie in a data set's own splits, and how large they are."""

from typing import NamedTuple

from opt_gym.records import SPLITS

_NAMES = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}


class Part(NamedTuple):
    """Examples `start` up to, not including, `stop` of the data set's own split `origin`."""

    origin: str
    start: int
    stop: int


def cut(counts: dict[str, int], num_valid: int) -> dict[str, Part]:
    """The part of the original splits that each of `SPLITS` is.

    valid_inner is the first `num_valid` of train; valid_outer is the validation split where
    there is one beside a test split, else the next `num_valid`; test is the test (or the
    only other) split, else the next `num_valid`; train is what is left, in file order.

    Args:
        counts: examples of each original split, "train" among them.
        num_valid: examples of each slice that is cut from the start of train.

    Raises:
        ValueError: num_valid < 1, or nothing is left for train.
    Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
    """
    if num_valid < 1:
        raise ValueError(f"num_valid must be >= 1, got {num_valid}")
    others = [name for name in ("validation", "test") if name in counts]
    slices = [
        "valid_inner",
        *["valid_outer"] * (len(others) < 2),
        *["test"] * (not others),
    ]
    first = len(slices) * num_valid
    if counts["train"] <= first:
        raise ValueError(
            f"{counts['train']} training examples leave none after {len(slices)} slices "
            f"of {num_valid} for validation"
        )
    parts = {
        name: Part("train", i * num_valid, (i + 1) * num_valid)
        for i, name in enumerate(slices)
    }
    parts["train"] = Part("train", first, counts["train"])
    if len(others) == 2:
        parts["valid_outer"] = Part("validation", 0, counts["validation"])
    if others:
        parts["test"] = Part(others[-1], 0, counts[others[-1]])
    return {name: parts[name] for name in SPLITS}


def sizes(originals: tuple[int, ...], num_valid: int) -> tuple[int, ...]:
    """Examples of each of `SPLITS`.

    Args:
        originals: of train; of train and test; or of train, validation and test.
        num_valid: as `cut`.

    Raises:
        ValueError: as `cut`.
    """
    counts = dict(zip(_NAMES[len(originals)], originals, strict=True))
    return tuple(part.stop - part.start for part in cut(counts, num_valid).values())


def proportional(wanted: tuple[int, ...], total: int, least: int) -> tuple[int, ...]:
    """Sizes with sum `total`, the later ones at least `least`, the first what is left.

    Raises:
        ValueError: nothing is left for the first.
    """
    rest = [max(least, round(total * size / sum(wanted))) for size in wanted[1:]]
    if sum(rest) >= total:
        raise ValueError(f"{total} examples are too few for splits of {wanted}")
    return (total - sum(rest), *rest)


def kept(num_train: int, original: int, standing_in: int, least: int) -> int:
    """Examples of a stand-in's train slice that stand for `num_train` of the original's.

    The share stays the same (a tenth of train stays about a tenth), but no fewer than
    `least` are kept.
    """
    return max(least, round(num_train / original * standing_in))
