"""Comparisons over seeds, equivalence, simple baselines, metric names, the paper's figures."""
