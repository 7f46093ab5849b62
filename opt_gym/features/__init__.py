"""One file a feature set (helpers begin with `_`)."""
