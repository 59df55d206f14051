"""One run: its settings, model, training, files, and saved states.

What cannot be written, or is not what it was when it was written, is a
:class:`~i2moe_plugin.errors.RunError`; settings that cannot be used, a
:class:`~i2moe_plugin.errors.ConfigError`. The same holds of grids, reports and the gate.
"""
