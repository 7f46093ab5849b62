"""Pieces that task families are built of: for authors of families."""
