"""Ids, frozen lists and suites: what there is, by name."""

# Whichever of the two is imported first, the other finds it whole: opt_gym registers the ids.
import opt_gym as _opt_gym  # noqa: F401
