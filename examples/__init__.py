"""Scripts a newcomer reads first."""
