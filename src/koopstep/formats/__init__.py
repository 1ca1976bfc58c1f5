"""Foreign bytes, read and never executed."""
