"""One plug-in of each kind for opt-gym: a file each, announced in pyproject.toml."""
