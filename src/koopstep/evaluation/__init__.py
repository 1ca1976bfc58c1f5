"""Evaluation: moments, Fréchet distance, scores, the table of metrics and the protocol of a measurement."""
