"""Running optimizers on tasks, caching the runs, and comparing them."""
