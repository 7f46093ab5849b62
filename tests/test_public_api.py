"""The public names and their signatures change only where someone says so."""

import difflib

import pytest

from docs.extensions import public_modules
from tests import public_api

pytest.importorskip("torch", reason="learned.torch is public, too")


def test_public_names_are_those_of_the_snapshot():
    before = public_api.FILE.read_text().splitlines()
    changes = list(difflib.unified_diff(before, public_api.lines(), n=0, lineterm=""))
    assert not changes, "\n".join(
        [
            "public names or signatures are others than before:",
            *(line for line in changes if not line.startswith(("---", "+++", "@@"))),
            f"if that is meant, tell in CHANGELOG.md and run: {public_api.COMMAND}",
        ]
    )


class Shown:
    """What a signature may have."""

    def method(self, a, b=1.5, *rest, c=("x",), d=len, **more): ...

    @property
    def value(self): ...

    def _hidden(self): ...


def test_how_a_class_is_written(monkeypatch):
    monkeypatch.setattr(public_modules, "PACKAGES", ("tests",))
    assert list(public_api.parts(Shown)) == [
        "method(self, a, b=1.5, *rest, c=('x',), d=len, **more)",
        "value",
    ]
    assert public_api.signature(lambda a, *, b: a) == "(a, *, b)"
    assert public_api.written(object()) == "<object>"
