"""Reinforcement learning: PPO on the device here, stable-baselines3 in `sb3`."""
