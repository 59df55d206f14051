"""I2MoE for any MultiBench-style fusion: interaction experts beside the vanilla fusion.

The public names below load on first use, so that importing the package, and starting the command
line, does not import torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "backbone": ["Backbone", "LatentSpec"],
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
        "experts": ["ExpertBank"],
        "injection": ["inject"],
        "losses": ["expert_names", "interaction_losses"],
        "masking": ["create_masking"],
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
