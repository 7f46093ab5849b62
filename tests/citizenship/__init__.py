"""What users of optax and torch expect of any optimizer, asked of every architecture."""
