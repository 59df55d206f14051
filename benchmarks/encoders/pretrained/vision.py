"""Patches of a picture by a frozen Hugging Face model."""

from __future__ import annotations

import json
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.encoders.pretrained.configuration import whole
from i2moe_plugin.benchmarks.encoders.pretrained.folders import ModelFolder
from i2moe_plugin.benchmarks.encoders.pretrained.network import (
    PretrainedNetwork,
    load_network,
    read_configuration,
)
from i2moe_plugin.errors import DatasetError, ShapeError

MOST_PATCHES = 1 << 14  # of a picture: attention takes memory with the square of their number


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
        self.model = model
        config = read_configuration(model, "image")
        self._facts = json.loads(
            (model.path / "preprocessor_config.json").read_text(encoding="utf-8")
        )
        patch, width = whole(config, "patch_size"), whole(config, "hidden_size")
        if patch is None or width is None:
            raise DatasetError(
                f"{model.path}: a {config.model_type} has no single patch_size and "
                "hidden_size; vision transformers such as dinov2, vit and clip have."
            )
        self.patch, self.width = patch, width
        self.size = size or _side(self._facts)
        if self.size < 1 or self.size % self.patch:
            raise DatasetError(
                f"a picture's side must be a multiple of {self.patch} pixels for "
                f"{model.name}, not {self.size}."
            )
        self.grid(self.size, self.size)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of a picture with these pixels.

        The shorter side becomes :attr:`size`; the longer one the nearest whole number of patches in
        proportion.

        Raises:
            DatasetError: more patches than can be attended to.
        """
        short = self.size // self.patch
        rows, columns = (round(short * side / min(height, width)) for side in (height, width))
        if rows * columns > MOST_PATCHES:
            raise DatasetError(
                f"pictures of {height} x {width} pixels, the shorter side made {self.size}, have "
                f"{rows} x {columns} patches; at most {MOST_PATCHES} are read. Choose a smaller "
                "picture size, or cut the pictures."
            )
        return max(1, rows), max(1, columns)

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
        super().__init__(network, model.model.name)
        self.model = model
        for name, values in zip(("mean", "deviation"), model.normalisation, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self._fits_positions = "interpolate_pos_encoding" in signature(network.forward).parameters
        self._check_places()

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
        states: Tensor = self._run(pictures).last_hidden_state
        others = states.shape[1] - rows * columns if states.ndim == 3 else -1
        if others < 0:
            raise DatasetError(
                f"{self.model.model.name} gives states {list(states.shape)} for {rows} x {columns} "
                "patches: it is no model of one token a patch."
            )
        return states[:, others:]

    def _run(self, pictures: Tensor, **told: Any) -> Any:
        if self._fits_positions:  # those that have no such switch fit them without being asked
            told["interpolate_pos_encoding"] = True
        what = f"pictures of {pictures.shape[2]} x {pictures.shape[3]} pixels"
        return self.run(what, pixel_values=(pictures - self.mean) / self.deviation, **told)

    def _check_places(self) -> None:
        """Refuse a network whose last tokens are not the patches row by row.

        Before the first layer a token knows its own patch alone: a picture with one patch changed
        must change that patch's token, and no other.

        Raises:
            DatasetError: another order, other tokens behind the patches, or tokens of more than a
                patch.
        """
        side, patch = self.model.size, self.model.patch
        rows = side // patch
        plain = torch.full((1, 3, side, side), 0.5)
        before = self._embedded(plain)
        for row, column in {(0, 0), (0, rows - 1), (rows - 1, 0), (rows - 1, rows - 1)}:
            changed = plain.clone()
            changed[..., row * patch :, column * patch :][..., :patch, :patch] = 0.9
            change = (self._embedded(changed) - before).abs().amax(-1)[0]
            moved = (change > 1e-3 * change.max()).nonzero().flatten()
            if moved.tolist() != [before.shape[1] - rows * rows + row * rows + column]:
                raise DatasetError(
                    f"{self.name}: its last {rows * rows} tokens are not the {rows} x {rows} "
                    "patches of a picture, row by row, so that nothing could be said of a patch. "
                    "Take a vision transformer such as dinov2, vit or clip."
                )

    def _embedded(self, pictures: Tensor) -> Tensor:
        """The tokens before the first layer, [B, T, F]."""
        found = self._run(pictures, output_hidden_states=True)
        states = getattr(found, "hidden_states", None)
        if not states or states[0].ndim != 3:
            raise DatasetError(
                f"{self.name} does not show its tokens before the first layer, so it cannot be "
                "checked which of them is which patch. Take a vision transformer such as dinov2, "
                "vit or clip."
            )
        first: Tensor = states[0]
        return first


def _side(facts: dict[str, Any]) -> int:
    """The side of the pictures that a preprocessor_config.json makes."""
    size = facts.get("crop_size") if facts.get("do_center_crop", True) else None
    size = size or facts.get("size") or 0
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 0
    return size if type(size) is int else 0
