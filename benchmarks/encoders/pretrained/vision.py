"""Patches of a picture by a frozen Hugging Face model."""

from __future__ import annotations

import json
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.encoders.pretrained.folders import ModelFolder
from i2moe_plugin.benchmarks.encoders.pretrained.network import PretrainedNetwork, load_network
from i2moe_plugin.benchmarks.encoders.pretrained.requirements import needs_transformers
from i2moe_plugin.errors import DatasetError, ShapeError


class VisionModel:
    """A frozen network that gives a state for each patch of a picture.

    Tokens that stand for no patch, such as the class token, are dropped.

    Args:
        model: its folder.
        size: pixels of a picture's shorter side as the network sees it; a multiple of a patch's
            side. 0: the size that the folder's preprocessor_config.json names.

    Attributes:
        patch: pixels of a patch's side.
        width: F, of a patch's state.

    Raises:
        DatasetError: transformers is not installed, no patches, or a size that is no multiple of
            them.
    """

    def __init__(self, model: ModelFolder, size: int = 0) -> None:
        needs_transformers()
        self.model = model
        config = model.config.get("vision_config") or model.config
        self._facts = json.loads(
            (model.path / "preprocessor_config.json").read_text(encoding="utf-8")
        )
        patch = config.get("patch_size")
        if type(patch) is not int or patch < 1 or type(config.get("hidden_size")) is not int:
            raise DatasetError(
                f"{model.path}: a {config.get('model_type')} has no single patch_size and "
                "hidden_size; vision transformers such as dinov2, vit and clip have."
            )
        self.patch, self.width = patch, int(config["hidden_size"])
        self.size = size or _side(self._facts)
        if self.size < 1 or self.size % self.patch:
            raise DatasetError(
                f"a picture's side must be a multiple of {self.patch} pixels for "
                f"{model.name}, not {self.size}."
            )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of a picture with these pixels.

        The shorter side becomes :attr:`size`; the longer one the nearest whole number of patches in
        proportion.
        """
        short = self.size // self.patch
        rows, columns = (short * side / min(height, width) for side in (height, width))
        return max(1, round(rows)), max(1, round(columns))

    def network(self) -> VisionNetwork:
        """The frozen network: pictures [B, 3, H, W] in [0, 1] -> states [B, rows * columns, F].

        Raises:
            DatasetError: weights that do not fit the configuration.
        """
        return VisionNetwork(self, load_network(self.model, "vision_model"))

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of each colour, in [0, 1]."""
        return self._facts["image_mean"], self._facts["image_std"]


class VisionNetwork(PretrainedNetwork):
    """Pictures [B, 3, H, W] in [0, 1] -> states of their patches, row by row, [B, P, F]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: VisionModel, network: nn.Module) -> None:
        super().__init__(network)
        self.model = model
        for name, values in zip(("mean", "deviation"), model.normalisation, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self._fits_positions = "interpolate_pos_encoding" in signature(network.forward).parameters

    def forward(self, pictures: Tensor) -> Tensor:
        """The last layer's states of patches.

        Raises:
            ShapeError: no pictures of three colours.
            DatasetError: the network does not give one token a patch, or not for this size.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
            raise ShapeError(f"pictures must be [B, 3, H, W], not {list(pictures.shape)}.")
        rows, columns = self.model.grid(*pictures.shape[2:])
        wanted = (rows * self.model.patch, columns * self.model.patch)
        if wanted != tuple(pictures.shape[2:]):
            resized = F.interpolate(pictures, wanted, mode="bicubic", antialias=True)
            pictures = resized.clamp(0, 1)
        told: dict[str, Any] = {"pixel_values": (pictures - self.mean) / self.deviation}
        if self._fits_positions:  # those that have no such switch fit them without being asked
            told["interpolate_pos_encoding"] = True
        try:
            with torch.no_grad():
                states: Tensor = self.network(**told).last_hidden_state
        except (TypeError, ValueError, RuntimeError) as error:
            raise DatasetError(
                f"{self.model.model.name} cannot take pictures of {wanted[0]} x {wanted[1]} pixels "
                f"({str(error).splitlines()[0][:160]})."
            ) from error
        others = states.shape[1] - rows * columns if states.ndim == 3 else -1
        if others < 0:
            raise DatasetError(
                f"{self.model.model.name} gives states {list(states.shape)} for {rows} x {columns} "
                "patches: it is no model of one token a patch."
            )
        return states[:, others:]


def _side(facts: dict[str, Any]) -> int:
    """The side of the pictures that a preprocessor_config.json makes."""
    size = facts.get("crop_size") if facts.get("do_center_crop", True) else None
    size = size or facts.get("size") or 0
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 0
    return size if type(size) is int else 0
