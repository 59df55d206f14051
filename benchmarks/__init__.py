"""Everything that knows data sets, files, the command line and machines."""

from i2moe_plugin.deprecation import moved

moved(
    {
        "benchmarks.allocation": "benchmarks.run.memory",
        "benchmarks.check": "benchmarks.terminal.registries",
        "benchmarks.checkpoints": "benchmarks.run.checkpoints",
        "benchmarks.comparison": "benchmarks.statistics.paired",
        "benchmarks.data_display": "benchmarks.terminal.data",
        "benchmarks.datasets.adni_files": "benchmarks.datasets.adni benchmarks.formats.nifti",
        "benchmarks.datasets.affect": "benchmarks.data.affect",
        "benchmarks.datasets.affect_file": "benchmarks.data.affect_file",
        "benchmarks.datasets.anndata_file": "benchmarks.formats.anndata",
        "benchmarks.datasets.base": (
            "benchmarks.data.classes benchmarks.data.registry benchmarks.data.open "
            "benchmarks.data.batches benchmarks.data.splits"
        ),
        "benchmarks.datasets.columns": (
            "benchmarks.datasets.folder.arrays benchmarks.data.preprocessing"
        ),
        "benchmarks.datasets.convert": "benchmarks.data.convert",
        "benchmarks.datasets.fetch": "benchmarks.data.fetch",
        "benchmarks.datasets.files": (
            "benchmarks.data.classes benchmarks.data.cache benchmarks.data.source "
            "benchmarks.formats.reading"
        ),
        "benchmarks.datasets.folder_spec": "benchmarks.datasets.folder.description",
        "benchmarks.datasets.id_splits": "benchmarks.data.splits",
        "benchmarks.datasets.images": (
            "benchmarks.formats.pictures benchmarks.data.batches benchmarks.datasets.enrico"
        ),
        "benchmarks.datasets.lazy": "benchmarks.formats.hdf5 benchmarks.formats.arrays",
        "benchmarks.datasets.manifest": (
            "benchmarks.data.cards benchmarks.data.differences benchmarks.formats.inspection"
        ),
        "benchmarks.datasets.packaged": "benchmarks.data.packaged",
        "benchmarks.datasets.pickle_scan": "benchmarks.formats.pickle_scan",
        "benchmarks.datasets.pickled_tables": "benchmarks.formats.pickled_tables",
        "benchmarks.datasets.pickles": "benchmarks.formats.pickles",
        "benchmarks.datasets.readers": (
            "benchmarks.formats.reading benchmarks.formats.tables "
            "benchmarks.formats.arrays benchmarks.formats.hdf5"
        ),
        "benchmarks.datasets.shown": "benchmarks.data.preview",
        "benchmarks.datasets.text_picture": ("benchmarks.data.frozen benchmarks.formats.tables"),
        "benchmarks.datasets.words": "benchmarks.formats.word_vectors",
        "benchmarks.display": "benchmarks.terminal.run benchmarks.statistics.metrics",
        "benchmarks.encoders.frozen": "benchmarks.encoders.vgg",
        "benchmarks.encoders.recurrent": "benchmarks.encoders.sequences",
        "benchmarks.encoders.settings": "benchmarks.encoders.features",
        "benchmarks.encoders.tokens": "benchmarks.encoders.sequences",
        "benchmarks.encoders.volume": "benchmarks.encoders.images",
        "benchmarks.equivalence": "benchmarks.statistics.equivalence",
        "benchmarks.experiment": (
            "benchmarks.run.execute benchmarks.run.environment benchmarks.run.model"
        ),
        "benchmarks.explain_display": "benchmarks.terminal.explain",
        "benchmarks.explain_picture": "benchmarks.report.picture",
        "benchmarks.explanation": "benchmarks.report.explanation",
        "benchmarks.job": "benchmarks.grid.runner benchmarks.grid.table",
        "benchmarks.features": "benchmarks.data.frozen benchmarks.data.cache",
        "benchmarks.linear_baseline": "benchmarks.statistics.simple",
        "benchmarks.listing": "benchmarks.terminal.registries",
        "benchmarks.multibench_loading": "benchmarks.data.multibench",
        "benchmarks.multibench_loop": "benchmarks.run.multibench",
        "benchmarks.paper": "benchmarks.statistics.paper",
        "benchmarks.parity": "benchmarks.regression.parity",
        "benchmarks.parity_display": "benchmarks.terminal.regression",
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
