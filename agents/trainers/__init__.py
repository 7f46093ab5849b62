"""One file an outer-trainer."""
