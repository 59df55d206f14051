"""Everything that knows data sets, files, the command line and machines."""
