"""Writers of small drawn data sets in the published formats, one file a data set."""

from i2moe_plugin.deprecation import held_now_by

#: What said whether a folder holds a drawn sample lay here.
__getattr__ = held_now_by(__name__, ["i2moe_plugin.benchmarks.data.source"])
