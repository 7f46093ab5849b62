"""What comes from elsewhere, or is worn differently, in the shape of our records."""
