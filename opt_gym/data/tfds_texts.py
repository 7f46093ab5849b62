"""Text sets that the user prepared with tensorflow-datasets, as byte ids.

Of a set's own split at most the first 1,000,000 examples are read, and fewer than 2^31
bytes. Two sets are not cut by TFDS: TaskSet divided wikipedia and the Amazon reviews by a
hash of each record's index. The hash's exact form is from memory, so that which record lies
in which split is only alike in proportion.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from opt_gym.data import encoders, tfds
from opt_gym.plugins import unknown
from opt_gym.records import Texts

MOST_EXAMPLES = 1_000_000
MOST_BYTES = 2**31 - 1

Example = tuple[str, bytes, int]
"""(split, UTF-8 text, label)."""


def read(builder: str, form: str) -> dict[str, Texts]:
    """The splits "train" and "test" of a prepared text set, empty texts left out.

    Args:
        builder: of TFDS.
        form: one of `FORMS`: how a record becomes examples.

    Raises:
        FileNotFoundError: not prepared.
        ValueError: an unknown form, or no examples for one of the two splits.
    Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
    """
    if form not in FORMS:
        raise ValueError(unknown("form of a text set", form, list(FORMS)))
    prepared = tfds.find(builder)
    arrays = tfds.cached(
        builder,
        prepared,
        "texts",
        f"{form} {MOST_EXAMPLES} {MOST_BYTES}",
        lambda: _decode(tfds.open_builder(prepared.path), form),
    )
    return {
        split: Texts(*(arrays[f"{split}/{field}"] for field in Texts._fields))
        for split in ("train", "test")
    }


def hash_share(index: int, salt: str, parts: int) -> float:
    """A number in [0, 1) that says which split the record of that index belongs to."""
    number = int(hashlib.md5(f"{index}{salt}".encode()).hexdigest(), 16)
    return number % parts / parts


def _reviews(split: str, index: int, record: Any) -> Iterator[Example]:
    yield split, record["text"], int(record["label"])


def _sentences(split: str, index: int, record: Any) -> Iterator[Example]:
    yield split, record["text"], 0


def _articles(split: str, index: int, record: Any) -> Iterator[Example]:
    share = hash_share(index, "token_wikipedia_salt", 100_000)
    for line in record["text"].split(b"\n"):
        if len(line.decode(errors="replace").strip()) > 5:
            yield "train" if share < 0.7 else "test", line, 0


def _products(split: str, index: int, record: Any) -> Iterator[Example]:
    share = hash_share(index, "token_wikipedia_salt", 1000)
    if share != 0.7:
        review = record["data"]
        label = int(review["star_rating"]) - 1
        yield "train" if share < 0.7 else "test", review["review_body"], label


FORMS: dict[str, Callable[[str, int, Any], Iterator[Example]]] = {
    "reviews": _reviews,
    "sentences": _sentences,
    "articles": _articles,
    "products": _products,
}
"""Record to examples: a labelled text; a text; an article's lines of more than 5 characters;
an Amazon review, its label the stars less one."""


def _decode(builder: Any, form: str) -> dict[str, np.ndarray]:
    parts: dict[str, list[bytes]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for origin in parts:
        if origin in builder.info.splits:
            source = builder.as_data_source(split=origin)
            for split, text, label in _first(origin, source, FORMS[form]):
                parts[split].append(text)
                labels[split].append(label)
    empty = [split for split in parts if not parts[split]]
    if empty:
        raise ValueError(f"{builder.info.full_name}: no examples for {empty}")
    return {
        f"{split}/{field}": array
        for split in parts
        for field, array in encoders.from_bytes(parts[split], labels[split])
        ._asdict()
        .items()
    }


def _first(
    origin: str, source: Any, form: Callable[[str, int, Any], Iterator[Example]]
) -> Iterator[Example]:
    """Examples with valid, not empty text, up to the limits of the module."""
    number, total = 0, 0
    for index, record in enumerate(source):
        for split, text, label in form(origin, index, record):
            # Bytes that are not UTF-8 have no subwords, and 0xFF has no id.
            valid = text.decode(errors="replace").encode()
            number, total = number + 1, total + len(valid)
            if number > MOST_EXAMPLES or total > MOST_BYTES:
                return
            if valid:
                yield split, valid, label
