"""Teachers that other programs saved, read as data."""
