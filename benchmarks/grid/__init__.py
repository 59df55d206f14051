"""Suites: a YAML of data sets x backbones x methods x settings x seeds, run and made into tables.

:mod:`spec` reads the file, :mod:`running` trains what is not there yet, :mod:`tables` compares and
:mod:`formats` writes Markdown, CSV, LaTeX and JSON. The YAML files beside this one are the suites
that ship by name.
"""
