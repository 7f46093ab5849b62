"""One file a task family (helpers begin with `_`)."""
