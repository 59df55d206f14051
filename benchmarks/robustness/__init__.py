"""How trained models hold up: inputs that are corrupted, modalities that are absent.

The corruptions and both measures are those of MultiBench (Liang et al., NeurIPS 2021 Datasets and
Benchmarks), stated in docs/robustness.md with all that differs.
"""
