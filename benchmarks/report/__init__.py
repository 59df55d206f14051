"""One offline HTML page about finished runs: comparison, figures, samples, settings."""
