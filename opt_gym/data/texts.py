"""The text sets: what each is, how TaskSet cuts it, and reading it as token ids."""

from functools import lru_cache
from typing import NamedTuple

from opt_gym.data import (
    embedded_source,
    embedded_texts,
    encoders,
    splits,
    tfds,
    tfds_texts,
)
from opt_gym.records import SPLITS, Data, Texts
from opt_gym.runtime.array_files import keep_arrays
from opt_gym.runtime.files import cache_folder


class TextSet(NamedTuple):
    """One text set in one encoding, and how TaskSet cuts it.

    Attributes:
        name: as in a task config.
        builder: the TFDS builder it is read from; "" where it is its own original.
        form: how its records become examples, of `opt_gym.data.tfds_texts.FORMS`.
        encoding: "bytes" or "subwords8k".
        vocab_size: ids are 0 (padding) ... vocab_size - 1.
        num_classes: labels are 0 ... num_classes - 1; 0 where there are none (all are 0).
        sizes: examples of train and of test, as far as we read them; of our own, about all.
        num_valid: examples of each slice that is cut from the start of train.
        passage: characters of a stand-in's example, about.
    """

    name: str
    builder: str
    form: str
    encoding: str
    vocab_size: int
    num_classes: int
    sizes: tuple[int, ...]
    num_valid: int
    passage: int


_VOCABULARIES = {"bytes": encoders.BYTES, "subwords8k": encoders.SUBWORDS}

_LARGE = (700_000, 300_000)
"""Of the first 1,000,000 examples, cut by a hash: there are more of them."""


def _both(
    name: str,
    builder: str,
    form: str,
    num_classes: int,
    sizes: tuple[int, int],
    passage: int,
) -> list[TextSet]:
    return [
        TextSet(
            f"{name}{encoding}",
            builder,
            form,
            encoding,
            vocab_size,
            num_classes,
            sizes,
            3000,
            passage,
        )
        for encoding, vocab_size in _VOCABULARIES.items()
    ]


def _imdb() -> list[TextSet]:
    builder = "imdb_reviews/plain_text"
    return _both("imdb_reviews/", builder, "reviews", 2, (25_000, 25_000), 400)


def _amazon(category: str, sizes: tuple[int, int] = _LARGE) -> list[TextSet]:
    name, builder = f"tokenized_amazon_reviews/{category}_", "amazon_us_reviews/"
    return _both(name, builder + category, "products", 5, sizes, 400)


def _wikipedia(language: str, sizes: tuple[int, int] = _LARGE) -> list[TextSet]:
    name, builder = f"tokenized_wikipedia/20190301.{language}_", "wikipedia/20190301."
    return _both(name, builder + language, "articles", 0, sizes, 250)


TEXT_SETS = {
    entry.name: entry
    for entry in (
        *_imdb(),
        # 30.3 million sentences in all.
        *_both("lm1b/", "lm1b", "sentences", 0, (1_000_000, 306_688), 100),
        *_amazon("Books_v1_02"),
        *_amazon("Camera_v1_00"),
        *_amazon("Home_v1_00"),
        *_amazon("Video_v1_00", (266_000, 114_000)),
        *_wikipedia("en"),
        # A small one: its size is a guess.
        *_wikipedia("hsb", (60_000, 26_000)),
        *_wikipedia("ja"),
        *_wikipedia("ru"),
        *_wikipedia("zh"),
        # Ours: code, of which no stand-in has a word.
        TextSet(
            "python_source/bytes", "", "", "bytes", encoders.BYTES, 0, (5000,), 500, 0
        ),
    )
}
"""Every text set by name. The sizes of imdb_reviews and lm1b are exact, the others' about
right. Vocabularies of subwords are learned here (see `opt_gym.data.encoders`).

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
"""


def describe(entry: TextSet, provider: str) -> str:
    """What `provider` ("tfds" or "embedded") serves a set with."""
    if not entry.builder:
        return f"{entry.name} ({embedded_source.describe()})"
    if provider == "embedded":
        made_of = embedded_texts.describe(entry.passage, entry.num_classes)
        return f"{entry.name} (stand-in: {made_of})"
    learned = ", subwords learned from it" if entry.encoding == "subwords8k" else ""
    version = tfds.find(entry.builder).version
    return f"{entry.name} (original, tfds {version}{learned})"


def read(entry: TextSet, provider: str, num_valid: int) -> Data:
    """{split: Texts}, all of train; `provider` is "tfds" or "embedded"."""
    if provider == "tfds":
        stored = _original(entry.builder, entry.form, entry.encoding)
        counts = {split: len(texts.labels) for split, texts in stored.items()}
        parts = splits.cut(counts, num_valid).items()
        return {
            name: encoders.take(stored[origin], start, stop)
            for name, (origin, start, stop) in parts
        }
    whole = (
        _stand_in(entry.passage, entry.num_classes, entry.encoding)
        if entry.builder
        else embedded_source.shuffled()
    )
    data, start = {}, 0
    for split, size in zip(SPLITS, _sizes(entry, whole, num_valid), strict=True):
        data[split] = encoders.take(whole, start, start + size)
        start += size
    return data


def _sizes(entry: TextSet, whole: Texts, num_valid: int) -> tuple[int, ...]:
    wanted = splits.sizes(entry.sizes, num_valid)
    least = embedded_texts.SMALLEST_SPLIT
    return splits.proportional(wanted, len(whole.labels), least)


@lru_cache(maxsize=4)
def _original(builder: str, form: str, encoding: str) -> dict[str, Texts]:
    stored = tfds_texts.read(builder, form)
    if encoding == "bytes":
        return stored
    model = encoders.subword_model(stored["train"])
    return {split: _kept_subwords(texts, model) for split, texts in stored.items()}


@lru_cache(maxsize=16)
def _stand_in(passage: int, num_classes: int, encoding: str) -> Texts:
    texts = embedded_texts.shuffled(passage, num_classes)
    if encoding == "bytes":
        return texts
    # One vocabulary for all stand-ins. To encode takes 0.3 s: not worth a file.
    model = encoders.subword_model(embedded_texts.documents())
    return encoders.to_subwords(texts, model)


def _kept_subwords(texts: Texts, model: bytes) -> Texts:
    """Subwords of an original, kept on disk: a million examples take half a minute."""
    name = encoders.encoding_key(texts, model)
    file = cache_folder() / "texts" / f"{name}.npz"
    arrays = keep_arrays(file, lambda: encoders.to_subwords(texts, model)._asdict())
    return Texts(**arrays)
