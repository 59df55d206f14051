"""A backbone: fusion + head behind one contract, whatever the fusion returns.

The fusion keeps MultiBench's contract (list of latents in, fused tensor or a tuple whose first
item is it out); this wrapper puts a head behind it where it has none, and says plainly what is
wrong with an output that breaks the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from i2moe_plugin.backbones.entry import BackboneEntry
from i2moe_plugin.backbones.latents import LatentSpec, zero_padding
from i2moe_plugin.backbones.repair import register_hidden_parameters
from i2moe_plugin.errors import BackboneError, ChangesLatentsError, ConfigError
from i2moe_plugin.execution.plans import Factored, SeesViews


class MLPHead(nn.Sequential):
    """Linear-ReLU-Dropout-Linear on a flattened fused tensor; one Linear where ``hidden`` is 0.

    Raises:
        ConfigError: a hidden width below 0, or a dropout outside 0 to 1.
    """

    def __init__(self, width: int, num_outputs: int, hidden: int, dropout: float) -> None:
        if hidden < 0 or not 0 <= dropout <= 1:
            raise ConfigError(
                f"a head has a hidden width of at least 0 and a dropout from 0 to 1, not {hidden} "
                f"and {dropout}."
            )
        if hidden:
            super().__init__(
                nn.Linear(width, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_outputs),
            )
        else:
            super().__init__(nn.Linear(width, num_outputs))


class Backbone(nn.Module):
    """Fusion + head behind the contract: M latents -> output [B, C], scalar auxiliary loss.

    Args:
        entry: the registered facts.
        fusion: the module under the contract above; parameters that it hides are registered
            (:func:`~i2moe_plugin.backbones.repair.register_hidden_parameters`).
        latents: the latents' shapes.
        num_outputs: C.
        own_head: the fusion already returns [B, C].
        head_hidden, head_dropout: of the head we add otherwise.

    Attributes:
        repaired: the names of what the fusion had hidden from torch, and is registered now.

    Raises:
        BackboneError: the fusion fails on latents of these shapes, or breaks the contract.
    """

    def __init__(
        self,
        entry: BackboneEntry,
        fusion: nn.Module,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        own_head: bool,
        head_hidden: int = 128,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(fusion, nn.Module):
            raise BackboneError(
                f"backbone {entry.name!r} built a {type(fusion).__name__}; "
                "a torch.nn.Module is expected."
            )
        if any(isinstance(part, torch.jit.ScriptModule) for part in fusion.modules()):
            raise BackboneError(
                f"backbone {entry.name!r} is scripted (torch.jit.script or trace), and experts "
                "cannot be copied from it or trained; return the module itself."
            )
        self.repaired = register_hidden_parameters(fusion)
        self.entry, self.num_outputs = entry, num_outputs
        self.fusion, self.latents = fusion, tuple(latents)
        self.head: MLPHead | None = None
        fused = self._dry_run(latents)
        if own_head:
            if fused.shape[1:] != (num_outputs,):
                raise BackboneError(
                    f"backbone {entry.name!r} takes num_outputs={num_outputs}, so it must return "
                    f"[B, {num_outputs}]; it returned {list(fused.shape)} for B=2. Without an "
                    "argument num_outputs a head is added for it."
                )
        else:
            self._fused = fused.flatten(1).shape[1]
            self.head = MLPHead(self._fused, num_outputs, head_hidden, head_dropout)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fuse the latents, and apply the head.

        Args:
            latents: M tensors [B, D_m] or [B, T_m, D_m].
            padding_masks: for each modality None or [B, T_m], True where a token is padding.

        Returns:
            output [B, C]; auxiliary loss, a scalar (0 where the backbone has none).

        Raises:
            BackboneError: the fusion's output breaks the contract.
        """
        fused, auxiliary = self._fuse(latents, padding_masks)
        return self._apply_head(fused, latents), auxiliary

    @property
    def factored(self) -> bool:
        """Whether what is computed from one modality can be kept apart (``Factored``)."""
        return isinstance(self.fusion, Factored)

    def encode_modality(
        self, modality: int, latent: Tensor, padding_mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Compute what needs one modality alone, where the backbone is ``factored``.

        Args:
            modality: its place.
            latent: [B, D] or [B, T, D].
            padding_mask: [B, T] or None.

        Returns:
            tensors [B, ...], for :meth:`combine`.
        """
        if padding_mask is not None and not self.entry.padding:
            latent, padding_mask = zero_padding([latent], [padding_mask])[0], None
        fusion: Any = self.fusion
        if self.entry.padding:
            return tuple(fusion.encode_modality(modality, latent, padding_mask))
        return tuple(fusion.encode_modality(modality, latent))

    def combine(
        self,
        parts: Sequence[tuple[Tensor, ...]],
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Make of the M modalities' encodings what :meth:`forward` returns."""
        batch = parts[0][0].shape[0]
        fusion: Any = self.fusion
        arguments: list[Any] = [list(parts)]
        if self.entry.padding:
            arguments.append(list(padding_masks) if padding_masks else [None] * len(parts))
        fused, auxiliary = self._checked(fusion.combine(*arguments), batch)
        return self._apply_head(fused, [part[0] for part in parts]), auxiliary

    @property
    def sees_views(self) -> bool:
        """Whether all views can be given to the fusion at once (``SeesViews``)."""
        return self.head is None and isinstance(self.fusion, SeesViews)

    def forward_views(
        self,
        views: Sequence[Sequence[Tensor]],
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute outputs [V, B, C] and the auxiliary loss (0) of V views, where ``sees_views``.

        Raises:
            BackboneError: the fusion's output has another shape.
        """
        fusion: Any = self.fusion
        arguments: list[Any] = [views]
        if self.entry.padding:
            arguments.append(padding_masks)
        elif padding_masks is not None:
            arguments = [[zero_padding(view, padding_masks) for view in views]]
        output = fusion.forward_views(*arguments)
        expected = (len(views), views[0][0].shape[0], self.num_outputs)
        if output.shape != expected:
            raise BackboneError(
                f"backbone {self.entry.name!r} returned {list(output.shape)} for {len(views)} "
                f"views; expected {list(expected)}."
            )
        return output, output.new_zeros(())

    def _apply_head(self, fused: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        output = fused
        if self.head is not None:
            flat = fused.flatten(1)
            self._check_width(flat.shape[1], self._fused, inputs)
            output = self.head(flat)
        expected = (inputs[0].shape[0], self.num_outputs)
        if output.shape != expected:
            raise BackboneError(
                f"backbone {self.entry.name!r} returned {list(output.shape)}; "
                f"expected {list(expected)}."
            )
        return output

    def _check_width(self, width: int, expected: int, inputs: Sequence[Tensor]) -> None:
        if width != expected:
            raise BackboneError(
                f"backbone {self.entry.name!r} fused {_shapes(inputs)} to {width} values a "
                f"sample; its head was built for {expected}. A fusion of a varying number of "
                "tokens must pool them."
            )

    def _fuse(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None
    ) -> tuple[Tensor, Tensor]:
        arguments: list[Any] = [list(latents)]
        if self.entry.padding:
            arguments.append(list(padding_masks) if padding_masks else [None] * len(latents))
        elif padding_masks is not None:
            arguments = [zero_padding(latents, padding_masks)]
        return self._checked(self.fusion(*arguments), latents[0].shape[0])

    def _checked(self, result: Any, batch: int) -> tuple[Tensor, Tensor]:
        """Take the fused tensor and the auxiliary loss out of what the fusion returned."""
        name = self.entry.name
        auxiliary: Tensor | None = None
        if isinstance(result, (tuple, list)):
            if not result:
                raise BackboneError(f"backbone {name!r} returned an empty {type(result).__name__}.")
            if self.entry.auxiliary and len(result) > 1:
                auxiliary = result[1]
                if not isinstance(auxiliary, Tensor) or auxiliary.dim():
                    what = list(auxiliary.shape) if isinstance(auxiliary, Tensor) else auxiliary
                    raise BackboneError(
                        f"backbone {name!r} returned the auxiliary loss {what!r}; a scalar tensor "
                        "is expected."
                    )
            result = result[0]
        if not isinstance(result, Tensor):
            raise BackboneError(
                f"backbone {name!r} returned a {type(result).__name__}; a tensor, or a tuple whose "
                "first item is one, is expected."
            )
        if not result.is_floating_point():
            advice = (
                "take .real or .abs(), or torch.view_as_real"
                if result.is_complex()
                else "use .float()"
            )
            kind = "complex numbers" if result.is_complex() else str(result.dtype)
            raise BackboneError(
                f"backbone {name!r} returned {kind}; real numbers are expected: {advice}."
            )
        if result.dim() < 2 or result.shape[0] != batch:
            raise BackboneError(
                f"backbone {name!r} returned a tensor of shape {list(result.shape)}; expected "
                f"[B, ...] with B={batch} and at least 2 dimensions."
            )
        return result, result.new_zeros(()) if auxiliary is None else auxiliary

    def _dry_run(self, latents: Sequence[LatentSpec]) -> Tensor:
        parameter = next(self.fusion.parameters(), None)
        if any(map(is_lazy, self.fusion.parameters())):
            raise BackboneError(
                f"backbone {self.entry.name!r} has lazy parameters, whose initial values no seed "
                "reaches; take the widths from an argument input_dims or latents instead."
            )
        like = torch.zeros(()) if parameter is None else parameter.detach()
        example = [like.new_zeros((2, *latent.shape)) for latent in latents]
        masks = [
            torch.zeros((2, latent.shape[0]), dtype=torch.bool, device=like.device)
            if latent.padded
            else None
            for latent in latents
        ]
        training = self.fusion.training
        self.fusion.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                fused, _ = self._fuse(example, masks if any(m is not None for m in masks) else None)
        except BackboneError:
            raise
        except Exception as error:
            hint = ""
            if "not list" in str(error) or "'list' object" in str(error):
                hint = (
                    " Is it no fusion? A fusion is given one list of all latents, not one tensor."
                )
            raise BackboneError(
                f"backbone {self.entry.name!r} failed on latents of shape {_shapes(example)}: "
                f"{type(error).__name__}: {error}.{hint}"
            ) from error
        finally:
            self.fusion.train(training)
        changed = [str(i + 1) for i, latent in enumerate(example) if latent._version]
        if changed:
            raise ChangesLatentsError(
                f"backbone {self.entry.name!r} changes the latent of modality "
                f"{', '.join(changed)} in place, and so what the other experts see; write "
                "x = x + y instead of x += y."
            )
        return fused


def _shapes(latents: Sequence[Tensor]) -> str:
    return ", ".join(str(list(latent.shape)) for latent in latents)
