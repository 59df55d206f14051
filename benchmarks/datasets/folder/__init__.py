"""A folder with ``dataset.yaml`` as a data set."""
