"""I2MoE for any MultiBench-style fusion: interaction experts beside the vanilla fusion.

The public names are those of ``__init__.pyi``, for type checkers and for here alike. They load on
first use, so that importing the package, and starting the command line, does not import torch. What
knows data sets and runs (``run``, ``load_run``, ``compare``, ...) is defined in ``benchmarks``.
"""

import lazy_loader

from i2moe_plugin.deprecation import moved

__version__ = "0.2.0"

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]

moved(
    {
        "adoption": "backbones.repair",
        "backbone": "backbones.wrapper backbones.latents",
        "contract": "testing.contract testing.subject",
        "experts": "execution.bank",
        "interpretation.drawing": "interpretation.figures.drawing",
        "interpretation.global_": "interpretation.across",
        "layers": "execution.layers",
        "losses": "interactions.losses interactions.experts",
        "masking": "interactions.masking",
        "planning": "execution.rule",
        "plans": "execution.plans",
        "regularizers": "interactions.regularizers",
        "variants": "methods parts",
    }
)
