"""The bank of interaction experts: latents -> expert outputs [E, V, B, C]."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError

ExpertInit = Literal["copies", "independent"]


class ExpertBank(nn.Module):
    """E copies of one backbone, each run on its views.

    Args:
        factory: builds one backbone: latents -> ([B, C], auxiliary loss).
        num_experts: E, usually M+2.
        init: ``copies`` start from identical weights (the paper); ``independent`` ones are each
            built anew.

    Raises:
        BackboneError: a backbone that cannot be deep-copied, or a factory that builds only one.
        ConfigError: an unknown ``init``.
    """

    def __init__(
        self, factory: Callable[[], nn.Module], num_experts: int, init: ExpertInit = "copies"
    ) -> None:
        super().__init__()
        if init not in get_args(ExpertInit):
            raise ConfigError(f"expert_init is copies or independent, not {init!r}.")
        first = factory()
        experts = [first]
        for _ in range(num_experts - 1):
            if init == "independent":
                experts.append(factory())
                continue
            try:
                experts.append(copy.deepcopy(first))
            except Exception as error:
                raise BackboneError(
                    "the backbone cannot be deep-copied, so it cannot become experts "
                    f"({type(error).__name__}: {error}). A module that holds computed tensors "
                    "outside its parameters and buffers does this; register them, or use "
                    "expert_init=independent."
                ) from error
        if len(set(map(id, experts))) < num_experts:
            raise BackboneError(
                "the factory returned the same backbone twice; each call builds one."
            )
        self.experts = nn.ModuleList(experts)

    def forward(
        self,
        latents: Sequence[Tensor],
        replacements: Sequence[Tensor] | None = None,
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run every expert on every view.

        Args:
            latents: M tensors [B, ...].
            replacements: M tensors [E, B, ...], what replaces modality m for expert e; without
                them only the complete view is computed (V = 1).
            padding_masks: for each modality None or [B, T_m]; a replaced modality keeps its mask.

        Returns:
            outputs [E, V, B, C]; the auxiliary loss, its mean over experts and views.

        Raises:
            ShapeError: replacements that do not match the latents.
        """
        if replacements is not None:
            if len(replacements) != len(latents):
                raise ShapeError(f"{len(replacements)} replacements for {len(latents)} latents.")
            for modality, (latent, new) in enumerate(zip(latents, replacements, strict=True)):
                if new.shape != (len(self.experts), *latent.shape):
                    raise ShapeError(
                        f"replacements of modality {modality + 1} are {list(new.shape)}; expected "
                        f"{[len(self.experts), *latent.shape]}."
                    )
        outputs, auxiliaries = [], []
        for index, expert in enumerate(self.experts):
            views = [list(latents)]
            for modality in range(len(latents) if replacements is not None else 0):
                assert replacements is not None
                view = list(latents)
                view[modality] = replacements[modality][index]
                views.append(view)
            results = [expert(view, padding_masks) for view in views]
            outputs.append(torch.stack([output for output, _ in results]))
            auxiliaries += [auxiliary for _, auxiliary in results]
        return torch.stack(outputs), torch.stack(auxiliaries).mean()
