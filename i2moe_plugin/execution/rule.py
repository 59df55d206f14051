"""Which plan a bank takes: by a fixed rule, once it has been checked against ``loop``.

The rule looks at the device and the shapes, never at a clock: another plan adds numbers in another
order, and two runs of one seed must give the same digits. ``fastest`` measures instead.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.execution.plans import Latents, Masks, Views, factors, shares, unlike

if TYPE_CHECKING:
    from i2moe_plugin.execution.bank import ExpertBank

Plan = Literal["auto", "fastest", "loop", "batched", "shared", "stacked"]
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
        seconds: a training step of each valid plan, where they were measured.
    """

    plan: str
    views: Views
    reason: str
    refused: dict[str, str] = field(default_factory=dict)
    chunk: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def choose(bank: ExpertBank, latents: Latents, masks: Masks) -> PlanReport:
    """The plan for a bank on latents like these. Leaves weights, modes and generators as they are.

    Raises:
        ConfigError: the plan asked for is not valid.
    """
    if bank.plan == "loop":
        return PlanReport("loop", "loop", "asked for")
    trial = _Trial(bank, latents, masks)
    found: list[PlanReport] = []
    refused: dict[str, str] = {}
    asked = bank.plan not in ("auto", "fastest")
    for plan in [str(bank.plan)] if asked else _order(bank, latents):
        views, problem = trial.views_of(plan)
        if problem:
            refused[plan] = problem
            continue
        reason = "asked for" if asked else "the first valid plan by the rule"
        found.append(PlanReport(plan, views, reason, refused))
        if bank.plan != "fastest":
            return found[0]
    if asked:
        raise ConfigError(
            f"plan={bank.plan} is not valid for this backbone: {refused[bank.plan]}. plan=auto "
            "takes one that is."
        )
    found.append(PlanReport("loop", "loop", "no other plan is valid", refused))
    if len(found) == 1:
        return found[0]
    seconds = {each.plan: trial.seconds(each) for each in found}
    best = min(found, key=lambda each: seconds[each.plan])
    return replace(best, reason="the fastest at the first batch", seconds=seconds)


