"""Gradient estimators and what they are made of: for authors of outer-trainers."""
