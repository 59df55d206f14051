"""Grids: data sets x backbones x methods x settings x seeds, and the table of their results.

:mod:`cells` says what a grid is, :mod:`spec` reads one from a suite's file, :mod:`runner` trains
what is not there yet with one of the :mod:`executors`, :mod:`table` compares, and :mod:`formats`
writes Markdown, CSV, LaTeX and JSON. The files in ``suites`` are the suites that ship by name.
"""

#: The backbone where none is told, and no method asks for one.
USUAL_FUSION = "lrtf"