def fit_budget(bank: ExpertBank, report: PlanReport, latents: Latents, masks: Masks) -> PlanReport:
    """The same plan, or one that recomputes, so that activations fit the bank's memory budget."""
    budget = bank.memory_budget
    if budget is None:
        return report
    views = len(latents) + 1
    one = _saved_bytes(bank, latents, masks)
    total = one * views * len(bank.experts)
    if total <= budget:
        return report
    chunk = min(max(budget // max(one, 1), 1), views)
    alone = report.views in ("loop", "mapped")
    order: Views = "loop" if alone else report.views
    chunk = 1 if alone else chunk
    reason = (
        f"activations would take {total / 1e6:.0f} MB, more than the budget of {budget / 1e6:.0f} "
        f"MB: {chunk} of {views} views at a time are recomputed in the backward pass"
    )
    return replace(report, plan=order, views=order, chunk=chunk, reason=reason)


def _order(bank: ExpertBank, latents: Latents) -> list[str]:
    """Plans to try, best first."""
    one_by_one = ["shared", "batched"] if shares(bank.experts[0]) else ["batched"]
    device = latents[0].device.type
    weights = sum(p.numel() for p in bank.experts[0].parameters())
    rows = max(latent.shape[0] * (latent.shape[1] if latent.dim() > 2 else 1) for latent in latents)
    # An accelerator waits for operators to be started; a CPU's caches like smaller pieces.
    if device != "cpu" or weights * rows < SMALL_PASS:
        return ["stacked", *one_by_one]
    return [*one_by_one, "stacked"]


class _Trial:
    """Runs plans on one small batch and compares."""

    def __init__(self, bank: ExpertBank, latents: Latents, masks: Masks) -> None:
        self.bank, self.masks = _copy(bank), masks
        like = next(bank.parameters(), latents[0])
        self.full = [latent.detach().to(like.dtype).clone() for latent in latents]
        rows = min(len(latents[0]), SAMPLES)
        self.latents = [latent[:rows] for latent in self.full]
        self.few = masks and [None if mask is None else mask[:rows] for mask in masks]
        if rows < 2:  # what another sample does shows with another sample
            self.latents = [torch.cat([latent, -latent]) for latent in self.latents]
            self.few = self.few and [None if m is None else m.repeat(2, 1) for m in self.few]
        self.state_problem = ""
        self.batch_problem = self._batch_problem()
        self._loop: list[Tensor] | None = None

    def views_of(self, plan: str) -> tuple[Views, str]:
        """How an expert runs its views under a plan, and why that is not valid (or nothing)."""
        options: list[Views]
        if plan == "stacked":
            if problem := unlike(list(self.bank.experts)):
                return "batched", problem
            options = ["shared" if factors(self.bank.experts[0]) else "batched", "mapped"]
        else:
            options = ["shared" if plan == "shared" else "batched"]
        if "shared" in options and not shares(self.bank.experts[0]):
            return "shared", "the backbone does not say what its views have in common"
        if any(isinstance(layer, _NormBase) for layer in self.bank.modules()):
            return options[0], "batch statistics: its samples see each other in training"
        if self.state_problem:
            return options[0], self.state_problem
        problem = ""
        for views in options:
            if views != "mapped" and self.batch_problem:
                problem = problem or self.batch_problem
                continue
            found = self._difference(PlanReport(plan, views, ""))
            if not found:
                return views, ""
            problem = problem or found
            self.bank = _copy(self.bank)
        return options[0], problem

    def seconds(self, report: PlanReport) -> float:
        """The fastest of three training passes, forward and backward, over the whole batch."""
        times = []
        with self._quiet(training=True):
            for _ in range(4):  # the first warms up
                start = time.perf_counter()
                self._results(report, self.full, self.masks)
                if self.full[0].is_cuda:
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
        return min(times[1:])

    def _batch_problem(self) -> str:
        """Why views may not share a batch: a loss over it, or samples that see each other."""
        expert = self.bank.experts[0]
        if getattr(getattr(expert, "entry", None), "auxiliary", False):
            return "its auxiliary loss is over the whole batch"
        # In training mode, with the same noise: does one sample's latent reach another's output?
        other = [torch.cat([latent[1:2] + 1, latent[1:]]) for latent in self.latents]
        outputs = []
        try:
            probe = _copy(expert).train()
            before = {name: buffer.clone() for name, buffer in probe.named_buffers()}
            with self._quiet(training=None), torch.no_grad():
                for latents in (self.latents, other):
                    torch.manual_seed(0)
                    outputs.append(probe(list(latents), self.few)[0][1:])
        except Exception as error:
            return _said(error)
        after = dict(probe.named_buffers())
        if any(not torch.equal(after[name], old) for name, old in before.items()):
            self.state_problem = "it keeps state from pass to pass"
        return "" if _close(*outputs) else "its samples see each other in training"

    def _difference(self, report: PlanReport) -> str:
        """What goes wrong under a plan, compared with ``loop``; nothing where all is well."""
        try:
            with self._quiet(training=False):
                if self._loop is None:
                    self._loop = self._results(PlanReport("loop", "loop", ""))
                results = self._results(report)
                if report.plan == "stacked" and _keeps_batched(self.bank):
                    return "it keeps tensors of a pass, which no file or copy could take"
        except Exception as error:  # an operator without batching rule, a fixed batch size
            return _said(error)
        names = ["outputs", "complete view", "auxiliary loss", *["gradients"] * len(results)]
        for name, ours, loop in zip(names, results, self._loop, strict=False):
            if not _close(ours, loop):
                return f"its {name} differ from those of the loop"
        return ""

    def _results(
        self, report: PlanReport, latents: Latents | None = None, masks: Masks = None
    ) -> list[Tensor]:
        """Outputs, auxiliary loss, and gradients; see ``_difference``."""
        bank = self.bank
        if latents is None:
            latents, masks = self.latents, self.few
        torch.manual_seed(0)
        inputs = [latent.clone().requires_grad_() for latent in latents]
        new = [torch.randn(len(bank.experts), *x.shape).to(x) for x in latents]
        run = bank.run_stacked if report.plan == "stacked" else bank.run_each
        outputs, auxiliary = run(report.views, inputs, new, masks)
        with torch.no_grad():
            complete, _ = run(report.views, inputs, None, masks)
        torch.manual_seed(1)
        loss = (outputs * torch.randn(outputs.shape).to(outputs)).sum() + auxiliary
        wanted = [*inputs, *(p for p in bank.parameters() if p.requires_grad)]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        filled = [
            torch.zeros_like(x) if gradient is None else gradient
            for x, gradient in zip(wanted, gradients, strict=True)
        ]
        return [outputs.detach(), complete, auxiliary.detach(), *filled]

    @contextmanager
    def _quiet(self, training: bool | None) -> Iterator[None]:
        """Leaves modes and generators as they were; no autocast; slow fallbacks are errors."""
        latent = self.latents[0]
        devices = [latent.device] if latent.is_cuda else []
        modes = [(module, module.training) for module in self.bank.modules()]
        try:
            if training is not None:
                self.bank.train(training)
            with (
                torch.random.fork_rng(devices=devices),
                torch.autocast(latent.device.type, enabled=False),
                torch.inference_mode(False),
                torch.enable_grad(),
                warnings.catch_warnings(),
            ):
                warnings.filterwarnings("error", message=".*batching rule")
                yield
        finally:
            for module, mode in modes:
                module.training = mode


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def _copy(module: ModuleT) -> ModuleT:
    """A copy whose state may change, or the module itself where it cannot be copied."""
    try:
        return copy.deepcopy(module)
    except Exception:
        return module


def _keeps_batched(bank: nn.Module) -> bool:
    """Whether a module holds on to a tensor that only means something inside ``vmap``."""

    def batched(value: Any) -> bool:
        if isinstance(value, Tensor):
            return bool(torch._C._functorch.is_batchedtensor(value))
        if isinstance(value, dict):
            value = list(value.values())
        return isinstance(value, (list, tuple, set)) and any(map(batched, value))

    return any(batched(value) for module in bank.modules() for value in vars(module).values())


def _saved_bytes(bank: ExpertBank, latents: Latents, masks: Masks) -> int:
    """Bytes that one expert's pass over one view keeps for its backward pass."""
    probe = _copy(bank.experts[0]).train()
    own = {p.untyped_storage().data_ptr() for p in probe.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    devices = [latents[0].device] if latents[0].is_cuda else []
    inputs = [latent.detach().clone().requires_grad_() for latent in latents]
    with (
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        result = probe(inputs, masks)
    del result
    return sum(saved.values())


def _close(actual: Tensor, expected: Tensor) -> bool:
    """Equal but for rounding; NaN stands for itself, a broken model is reported elsewhere."""
    if not torch.equal(actual.isnan(), expected.isnan()):
        return False
    actual, expected = actual.nan_to_num().double(), expected.nan_to_num().double()
    gap = (actual - expected).norm()
    return bool(gap <= 1e-3 * expected.norm() + 1e-5 * max(expected.numel(), 1) ** 0.5)


def _said(error: Exception) -> str:
    first: Sequence[Any] = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {str(first[0])[:160]}"
