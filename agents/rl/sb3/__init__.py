"""All that speaks stable-baselines3's dialect, and so imports torch."""
