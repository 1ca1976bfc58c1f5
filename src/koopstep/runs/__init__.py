"""A run's folder: what training leaves, what it says of itself, and what is compared and looked at in it."""
