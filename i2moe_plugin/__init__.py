"""I2MoE for any MultiBench-style fusion: interaction experts beside the vanilla fusion.

The public names below load on first use, so that importing the package, and starting the command
line, does not import torch.
"""

import lazy_loader

from i2moe_plugin.deprecation import moved

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "backbones.wrapper": ["Backbone", "LatentSpec"],
        "errors": [
            "BackboneError",
            "ConfigError",
            "DatasetError",
            "I2MoEError",
            "PluginError",
            "RegistrationError",
            "RunError",
            "ShapeError",
            "TrainingError",
            "UnknownNameError",
        ],
        "execution.bank": ["ExpertBank"],
        "injection": ["inject"],
        "interactions.losses": ["expert_names", "interaction_losses"],
        "interactions.masking": ["create_masking"],
        "model": ["I2MoE", "ModelOutput", "Vanilla", "latent_specs"],
        "registry": [
            "BackboneEntry",
            "create_backbone",
            "list_backbones",
            "load_plugin",
            "register_backbone",
        ],
        "reweighting": ["GlobalReweighting", "MLPReweighting"],
        "tasks": [
            "Classification",
            "Multilabel",
            "Regression",
            "SignClassification",
            "SignedRegression",
        ],
        "training": ["Predictions", "Trainer"],
    },
)
__all__ = ["__version__", *_names]

moved(
    {
        "adoption": "backbones.repair",
        "backbone": "backbones.wrapper",
        "contract": "testing.contract",
        "experts": "execution.bank",
        "interpretation.drawing": "interpretation.figures.drawing",
        "interpretation.global_": "interpretation.across",
        "layers": "execution.layers",
        "losses": "interactions.losses",
        "masking": "interactions.masking",
        "planning": "execution.rule",
        "plans": "execution.plans",
        "regularizers": "interactions.regularizers",
        "variants": "methods",
    }
)
