"""What runs, files and commands stand: damage, locks, signals, closed pipes, odd arguments."""
