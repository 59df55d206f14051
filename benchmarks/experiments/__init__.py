"""The Python interface: experiments run, looked at, compared; trained models used.

``docs/python.md`` shows it. The commands of the same names print what these functions return.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparing": ["Compared", "compare"],
        "experiment": ["Experiment", "run"],
        "loaded": ["FinishedRun", "load_run"],
    },
)
