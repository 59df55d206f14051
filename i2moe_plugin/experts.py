"""The bank of interaction experts: latents -> expert outputs [E, V, B, C]."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError

ExpertInit = Literal["copies", "independent"]
Plan = Literal["auto", "loop", "batched"]
Latents = Sequence[Tensor]
PaddingMasks = Sequence[Tensor | None] | None


class ExpertBank(nn.Module):
    """E copies of one backbone, each run on its views.

    Args:
        factory: builds one backbone: latents -> ([B, C], auxiliary loss).
        num_experts: E, usually M+2.
        init: ``copies`` start from identical weights (the paper); ``independent`` ones are each
            built anew.
        plan: how the passes are run; the numbers are the same. ``loop``: one for each expert and
            view. ``batched``: one for each expert, its views along the batch. ``auto``: the first
            training step compares both and takes ``batched`` where they agree.

    Raises:
        BackboneError: a backbone that cannot be deep-copied, or a factory that builds only one.
        ConfigError: an unknown ``init`` or ``plan``.
    """

    def __init__(
        self,
        factory: Callable[[], nn.Module],
        num_experts: int,
        init: ExpertInit = "copies",
        plan: Plan = "auto",
    ) -> None:
        super().__init__()
        if init not in get_args(ExpertInit):
            raise ConfigError(f"expert_init is copies or independent, not {init!r}.")
        if plan not in get_args(Plan):
            raise ConfigError(f"plan is auto, loop or batched, not {plan!r}.")
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
        self.plan: Plan = plan

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
        if replacements is not None and self.plan == "auto":
            self.plan = self._choose(latents, replacements, padding_masks)
        if replacements is not None and self.plan == "batched":
            return self._batched(latents, replacements, padding_masks)
        return self._loop(latents, replacements, padding_masks)

    def _loop(
        self, latents: Latents, replacements: Latents | None, masks: PaddingMasks
    ) -> tuple[Tensor, Tensor]:
        """One pass for each expert and view: the reference."""
        outputs, auxiliaries = [], []
        for index, expert in enumerate(self.experts):
            views = [list(latents)]
            for modality, new in enumerate(replacements or ()):
                view = list(latents)
                view[modality] = new[index]
                views.append(view)
            results = [expert(view, masks) for view in views]
            outputs.append(torch.stack([output for output, _ in results]))
            auxiliaries += [auxiliary for _, auxiliary in results]
        return torch.stack(outputs), torch.stack(auxiliaries).mean()

    def _batched(
        self, latents: Latents, replacements: Latents, masks: PaddingMasks
    ) -> tuple[Tensor, Tensor]:
        """One pass for each expert, its views behind one another along the batch."""
        views = len(latents) + 1
        tall = None
        if masks is not None:
            tall = [None if mask is None else mask.repeat(views, 1) for mask in masks]
        outputs, auxiliaries = [], []
        for index, expert in enumerate(self.experts):
            rows = []
            for modality, latent in enumerate(latents):
                column = [latent] * views
                column[modality + 1] = replacements[modality][index]
                rows.append(torch.cat(column))
            output, auxiliary = expert(rows, tall)
            outputs.append(output.unflatten(0, (views, -1)))
            auxiliaries.append(auxiliary)
        return torch.stack(outputs), torch.stack(auxiliaries).mean()

    def _choose(self, latents: Latents, replacements: Latents, masks: PaddingMasks) -> Plan:
        """``batched`` where samples cannot see each other, ``loop`` otherwise."""
        layers = self.modules()
        if any(isinstance(layer, _NormBase) for layer in layers):  # batch statistics in training
            return "loop"
        if any(getattr(getattr(e, "entry", None), "auxiliary", False) for e in self.experts):
            return "loop"  # an auxiliary loss is a mean over views, each on its own batch
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=_cuda_of(latents)):
                loop = self._loop(latents, replacements, masks)
                batched = self._batched(latents, replacements, masks)
            same = all(
                torch.allclose(*pair, rtol=1e-3, atol=1e-4, equal_nan=True)
                for pair in zip(loop, batched, strict=True)
            )
        except Exception:  # a backbone that cannot take another batch size
            same = False
        finally:
            self.train(training)
        return "batched" if same else "loop"


def _cuda_of(latents: Latents) -> list[torch.device]:
    return [latents[0].device] if latents[0].is_cuda else []
