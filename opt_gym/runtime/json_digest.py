"""Whether two JSON values are one: a digest of their text."""

import hashlib
import json
from collections.abc import Callable
from typing import Any


def json_digest(
    value: Any, length: int = 16, default: Callable[[Any], Any] | None = None
) -> str:
    """The first hex digits of the SHA-256 of a value's JSON, keys in order.

    Args:
        value: of JSON.
        length: digits.
        default: for what is not JSON, as `json.dumps` takes it.
    """
    text = json.dumps(value, sort_keys=True, default=default)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
