"""Paths on disk: the trajectory store, who writes it, who reads it, and what can be imported into it."""
