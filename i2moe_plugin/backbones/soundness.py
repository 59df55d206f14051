"""What makes a backbone's numbers wrong without an error, looked for before a run trains it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from i2moe_plugin.backbones.latents import LatentSpec, lengthen
from i2moe_plugin.backbones.wrapper import Backbone
from i2moe_plugin.errors import ChangesLatentsError
from i2moe_plugin.seeding import seeded

SAMPLES = 5
#: How torch's batch norm says that it cannot be trained on one sample.
NORM_OF_ONE = "Expected more than 1 value per channel when training"


def unsound(backbone: Backbone, latents: Sequence[LatentSpec]) -> list[str]:
    """Say what makes the figures of a backbone doubtful, one sentence each.

    It is tried on a copy, with drawn latents, in training and in evaluation mode. What fails with
    an error of its own is left to the run.

    Args:
        backbone: stays as it is.
        latents: the shapes that it was built for.

    Raises:
        BackboneError: it changes the latents in place, which the other experts see too.
    """
    with torch.no_grad(), seeded(0, "soundness"):
        tried = copy.deepcopy(backbone)
        like = next(tried.parameters(), torch.zeros(()))
        scales = torch.linspace(0.3, 3, SAMPLES).to(like)  # unlike samples, so that mixing shows
        values = [
            scales.view(-1, *[1] * len(spec.shape))
            * like.new_empty((SAMPLES, *spec.shape)).normal_()
            for spec in latents
        ]
        for training in (True, False):
            _refuse_changes(backbone, tried.train(training), values)
        try:
            found = _repeats(tried, values) or _mixes(tried, values)
            return list(filter(None, [found or _reads_padding(tried, values, latents)]))
        except Exception:  # whatever a user's module raises shows in the run
            return []


def _refuse_changes(backbone: Backbone, tried: Backbone, values: Sequence[Tensor]) -> None:
    given = [value.clone() for value in values]
    try:
        tried(given)
    except Exception:
        return
    changed = [
        str(number)
        for number, (one, other) in enumerate(zip(given, values, strict=True), start=1)
        if not torch.equal(one, other)
    ]
    if changed:
        mode = "training" if tried.training else "evaluation"
        raise ChangesLatentsError(
            f"backbone {backbone.entry.name!r} changes the latent of modality "
            f"{', '.join(changed)} in place in {mode} mode, and so what the other experts see; "
            "write x = x + y instead of x += y or x.add_(y)."
        )


def _repeats(tried: Backbone, values: Sequence[Tensor]) -> str:
    """Compare calls on the same latents: with the same random numbers, and with others."""
    name = tried.entry.name

    def call(seed: int) -> Tensor:
        with seeded(seed, "soundness"):
            return tried(list(values))[0]

    first = call(0)
    tried([value.flip(0) for value in values])
    if not torch.equal(call(0), first):
        return (
            f"Backbone {name!r} keeps something from call to call in evaluation mode: its outputs "
            "depend on the batches before, and so do these figures."
        )
    if not torch.equal(call(1), first):
        return (
            f"Backbone {name!r} draws random numbers in evaluation mode (dropout that does not ask "
            "self.training?): these figures would be others at each test."
        )
    return ""


def _mixes(tried: Backbone, values: Sequence[Tensor]) -> str:
    """Compare each sample alone with the same one among others."""
    together = tried(list(values))[0]
    for row in range(SAMPLES):
        alone = tried([value[row : row + 1] for value in values])[0][0]
        if not torch.allclose(alone, together[row], rtol=1e-3, atol=1e-4):
            return (
                f"Backbone {tried.entry.name!r} lets samples of a batch see each other in "
                f"evaluation mode (a sample alone differs by "
                f"{(alone - together[row]).abs().max():.2g}): these figures depend on the batch "
                "size and on the order of the samples. Is nn.MultiheadAttention given "
                "batch_first=True?"
            )
    return ""


def _reads_padding(tried: Backbone, values: Sequence[Tensor], latents: Sequence[LatentSpec]) -> str:
    """Compare samples of half as many tokens with the same ones padded, as beside longer ones."""
    if not any(spec.padded for spec in latents):
        return ""

    def call(padded: bool) -> Tensor:
        given: list[tuple[Tensor, Tensor | None]] = []
        for value, spec in zip(values, latents, strict=True):
            if spec.padded:
                short = value[:, : (value.shape[1] + 1) // 2]
                mask = torch.zeros(short.shape[:2], dtype=torch.bool, device=value.device)
                given.append(lengthen(short, mask, value.shape[1] if padded else 0))
            else:
                given.append((value, None))
        return tried([value for value, _ in given], [mask for _, mask in given])[0]

    short, long = call(padded=False), call(padded=True)
    if torch.allclose(short, long, rtol=1e-3, atol=1e-4):
        return ""
    return (
        f"Backbone {tried.entry.name!r} takes padding for data (samples that are padded to twice "
        f"their length differ by {(short - long).abs().max():.2g}): these figures depend on the "
        "batch size and on the order of the samples, since a batch is padded to its longest one."
    )
