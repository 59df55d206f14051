"""A backbone that also says what its head reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from i2moe_plugin.errors import BackboneError


class WithFused(nn.Module):
    """A backbone whose output [B, C] is followed by what its last layer read: [B, C + D].

    Args:
        backbone: latents -> ([B, C], auxiliary loss).
        num_outputs: C.

    Raises:
        BackboneError: no head is found in it: neither a module called ``head`` nor a linear layer
            with C outputs.
    """

    def __init__(self, backbone: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.entry = getattr(backbone, "entry", None)
        self._head = _find_head(backbone, num_outputs)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute [B, C + D] and the auxiliary loss.

        Raises:
            BackboneError: the head was not called once, on [B, ...].
        """
        read: list[Tensor] = []
        head = self.backbone.get_submodule(self._head)
        hook = head.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
        try:
            output, auxiliary = self.backbone(latents, padding_masks)
        finally:
            hook.remove()
        if len(read) != 1 or read[0].shape[0] != output.shape[0]:
            raise BackboneError(
                f"the last layer of the backbone ({self._head}) was called {len(read)} times; a "
                "method that looks at what it reads needs it to be called once, on [B, D]."
            )
        return torch.cat([output, read[0].flatten(1).to(output.dtype)], 1), auxiliary


def _find_head(backbone: nn.Module, num_outputs: int) -> str:
    """Find the place of the head: what is called ``head``, or the last layer of C outputs."""
    for place in ("head", "fusion.head"):
        part: Any = backbone
        for name in place.split("."):
            part = getattr(part, name, None)
        if isinstance(part, nn.Module):
            return place
    layers = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == num_outputs
    ]
    if not layers:
        raise BackboneError(
            "this method looks at what the backbone's head reads, but no head was found: call the "
            f"last layer 'head', or make it a Linear with {num_outputs} outputs."
        )
    return layers[-1]
