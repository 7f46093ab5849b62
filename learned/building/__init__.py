"""Pieces that architectures are built of: for their authors."""
