"""Tuning on validation data alone: a search of the same size for every method, and its recipe."""
