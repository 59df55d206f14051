"""Everything that knows data sets, files, the command line and machines."""

from i2moe_plugin.deprecation import moved

moved(
    {
        "benchmarks.allocation": "benchmarks.run.memory",
        "benchmarks.check": "benchmarks.terminal.check",
        "benchmarks.checkpoints": "benchmarks.run.checkpoints",
        "benchmarks.comparison": "benchmarks.statistics.paired",
        "benchmarks.data_display": "benchmarks.terminal.data",
        "benchmarks.datasets.adni_files": "benchmarks.datasets.samples.adni_files",
        "benchmarks.datasets.affect": "benchmarks.data.affect",
        "benchmarks.datasets.affect_file": "benchmarks.data.affect_file",
        "benchmarks.datasets.anndata_file": "benchmarks.formats.anndata",
        "benchmarks.datasets.base": "benchmarks.data.base benchmarks.data.registry "
        "benchmarks.data.open",
        "benchmarks.datasets.columns": "benchmarks.datasets.folder.columns",
        "benchmarks.datasets.convert": "benchmarks.data.convert",
        "benchmarks.datasets.fetch": "benchmarks.data.fetch",
        "benchmarks.datasets.files": "benchmarks.data.files",
        "benchmarks.datasets.folder_spec": "benchmarks.datasets.folder.spec",
        "benchmarks.datasets.id_splits": "benchmarks.data.id_splits",
        "benchmarks.datasets.images": "benchmarks.data.images",
        "benchmarks.datasets.lazy": "benchmarks.formats.ondisk",
        "benchmarks.datasets.manifest": "benchmarks.data.cards",
        "benchmarks.datasets.packaged": "benchmarks.data.packaged",
        "benchmarks.datasets.pickle_scan": "benchmarks.formats.pickle_scan",
        "benchmarks.datasets.pickled_tables": "benchmarks.formats.pickled_tables",
        "benchmarks.datasets.pickles": "benchmarks.formats.pickles",
        "benchmarks.datasets.readers": "benchmarks.formats.readers",
        "benchmarks.datasets.shown": "benchmarks.data.preview",
        "benchmarks.datasets.text_picture": "benchmarks.data.text_picture",
        "benchmarks.datasets.words": "benchmarks.formats.word_vectors",
        "benchmarks.display": "benchmarks.terminal.run benchmarks.statistics.metrics",
        "benchmarks.equivalence": "benchmarks.statistics.equivalence",
        "benchmarks.experiment": (
            "benchmarks.run.execute benchmarks.run.environment benchmarks.run.model"
        ),
        "benchmarks.explain_display": "benchmarks.terminal.explain",
        "benchmarks.explain_picture": "benchmarks.report.picture",
        "benchmarks.explanation": "benchmarks.report.explanation",
        "benchmarks.features": "benchmarks.data.frozen",
        "benchmarks.job": "benchmarks.grid.runner benchmarks.grid.table",
        "benchmarks.linear_baseline": "benchmarks.statistics.linear",
        "benchmarks.listing": "benchmarks.terminal.registries",
        "benchmarks.multibench_loading": "benchmarks.data.multibench",
        "benchmarks.multibench_loop": "benchmarks.run.multibench",
        "benchmarks.paper": "benchmarks.statistics.paper",
        "benchmarks.parity": "benchmarks.regression.parity",
        "benchmarks.parity_display": "benchmarks.terminal.parity",
        "benchmarks.pool": "benchmarks.grid.executors.processes",
        "benchmarks.runs": "benchmarks.run.store benchmarks.run.files benchmarks.run.outputs",
        "benchmarks.settings": "benchmarks.run.settings",
        "benchmarks.stored": "benchmarks.run.collect",
        "benchmarks.suites": "benchmarks.grid",
        "benchmarks.suites.display": "benchmarks.terminal.suite",
        "benchmarks.suites.formats": "benchmarks.grid.formats",
        "benchmarks.suites.running": (
            "benchmarks.grid.runner benchmarks.grid.failures benchmarks.grid.table"
        ),
        "benchmarks.suites.spec": "benchmarks.grid.spec benchmarks.grid.cells",
        "benchmarks.suites.tables": "benchmarks.grid.table",
    }
)
