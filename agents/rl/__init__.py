"""Reinforcement learning: adapters and policies; importing a file here asks for torch."""
