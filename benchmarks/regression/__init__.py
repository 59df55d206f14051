"""The gate for CI: a small fixed suite, measured again and held against a stored baseline.

:mod:`measuring` runs the suite, :mod:`baseline` stores it, :mod:`checks` compares, and
:mod:`reports` tells people and CI servers.
"""
