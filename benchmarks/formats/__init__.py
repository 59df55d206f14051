"""Readers of file formats; they know no data set.

Whatever is wrong with a file (missing, cut short, damaged, hostile, of another format) is a
:class:`~i2moe_plugin.errors.DatasetError` that names it, whichever reader meets it.
"""
