"""One offline HTML page about finished runs: comparison, figures, samples, settings."""

from i2moe_plugin.benchmarks.report.build import Report, build

__all__ = ["Report", "build"]
