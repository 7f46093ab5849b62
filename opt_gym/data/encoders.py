"""Text as token ids: bytes, and subwords from a vocabulary of 8k that is learned here.

Id 0 is padding. A byte b has the id b + 1: byte 0xFF never occurs in UTF-8, so that uint8
holds the ids. Subwords are sentencepiece's byte-pair encoding with a piece for every byte,
so that every text has an encoding and gets it back when decoded; ids are 2 ... 8184.
"""

import hashlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from opt_gym.data.digest import digest_data
from opt_gym.records import Texts
from opt_gym.runtime.array_files import keep_arrays
from opt_gym.runtime.files import cache_folder

BYTES = 257
"""Rows of an embedding of bytes, padding included."""

SUBWORDS = 8185
"""Rows of an embedding of subwords, padding included."""

MOST_TRAINING_TEXTS = 200_000
MOST_TRAINING_BYTES = 20_000_000
"""A vocabulary is learned from the first texts up to these limits."""

_MOST_CHARACTERS = 4000
"""Characters with a piece of their own: Chinese has more than fit. The rest are bytes."""

_SETTINGS = {
    "model_type": "bpe",
    "vocab_size": SUBWORDS,
    "hard_vocab_limit": False,  # A text too short for 8k pieces gets fewer.
    "pad_id": 0,
    "unk_id": 1,  # Never used: the byte pieces encode everything.
    "bos_id": -1,
    "eos_id": -1,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "max_sentence_length": 1 << 24,
    "num_threads": 1,
    "minloglevel": 2,
}


def from_bytes(parts: Sequence[bytes], labels: Sequence[int] | np.ndarray) -> Texts:
    """Texts of byte ids from UTF-8 strings and their labels.

    Raises:
        ValueError: an empty text, or 2^31 bytes or more in all.
    """
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    if len(lengths) and lengths.min() == 0:
        raise ValueError("a text of no bytes has no tokens")
    tokens = np.frombuffer(b"".join(parts), np.uint8) + np.uint8(1)
    return _texts(tokens, lengths, np.asarray(labels, np.int32))


def to_bytes(texts: Texts) -> list[bytes]:
    """The UTF-8 strings that byte ids stand for: the inverse of `from_bytes`."""
    whole = (texts.tokens - np.uint8(1)).tobytes()
    ends = (texts.starts + texts.lengths).tolist()
    return [whole[a:b] for a, b in zip(texts.starts.tolist(), ends, strict=True)]


def take(texts: Texts, start: int, stop: int) -> Texts:
    """Examples `start` up to `stop`; the tokens are a view of what there was."""
    starts, lengths = texts.starts[start:stop], texts.lengths[start:stop]
    first = int(starts[0]) if len(starts) else 0
    end = int(starts[-1] + lengths[-1]) if len(starts) else 0
    labels = texts.labels[start:stop]
    return Texts(texts.tokens[first:end], starts - np.int32(first), lengths, labels)


def learn_subwords(parts: Sequence[bytes], num_threads: int = 1) -> bytes:
    """A vocabulary as sentencepiece's own model file, learned from UTF-8 strings.

    The pieces depend on nothing but the strings; the number of threads changes only what
    the file says about itself.

    Source: Sennrich et al. 2016, arXiv 1508.07909; Kudo, Richardson 2018, arXiv 1808.06226.
        differs: TaskSet's are tensorflow-datasets' SubwordTextEncoder, of the same size.
    """
    import sentencepiece

    model = io.BytesIO()
    settings: dict[str, Any] = {**_SETTINGS, "num_threads": num_threads}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(parts),
        model_writer=model,
        character_coverage=_coverage(parts),
        **settings,
    )
    return model.getvalue()


def subword_model(texts: Texts) -> bytes:
    """The vocabulary learned from byte texts (the first of them, see above); kept on disk."""
    import sentencepiece

    parts = _training_parts(texts)
    content = hashlib.sha256(json.dumps(_SETTINGS).encode())
    content.update(f"{sentencepiece.__version__} {_MOST_CHARACTERS}".encode())
    for part in parts:
        content.update(f" {len(part)} ".encode() + part)
    file = cache_folder() / "vocabularies" / f"{content.hexdigest()[:24]}.npz"
    old = file.with_suffix(".model")  # as version 0.1 kept it

    def model() -> dict[str, np.ndarray]:
        learned = old.read_bytes() if old.exists() else learn_subwords(parts)
        return {"model": np.frombuffer(learned, np.uint8)}

    return keep_arrays(file, model)["model"].tobytes()


def to_subwords(texts: Texts, model: bytes) -> Texts:
    """The same examples as subword ids, tokens uint16."""
    ids = _processor(model).encode(to_bytes(texts), num_threads=1)
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    flat = itertools.chain.from_iterable(ids)
    tokens = np.fromiter(flat, np.uint16, int(lengths.sum()))
    return _texts(tokens, lengths, texts.labels)


def decode_subwords(tokens: Sequence[int], model: bytes) -> str:
    """The text that subword ids stand for."""
    return _processor(model).decode(list(map(int, tokens)))


def encoding_key(texts: Texts, model: bytes) -> str:
    """Names the result of `to_subwords(texts, model)`."""
    both = digest_data({"texts": texts}) + hashlib.sha256(model).hexdigest()
    return hashlib.sha256(both.encode()).hexdigest()[:24]


@lru_cache(maxsize=4)
def _processor(model: bytes) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def _texts(tokens: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Texts:
    if len(tokens) >= 2**31:
        raise ValueError(f"{len(tokens)} tokens are more than int32 can number")
    starts = np.cumsum(lengths) - lengths
    return Texts(tokens, starts.astype(np.int32), lengths.astype(np.int32), labels)


def _training_parts(texts: Texts) -> list[bytes]:
    ends = texts.starts.astype(np.int64) + texts.lengths
    inside = int(np.searchsorted(ends, MOST_TRAINING_BYTES, side="right"))
    count = max(1, min(inside, MOST_TRAINING_TEXTS))
    return to_bytes(take(texts, 0, count))


def _coverage(parts: Sequence[bytes]) -> float:
    """The share of all characters that the most frequent `_MOST_CHARACTERS` make up.

    No less than 0.98, the least that sentencepiece takes.
    """
    counts = Counter()
    for part in parts:
        counts.update(part.decode())
    common = sum(count for _, count in counts.most_common(_MOST_CHARACTERS))
    return max(0.98, common / max(1, counts.total()))
