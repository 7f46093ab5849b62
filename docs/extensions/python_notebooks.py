"""Reads a Python file as the notebook that it is, with a header of Jupytext's or without."""

from typing import Any

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read(text: str) -> Any:
    """The notebook of a file in cells (`# %%`), which says that it is in Python."""
    import jupytext

    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata.setdefault("kernelspec", KERNEL)
    return notebook
