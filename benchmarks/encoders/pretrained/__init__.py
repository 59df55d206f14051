"""Encoders by name: Hugging Face models, frozen, that make tokens of a text or of a picture.

Nothing is downloaded and nothing is unpickled: a model is a folder with safetensors, in a package
that is installed, in the hub's cache, or of the user's own.
"""

from i2moe_plugin.benchmarks.encoders.pretrained.folders import (
    KNOWN,
    ModelFolder,
    find_model,
    not_installed,
)
from i2moe_plugin.benchmarks.encoders.pretrained.network import Projected
from i2moe_plugin.benchmarks.encoders.pretrained.text import TextModel, TextTokens
from i2moe_plugin.benchmarks.encoders.pretrained.vision import VisionModel
from i2moe_plugin.benchmarks.encoders.pretrained.words import Word, words_of

__all__ = [
    "KNOWN",
    "ModelFolder",
    "Projected",
    "TextModel",
    "TextTokens",
    "VisionModel",
    "Word",
    "find_model",
    "not_installed",
    "words_of",
]
