"""Recipes: every setting of a way, resolved from presets, files and methods laid on one another."""
