"""Maths on every tensor, once for jax.numpy and torch: for features and architectures."""
