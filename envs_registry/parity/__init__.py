"""Our tasks and optimizers against TaskSet's original code."""
