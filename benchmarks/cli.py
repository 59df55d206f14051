"""The command line ``i2moe-bench``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import atexit
import gc
import os
import warnings

import click

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.commands.audit import audit
from i2moe_plugin.benchmarks.commands.base import Group
from i2moe_plugin.benchmarks.commands.check import check
from i2moe_plugin.benchmarks.commands.compare import compare
from i2moe_plugin.benchmarks.commands.data import data
from i2moe_plugin.benchmarks.commands.explain import explain
from i2moe_plugin.benchmarks.commands.export import export
from i2moe_plugin.benchmarks.commands.interactions import interactions
from i2moe_plugin.benchmarks.commands.list import list_
from i2moe_plugin.benchmarks.commands.parity import parity
from i2moe_plugin.benchmarks.commands.plot import plot
from i2moe_plugin.benchmarks.commands.predict import predict
from i2moe_plugin.benchmarks.commands.regress import regress
from i2moe_plugin.benchmarks.commands.report import report
from i2moe_plugin.benchmarks.commands.robustness import robustness
from i2moe_plugin.benchmarks.commands.run import run
from i2moe_plugin.benchmarks.commands.runs import runs
from i2moe_plugin.benchmarks.commands.speed import speed
from i2moe_plugin.benchmarks.commands.suite import suite
from i2moe_plugin.benchmarks.commands.tune import tune
from i2moe_plugin.deprecation import REMOVED_IN


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="i2moe-bench")
def main() -> None:
    """Does a mixture of interaction experts (I2MoE) help your fusion?

    \b
    Examples:
      i2moe-bench run                         lrtf on htad, 5 seeds, both methods
      i2moe-bench run --fusion lrtf --dataset emoji
      i2moe-bench run --plugin my_fusion.py --fusion mine
      i2moe-bench tune --fusion lrtf --dataset emoji
      i2moe-bench predict runs/RUN --data ./new -o predictions.csv
      i2moe-bench export runs/RUN -o model
      i2moe-bench explain runs/RUN --sample ID
      i2moe-bench report runs
      i2moe-bench check my_fusion.py
      i2moe-bench list backbones
      i2moe-bench data sample enrico ./enrico-sample
    """
    # What is imported stays: to look through it for garbage, over and over and once more at the
    # end, takes about half as long as to import it.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # Python shows these to programmers alone.
    warnings.filterwarnings("default", f".* goes in version {REMOVED_IN}", DeprecationWarning)
    # Before torch is imported: the setting CUDA's matrix products need to repeat exactly.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


for command in (
    run,
    runs,
    compare,
    predict,
    export,
    explain,
    report,
    robustness,
    plot,
    check,
    list_,
    data,
    suite,
    tune,
    audit,
    interactions,
    speed,
    regress,
    parity,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
