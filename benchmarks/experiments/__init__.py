"""The Python interface: experiments run, looked at, compared; trained models used.

``docs/python.md`` shows it. The commands of the same names print what these functions return. The
names are those of ``__init__.pyi``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
