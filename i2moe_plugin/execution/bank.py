"""The bank of interaction experts: latents -> expert outputs [E, V, B, C]."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError
from i2moe_plugin.execution.layers import quicken
from i2moe_plugin.execution.plans import (
    Latents,
    Masks,
    ViewPlan,
    apart,
    factors,
    for_all,
    looped,
    recomputed,
    row_once,
    run_experts,
)
from i2moe_plugin.execution.rule import Plan, PlanReport, choose, fit_budget

ExpertInit = Literal["copies", "independent"]


class ExpertBank(nn.Module):
    """E copies of one backbone, each run on its views.

    Args:
        factory: builds one backbone: latents -> ([B, C], auxiliary loss).
        num_experts: E, usually M+2.
        init: ``copies`` start from identical weights (the paper); ``independent`` ones are each
            built anew.
        plan: how the passes are run; the numbers are the same
            (:mod:`i2moe_plugin.execution.plans`).
            ``auto`` takes, at the first batch, the first valid one by a fixed rule.
        memory_budget: bytes that a training step's activations may take; experts, then views, are
            recomputed in the backward pass where more would be needed. None: no limit.

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
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        if init not in get_args(ExpertInit):
            raise ConfigError(f"expert_init is copies or independent, not {init!r}.")
        if plan not in get_args(Plan):
            raise ConfigError(f"plan is one of {', '.join(get_args(Plan))}, not {plan!r}.")
        if memory_budget is not None and memory_budget < 1:
            raise ConfigError(f"memory_budget must be positive, not {memory_budget}.")
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
        quicken(self.experts)
        self.plan: Plan = plan
        self.memory_budget = memory_budget
        self.report: PlanReport | None = None

    def forward(
        self,
        latents: Sequence[Tensor],
        replacements: Sequence[Tensor | None] | None = None,
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run every expert on every view.

        Args:
            latents: M tensors [B, ...].
            replacements: M tensors [E, B, ...], what replaces modality m for expert e, or None
                where no view masks it; without any, only the complete view is run (V = 1).
            padding_masks: for each modality None or [B, T_m]; a replaced modality keeps its mask.

        Returns:
            outputs [E, V, B, C]; the auxiliary loss, its mean over experts and views.

        Raises:
            ShapeError: replacements that do not match the latents.
            ConfigError: a plan that was asked for and is not valid for this backbone.
        """
        if replacements is not None:
            self._check(latents, replacements)
        report = self.settle(latents, padding_masks)
        plan = report.plan
        # On a CPU, without views and gradients, stacking costs more than it saves.
        if replacements is None and not self.training and latents[0].device.type == "cpu":
            plan = "loop"
        return run_experts(
            self.experts,
            plan,
            report.views,
            latents,
            replacements,
            padding_masks,
            chunk=report.chunk,
        )

    def forward_each(
        self,
        latents: Sequence[Latents],
        padding_masks: Sequence[Masks],
        experts: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run each expert on latents of its own, once.

        Args:
            latents: for each expert M tensors [B, ...], or [1, ...] for what stands before all
                samples.
            padding_masks: for each expert None, or for each modality None or [B, T_m].
            experts: the numbers of those that are run; all by default.

        Returns:
            outputs [E, B, C]; the auxiliary losses [E].

        Raises:
            ConfigError: a plan that was asked for and is not valid for this backbone.
        """
        chosen = [*self.experts] if experts is None else [self.experts[e] for e in experts]
        rows = [for_all(row) for row in latents]
        report = self.settle(rows[0], padding_masks[0])
        once = report.views == "shared" and factors(self.experts[0])
        on_cpu = rows[0][0].device.type == "cpu"
        single = any(map(operator.is_not, latents[0], rows[0]))
        if self.plan == "auto" and report.plan == "stacked" and once and single and on_cpu:
            reason = "latents of a single row are encoded once"
            report = self.report = replace(report, plan="shared", reason=reason)
        shapes = {tuple(tensor.shape for tensor in row) for row in rows}
        alike = len(shapes) == 1 and all(mask is None for mask in padding_masks)
        stacked = report.plan == "stacked" and alike and (self.training or not on_cpu)
        if stacked and len(chosen) == len(self.experts):
            return apart(self.experts, rows)
        run: ViewPlan = row_once if once else looped
        if report.chunk and torch.is_grad_enabled():
            run = recomputed(run, 1)
        pairs = zip(chosen, latents if once else rows, padding_masks, strict=True)
        results = [run(expert, row, (), masks) for expert, row, masks in pairs]
        outputs, auxiliaries = zip(*results, strict=True)
        return torch.cat(outputs), torch.stack(auxiliaries)

    def settle(self, latents: Latents, padding_masks: Masks = None) -> PlanReport:
        """The plan in use; the first batch decides.

        Raises:
            ConfigError: a plan that was asked for and is not valid for this backbone.
        """
        if self.report is None:
            report = choose(self.experts, self.plan, latents, padding_masks)
            budget = self.memory_budget
            self.report = fit_budget(self.experts, report, budget, latents, padding_masks)
        return self.report

    def _check(self, latents: Latents, replacements: Sequence[Tensor | None]) -> None:
        if len(replacements) != len(latents):
            raise ShapeError(f"{len(replacements)} replacements for {len(latents)} latents.")
        for modality, (latent, new) in enumerate(zip(latents, replacements, strict=True)):
            if new is not None and new.shape != (len(self.experts), *latent.shape):
                raise ShapeError(
                    f"replacements of modality {modality + 1} are {list(new.shape)}; expected "
                    f"{[len(self.experts), *latent.shape]}."
                )
