"""``python -m i2moe_plugin`` is the installed command ``i2moe-bench``."""

from importlib.metadata import entry_points

if __name__ == "__main__":
    command, *_ = entry_points(group="console_scripts", name="i2moe-bench")
    command.load()(prog_name="python -m i2moe_plugin")
