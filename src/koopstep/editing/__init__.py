"""Changing pictures through a student: masks, mixing, zero-shot filling and what an edit changed."""
