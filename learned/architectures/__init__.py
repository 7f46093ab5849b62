"""One file an architecture (helpers begin with `_`)."""
