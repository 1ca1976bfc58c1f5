"""Workflows join the stages: one file a verb."""
