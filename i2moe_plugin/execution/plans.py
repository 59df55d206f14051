"""How the passes of an expert bank are run: plans that give the same numbers.

Two questions make a plan: how one expert runs its views (:data:`VIEWS`), and whether the experts
run one after another or all at once (:func:`stacked`).

| plan | experts | views |
|---|---|---|
| ``loop`` | one by one | one by one: the reference |
| ``batched`` | one by one | behind one another along the batch |
| ``shared`` | one by one | what views have in common computed once, where the backbone says how |
| ``stacked`` | all at once | ``shared`` where the backbone factors, otherwise ``batched`` |

Where a backbone's samples see each other (batch statistics, a loss over the batch), views must not
share a batch; ``stacked`` then maps over them (``mapped``), each keeping a batch of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: E modules of one kind: latents -> ([B, C], auxiliary loss).
Experts = nn.ModuleList
Latents = Sequence[Tensor]
Masks = Sequence[Tensor | None] | None
#: What stands for each modality where a view masks it, or None where none does.
Replacements = Sequence[Tensor | None]
#: (expert, latents M x [B, ...], replacements M x [B, ...], masks) ->
#: outputs [V, B, C], auxiliary loss (mean over views)
ViewPlan = Callable[[nn.Module, Latents, Replacements, Masks], tuple[Tensor, Tensor]]
Views = Literal["loop", "batched", "shared", "mapped"]


@runtime_checkable
class Factored(Protocol):
    """A module whose work on one modality needs no other: forward = combine(encodings).

    Rows (the first dimension) never mix in either. A fusion that has both methods is one; so is
    a :class:`~i2moe_plugin.backbones.wrapper.Backbone` around it.
    """

    def encode_modality(
        self, modality: int, latent: Tensor, padding_mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What is computed from one modality alone: tensors with rows first."""
        ...

    def combine(
        self,
        parts: Sequence[tuple[Tensor, ...]],
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> Any:
        """The rest of forward, from the M modalities' encodings."""
        ...


@runtime_checkable
class SeesViews(Protocol):
    """A module that takes all views at once, and computes once what they have in common.

    For one that does the same to all modalities: together that takes fewer, larger operators than
    ``Factored``.
    """

    def forward_views(
        self,
        views: Sequence[Sequence[Tensor]],
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> Any:
        """V views of M latents -> outputs [V, B, ...]; what is not masked is the same object."""
        ...


def factors(expert: nn.Module) -> bool:
    """Whether an expert says what it computes from each modality alone."""
    return bool(getattr(expert, "factored", isinstance(expert, Factored)))


def sees_views(expert: nn.Module) -> bool:
    """Whether an expert takes all views at once."""
    return bool(getattr(expert, "sees_views", isinstance(expert, SeesViews)))


def shares(expert: nn.Module) -> bool:
    """Whether an expert's views can share work: the ``shared`` plan."""
    return factors(expert) or sees_views(expert)


def looped(
    expert: nn.Module, latents: Latents, new: Replacements, masks: Masks
) -> tuple[Tensor, Tensor]:
    """Run one pass a view."""
    # A list of its own for each view: a fusion that empties its list harms no other.
    results = [expert(view, masks) for view in _each_view(latents, new)]
    outputs, auxiliaries = zip(*results, strict=True)
    return torch.stack(outputs), torch.stack(auxiliaries).mean()


def batched(
    expert: nn.Module, latents: Latents, new: Replacements, masks: Masks
) -> tuple[Tensor, Tensor]:
    """Run all views in one pass, behind one another along the batch."""
    return _group(expert, _each_view(latents, new), masks)


def shared(
    expert: nn.Module, latents: Latents, new: Replacements, masks: Masks
) -> tuple[Tensor, Tensor]:
    """Encode each modality once clean and once masked, and combine views from the encodings.

    2M encodings instead of M(M+1). Or as the backbone does it, where it takes all views at once.
    """
    if sees_views(expert):
        return cast(Any, expert).forward_views(_each_view(latents, new), masks)
    module, batch = cast(Factored, expert), latents[0].shape[0]
    masked = [modality for modality, own in enumerate(new) if own is not None]
    views = len(masked) + 1
    both = _tall(masks, 2)
    parts = []
    for modality, (latent, own) in enumerate(zip(latents, new, strict=True)):
        if own is None:
            mask = None if masks is None else masks[modality]
            encoded = module.encode_modality(modality, latent, mask)
            parts.append(tuple(torch.cat([tensor] * views) for tensor in encoded))
            continue
        encoded = module.encode_modality(
            modality, torch.cat([latent, own]), None if both is None else both[modality]
        )
        # Clean everywhere but in its own view, where the masked one stands.
        part = []
        for tensor in encoded:
            clean, replaced = tensor.unflatten(0, (2, batch))
            place = masked.index(modality) + 1
            # Expanded: the gradient of the clean one is then a sum, not one addition a view.
            before = clean.expand(place, *clean.shape)
            after = clean.expand(views - place - 1, *clean.shape)
            part.append(torch.cat([before, replaced.unsqueeze(0), after]).flatten(0, 1))
        parts.append(tuple(part))
    output, auxiliary = module.combine(parts, _tall(masks, views))
    return output.unflatten(0, (views, -1)), auxiliary


def row_once(
    expert: nn.Module, latents: Latents, new: Replacements, masks: Masks
) -> tuple[Tensor, Tensor]:
    """Run the complete view of a factored expert, where a latent may be one row for all samples.

    What the expert makes of such a latent by itself is then computed for that one row.
    """
    module, batch = cast(Factored, expert), max(map(len, latents))
    parts = [
        tuple(for_all(module.encode_modality(m, latent, mask), batch))
        for m, (latent, mask) in enumerate(
            zip(latents, masks or [None] * len(latents), strict=True)
        )
    ]
    output, auxiliary = module.combine(parts, masks)
    return output.unsqueeze(0), auxiliary


def for_all(tensors: Sequence[Tensor], batch: int | None = None) -> list[Tensor]:
    """Tensors with the largest number of rows among them (or so many), for those of a single row.

    >>> [x.shape[0] for x in for_all([torch.zeros(1, 2), torch.zeros(5, 3)])]
    [5, 5]
    """
    rows = max(map(len, tensors)) if batch is None else batch
    return [x if len(x) == rows else x.expand(rows, *x.shape[1:]) for x in tensors]


def mapped(
    expert: nn.Module, latents: Latents, new: Replacements, masks: Masks
) -> tuple[Tensor, Tensor]:
    """Run all views at once, each with a batch of its own."""
    rows = [torch.stack(column) for column in zip(*_each_view(latents, new), strict=True)]
    run = torch.vmap(lambda *view: expert(list(view), masks), randomness="different")
    output, auxiliary = run(*rows)
    return output, auxiliary.mean()


def recomputed(plan: ViewPlan, chunk: int) -> ViewPlan:
    """Make a plan keep no activations: it runs ``chunk`` views at a time again in the backward.

    The same random numbers are drawn again. Groups smaller than all views are run as ``batched``.
    """

    def run(
        expert: nn.Module, latents: Latents, new: Replacements, masks: Masks
    ) -> tuple[Tensor, Tensor]:
        if chunk > sum(own is not None for own in new):
            return checkpoint(plan, expert, latents, new, masks, use_reentrant=False)
        views = _each_view(latents, new)
        outputs: list[Tensor] = []
        auxiliary = latents[0].new_zeros(())
        for start in range(0, len(views), chunk):
            group = views[start : start + chunk]
            output, loss = checkpoint(_group, expert, group, masks, use_reentrant=False)
            outputs.append(output)
            auxiliary = auxiliary + loss * (len(group) / len(views))
        return torch.cat(outputs), auxiliary

    return run


def _group(expert: nn.Module, views: list[list[Tensor]], masks: Masks) -> tuple[Tensor, Tensor]:
    rows = [torch.cat(column) for column in zip(*views, strict=True)]
    output, auxiliary = expert(rows, _tall(masks, len(views)))
    return output.unflatten(0, (len(views), -1)), auxiliary


VIEWS: dict[Views, ViewPlan] = {
    "loop": looped,
    "batched": batched,
    "shared": shared,
    "mapped": mapped,
}


def run_experts(
    experts: Experts,
    plan: str,
    views: Views,
    latents: Latents,
    replacements: Replacements | None,
    masks: Masks,
    *,
    chunk: int = 0,
) -> tuple[Tensor, Tensor]:
    """Run every expert on every view.

    Args:
        experts: E modules.
        plan: ``stacked``; with any other, one expert is run after another.
        views: how an expert runs its views.
        latents: M tensors [B, ...].
        replacements: M tensors [E, B, ...], or None where no view masks a modality; without any,
            only the complete view is run.
        masks: the padding masks, None or [B, T] each.
        chunk: views to recompute at a time in the backward pass; 0: none.

    Returns:
        outputs [E, V, B, C]; the auxiliary loss, its mean over experts and views.
    """
    run = VIEWS["loop" if replacements is None else views]
    if chunk and replacements is not None and torch.is_grad_enabled():
        run = recomputed(run, chunk)
    if plan == "stacked":
        return _stacked(experts, run, latents, replacements or (), masks)
    outputs, auxiliaries = [], []
    for index, expert in enumerate(experts):
        new = [None if each is None else each[index] for each in replacements or ()]
        output, auxiliary = run(expert, latents, new, masks)
        outputs.append(output)
        auxiliaries.append(auxiliary)
    return torch.stack(outputs), torch.stack(auxiliaries).mean()


def _stacked(
    experts: Experts, views: ViewPlan, latents: Latents, replacements: Replacements, masks: Masks
) -> tuple[Tensor, Tensor]:
    """Run all experts at once, by ``torch.vmap`` over their stacked parameters and buffers."""
    module = _Views(experts[0], views)
    named = {f"expert.{name}": tensor for name, tensor in _joined(experts).items()}

    def run(
        own: dict[str, Tensor], clean: list[Tensor], new: list[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(module, own, (clean, new, masks))

    clean, new, each = list(latents), list(replacements), None
    if not new and module.training:
        # Each expert draws its own noise, also for what it does to the latents themselves.
        clean, each = [x.expand(len(experts), *x.shape) for x in clean], 0
    over = (0, each, [None if own is None else 0 for own in new])
    outputs, auxiliary = torch.vmap(run, in_dims=over, randomness="different")(named, clean, new)
    return outputs, auxiliary.mean()


def apart(experts: Experts, latents: Sequence[Latents]) -> tuple[Tensor, Tensor]:
    """Run all experts at once, each on latents of its own, of the same shapes.

    Args:
        experts: E modules of one structure.
        latents: for each expert M tensors [B, ...].

    Returns:
        outputs [E, B, C]; auxiliary losses [E].
    """
    columns = [torch.stack(column) for column in zip(*latents, strict=True)]

    def run(own: dict[str, Tensor], views: list[Tensor]) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(experts[0], own, (views, None))

    return torch.vmap(run, randomness="different")(_joined(experts), columns)


def _joined(experts: Experts) -> dict[str, Tensor]:
    """Return parameters and buffers by name, each [E, ...]; gradients reach the experts' own.

    The experts keep their own parameters, under their own names, for optimizers, checkpoints and
    copies. Only where those lie changes: side by side in one tensor, so that no step copies them.
    """
    rows = [dict(expert.named_parameters()) for expert in experts]
    columns = [[row[name] for row in rows] for name in rows[0]]
    whole = map(_side_by_side, columns)
    joined = _Join.apply(len(rows), *whole, *(p for column in columns for p in column))
    tensors = dict(zip(rows[0], joined, strict=True))
    buffers = [dict(expert.named_buffers()) for expert in experts]
    return tensors | {name: torch.stack([row[name] for row in buffers]) for name in buffers[0]}


def _side_by_side(column: Sequence[nn.Parameter]) -> Tensor:
    """Return E like parameters as one tensor [E, ...] that they are views of, from now on."""
    first, step = column[0].detach(), column[0].numel()
    start, storage = first.storage_offset(), first.untyped_storage().data_ptr()
    if all(
        parameter.untyped_storage().data_ptr() == storage
        and parameter.storage_offset() == start + place * step
        and parameter.is_contiguous()
        for place, parameter in enumerate(column)
    ):
        return first.as_strided((len(column), *first.shape), (step, *first.stride()))
    joined = torch.stack([parameter.detach() for parameter in column])
    for place, parameter in zip(joined, column, strict=True):
        parameter.data = place
    return joined


class _Join(torch.autograd.Function):
    """[E, ...] tensors whose gradient goes to the E parameters that lie in each."""

    @staticmethod
    def forward(ctx: Any, experts: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(tensors) // (experts + 1)
        ctx.experts = experts
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        parts: list[Tensor | None] = [None] * (1 + len(gradients))
        for gradient in gradients:
            # Laid out as the parameters are, once for all: torch would copy each part otherwise.
            parts += [None] * ctx.experts if gradient is None else gradient.contiguous().unbind()
        return tuple(parts)


class _Views(nn.Module):
    """An expert behind one of :data:`VIEWS`, so that a functional call covers all of them."""

    def __init__(self, expert: nn.Module, views: ViewPlan) -> None:
        super().__init__()
        self.expert, self.views = expert, views
        self.training = expert.training

    def forward(self, latents: Latents, new: Replacements, masks: Masks) -> tuple[Tensor, Tensor]:
        """Run the views; see :data:`ViewPlan`."""
        return self.views(self.expert, latents, new, masks)


def unlike(modules: Experts) -> str:
    """Why modules cannot be stacked; empty where they can."""
    forms = [
        {
            name: (tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad)
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]
        }
        for module in modules
    ]
    if any(form != forms[0] for form in forms):
        return "the experts' parameters differ in name, shape or type"
    return "" if forms[0] else "the backbone has no parameters"


def _each_view(latents: Latents, new: Replacements) -> list[list[Tensor]]:
    """List the complete view, then each modality replaced that has a replacement."""
    views = [list(latents)]
    for modality, own in enumerate(new):
        if own is not None:
            view = list(latents)
            view[modality] = own
            views.append(view)
    return views


def _tall(masks: Masks, times: int) -> list[Tensor | None] | None:
    if masks is None:
        return None
    return [None if mask is None else mask.repeat(times, 1) for mask in masks]
