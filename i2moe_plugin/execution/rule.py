"""Which plan a bank takes: the first by a fixed rule that gives the loop's numbers.

The rule looks at the device and the shapes, never at a clock: another plan adds numbers in another
order, and two runs of one seed must give the same digits. Before a plan is taken it is compared
with the loop on copies of the experts and drawn latents; what was found holds, in this process, for
every bank of the same structure.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.execution.plans import (
    Experts,
    Latents,
    Masks,
    Views,
    factors,
    run_experts,
    shares,
    unlike,
)

Plan = Literal["auto", "loop", "batched", "shared", "stacked"]
#: Multiply-adds of one expert's pass below which starting operators costs more than they compute,
#: so that a CPU gains from doing all experts at once.
SMALL_PASS = 32_000_000
#: Samples that plans are compared on.
SAMPLES = 8


@dataclass(frozen=True)
class PlanReport:
    """The plan in use, and why.

    Attributes:
        plan: ``loop``, ``batched``, ``shared`` or ``stacked``.
        views: how one expert runs its views.
        reason: why this plan.
        refused: the plans that come first by the rule and are not valid, with the reason.
        chunk: views of an expert run at once and recomputed in the backward pass; 0: none are.
    """

    plan: str
    views: Views
    reason: str
    refused: dict[str, str] = field(default_factory=dict)
    chunk: int = 0


#: What was found, by the structure of the bank.
_found: dict[Hashable, PlanReport] = {}


def choose(experts: Experts, plan: Plan, latents: Latents, masks: Masks) -> PlanReport:
    """The plan for experts on latents like these; the experts stay as they are.

    Args:
        experts: E modules: latents -> ([B, C], auxiliary loss).
        plan: the one asked for, or ``auto``.
        latents: M tensors [B, ...], of which only shape, type and device count.
        masks: the padding masks, None or [B, T] each.

    Raises:
        ConfigError: the plan asked for is not valid.
    """
    if plan == "loop":
        return PlanReport("loop", "loop", "asked for")
    order = _order(experts[0], latents) if plan == "auto" else [plan]
    key = _structure(experts, order, latents, masks)
    if key in _found:
        return _found[key]
    trial = _Trial(experts, latents, masks)
    refused: dict[str, str] = {}
    report = PlanReport("loop", "loop", "no other plan is valid", refused)
    for name in order:
        views, problem = trial.views_of(name)
        if not problem:
            reason = "the first valid plan by the rule" if plan == "auto" else "asked for"
            report = PlanReport(name, views, reason, refused)
            break
        refused[name] = problem
    if plan in refused:
        raise ConfigError(
            f"plan={plan} is not valid for this backbone: {refused[plan]}. plan=auto takes one "
            "that is."
        )
    if key is not None:
        _found[key] = report
    return report


def fit_budget(
    experts: Experts, report: PlanReport, budget: int | None, latents: Latents, masks: Masks
) -> PlanReport:
    """The same plan, or one that recomputes, so that activations fit a budget in bytes."""
    if budget is None:
        return report
    views = len(latents) + 1
    one = saved_bytes(experts[0], latents, masks)
    total = one * views * len(experts)
    if total <= budget:
        return report
    alone = report.views in ("loop", "mapped")
    order: Views = "loop" if alone else report.views
    chunk = 1 if alone else min(max(budget // max(one, 1), 1), views)
    reason = (
        f"activations would take {total / 1e6:.0f} MB, more than the budget of {budget / 1e6:.0f} "
        f"MB: {chunk} of {views} views at a time are recomputed in the backward pass"
    )
    return replace(report, plan=order, views=order, chunk=chunk, reason=reason)


def _order(expert: nn.Module, latents: Latents) -> list[str]:
    """Plans to try, best first."""
    one_by_one = ["shared", "batched"] if shares(expert) else ["batched"]
    weights = sum(p.numel() for p in expert.parameters())
    rows = max(latent.shape[0] * (latent.shape[1] if latent.dim() > 2 else 1) for latent in latents)
    # An accelerator waits for operators to be started; a CPU's caches like smaller pieces.
    if latents[0].device.type != "cpu" or weights * rows < SMALL_PASS:
        return ["stacked", *one_by_one]
    return [*one_by_one, "stacked"]


class _Trial:
    """Runs plans on a few drawn samples and compares them with the loop."""

    def __init__(self, experts: Experts, latents: Latents, masks: Masks) -> None:
        self.experts = experts
        rows = min(max(len(latents[0]), 2), SAMPLES)  # what another sample does shows with another
        like = next((p for expert in experts for p in expert.parameters()), latents[0])
        drawn = torch.Generator().manual_seed(0)
        self.latents = [
            torch.randn(rows, *latent.shape[1:], generator=drawn).to(like) for latent in latents
        ]
        self.masks = masks and [
            None if mask is None else mask[:rows].repeat(rows // len(mask) or 1, 1)
            for mask in masks
        ]
        self.problem = ""
        self.batch_problem = ""
        try:
            self._look_at_one()
            self.loop = self._results(copy.deepcopy(experts), PlanReport("loop", "loop", ""))
        except Exception as error:  # what cannot be copied, or not be run on such latents
            self.problem = _first_line(error)

    def views_of(self, plan: str) -> tuple[Views, str]:
        """How an expert runs its views under a plan, and why that is not valid (or nothing)."""
        options: list[Views] = ["shared" if plan == "shared" else "batched"]
        if plan == "stacked":
            options = ["shared" if factors(self.experts[0]) else "batched", "mapped"]
        problem = self.problem
        if plan == "stacked":
            problem = unlike(self.experts) or problem
        elif plan == "shared" and not shares(self.experts[0]):
            problem = "the backbone does not say what its views have in common"
        if problem:
            return options[0], problem
        for views in options:
            found = self.batch_problem if views != "mapped" else ""
            found = found or self._difference(PlanReport(plan, views, ""))
            if not found:
                return views, ""
            problem = problem or found
        return options[0], problem

    def _look_at_one(self) -> None:
        """Find out what forbids every plan, and what forbids that views share a batch."""
        expert = copy.deepcopy(self.experts[0]).train()
        if any(isinstance(layer, _NormBase) for layer in expert.modules()):
            self.problem = "batch statistics: its samples see each other in training"
            return
        # In training mode, with the same noise: does one sample's latent reach another's output?
        other = [torch.cat([latent[1:2] + 1, latent[1:]]) for latent in self.latents]
        before = {name: buffer.clone() for name, buffer in expert.named_buffers()}
        outputs = []
        with _undisturbed(self.latents[0]), torch.no_grad():
            for latents in (self.latents, other):
                torch.manual_seed(0)
                outputs.append(expert(list(latents), self.masks)[0][1:])
        if any(not torch.equal(before[name], new) for name, new in expert.named_buffers()):
            self.problem = "it keeps state from pass to pass"
        if getattr(getattr(expert, "entry", None), "auxiliary", False):
            self.batch_problem = "its auxiliary loss is over the whole batch"
        elif not _close(*outputs):
            self.batch_problem = "its samples see each other in training"

    def _difference(self, report: PlanReport) -> str:
        """What goes wrong under a plan, compared with ``loop``; nothing where all is well."""
        experts = copy.deepcopy(self.experts)
        try:
            results = self._results(experts, report)
        except Exception as error:  # an operator without batching rule, a fixed batch size
            return _first_line(error)
        if report.plan == "stacked" and _keeps_batched(experts):
            return "it keeps tensors of a pass, which no file or copy could take"
        names = ["outputs", "complete view", "auxiliary loss", *["gradients"] * len(results)]
        for name, ours, loop in zip(names, results, self.loop, strict=False):
            if not _close(ours, loop):
                return f"its {name} differ from those of the loop"
        return ""

    def _results(self, experts: Experts, report: PlanReport) -> list[Tensor]:
        """Outputs, outputs without views, auxiliary loss and all gradients, in evaluation mode."""
        with _undisturbed(self.latents[0]):
            torch.manual_seed(0)
            inputs = [latent.clone().requires_grad_() for latent in self.latents]
            new = [torch.randn(len(experts), *x.shape).to(x) for x in inputs]
            arguments = (report.plan, report.views)
            # What only training does, such as drawing noise, must not fail either.
            run_experts(experts.train(), *arguments, inputs, new, self.masks)
            experts.eval()
            outputs, auxiliary = run_experts(experts, *arguments, inputs, new, self.masks)
            with torch.no_grad():
                complete, _ = run_experts(experts, *arguments, inputs, None, self.masks)
            torch.manual_seed(1)
            loss = (outputs * torch.randn(outputs.shape).to(outputs)).sum() + auxiliary
            wanted = [*inputs, *(p for p in experts.parameters() if p.requires_grad)]
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        filled = [
            torch.zeros_like(x) if gradient is None else gradient
            for x, gradient in zip(wanted, gradients, strict=True)
        ]
        return [outputs.detach(), complete, auxiliary.detach(), *filled]


@contextmanager
def _undisturbed(latent: Tensor) -> Iterator[None]:
    """Leaves generators as they were; no autocast; slow fallbacks are errors."""
    devices = [latent.device] if latent.is_cuda else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.autocast(latent.device.type, enabled=False),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", message=".*batching rule")
        yield


def _keeps_batched(experts: Experts) -> bool:
    """Whether a module holds on to a tensor that only means something inside ``vmap``."""

    def batched(value: Any) -> bool:
        if isinstance(value, Tensor):
            return bool(torch._C._functorch.is_batchedtensor(value))
        if isinstance(value, dict):
            value = list(value.values())
        return isinstance(value, (list, tuple, set)) and any(map(batched, value))

    return any(batched(value) for module in experts.modules() for value in vars(module).values())


def saved_bytes(expert: nn.Module, latents: Latents, masks: Masks) -> int:
    """Bytes that one expert's pass over one view keeps for its backward pass."""
    try:
        probe = copy.deepcopy(expert).train()
    except Exception:  # then what state it keeps moves on by one pass
        probe = expert
    own = {p.untyped_storage().data_ptr() for p in probe.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that its own graph holds would never be freed

    inputs = [latent.detach().clone().requires_grad_() for latent in latents]
    with (
        torch.random.fork_rng(devices=[latents[0].device] if latents[0].is_cuda else []),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        result = probe(inputs, masks)
    del result
    return sum(saved.values())


def _structure(
    experts: Experts, order: Sequence[str], latents: Latents, masks: Masks
) -> Hashable | None:
    """What a comparison of plans depends on; None where that cannot be told.

    The modules' classes and attributes, the shapes, types and devices of what they hold and of the
    latents. The number of tokens of a padded modality varies from batch to batch, and is left out.
    """
    try:
        modules = [
            (name, type(module), *((key, _hashable(value)) for key, value in _attributes(module)))
            for name, module in experts.named_modules()
        ]
    except TypeError:
        return None
    tensors = [*experts.named_parameters(), *experts.named_buffers()]
    return (
        *order,
        *modules,
        *((name, t.shape, t.dtype, t.device, t.requires_grad) for name, t in tensors),
        min(len(latents[0]), SAMPLES),
        *(
            (latent.shape[1:] if mask is None else latent.shape[2:], latent.dtype, latent.device)
            for latent, mask in zip(latents, masks or [None] * len(latents), strict=True)
        ),
    )


def _attributes(module: nn.Module) -> list[tuple[str, Any]]:
    apart = ("_parameters", "_buffers", "_modules", "training")
    return [(key, value) for key, value in vars(module).items() if key not in apart]


def _hashable(value: Any) -> Hashable:
    """A value that is equal to another's only where modules behave alike.

    Raises:
        TypeError: a value of which that cannot be told, such as an object of an unknown class.
    """
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((_hashable(key), _hashable(item)) for key, item in value.items())
    plain = (str, int, float, complex, bytes, type, type(None), torch.dtype, torch.device)
    lasting = inspect.isroutine(value) and "<locals>" not in value.__qualname__
    if not (isinstance(value, plain) or lasting or dataclasses.is_dataclass(value)):
        raise TypeError(f"a {type(value).__name__} may behave otherwise each time")
    hash(value)
    result: Hashable = value
    return result


def _close(actual: Tensor, expected: Tensor) -> bool:
    """Equal but for rounding; NaN stands for itself, a broken model is reported elsewhere."""
    if not torch.equal(actual.isnan(), expected.isnan()):
        return False
    actual, expected = actual.nan_to_num().double(), expected.nan_to_num().double()
    gap = (actual - expected).norm()
    return bool(gap <= 1e-3 * expected.norm() + 1e-5 * max(expected.numel(), 1) ** 0.5)


def _first_line(error: Exception) -> str:
    first: Sequence[Any] = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {str(first[0])[:160]}"
