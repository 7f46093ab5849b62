"""One file an outer-trainer or gradient estimator (helpers begin with `_`)."""
