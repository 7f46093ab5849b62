"""One file an action map (helpers begin with `_`)."""
