"""Readers of file formats; they know no data set."""
