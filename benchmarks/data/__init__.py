"""One door to data: opening, cards, splits, digests, frozen features, fetching, previews.

Files that are missing, damaged or not in their published format are a
:class:`~i2moe_plugin.errors.DatasetError`, wherever they are read; settings that a data set does
not have, a :class:`~i2moe_plugin.errors.ConfigError`.
"""
