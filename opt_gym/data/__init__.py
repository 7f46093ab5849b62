"""Data sets: embedded stand-ins, prepared originals, splits, augmentation, corruptions."""
