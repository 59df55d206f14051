"""One offline HTML page about finished runs."""
