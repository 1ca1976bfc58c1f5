"""Sampling: one step from noise."""
