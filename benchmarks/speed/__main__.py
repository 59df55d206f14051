"""``python -m i2moe_plugin.benchmarks.speed``."""

from i2moe_plugin.benchmarks.commands.speed import speed

if __name__ == "__main__":
    speed()
