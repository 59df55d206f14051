"""The output of a batch that is shared out, put together again for its losses."""

from __future__ import annotations

import torch
from torch import Tensor

from i2moe_plugin.multimodal import ModelOutput
from i2moe_plugin.shares import gathered, is_shared, joined_sum, of_ranks, share_of_batch


def join(output: ModelOutput, target: Tensor) -> tuple[ModelOutput, Tensor]:
    """Gather the outputs and targets of all shares, in the ranks' order.

    The gradient of a loss of the joined output is, at a rank's own outputs, that of one process;
    summed over ranks, the parameters' gradients are too. The auxiliary loss is the shares' mean,
    each counting as many times as it has samples.
    """
    if not is_shared():
        return output, target
    own = output.auxiliary * share_of_batch()
    unmasked = output.unmasked
    if any(of_ranks(int(unmasked is not None), target)):  # some sample lacks a modality
        if unmasked is None:
            views = len(output.views) - 1
            unmasked = torch.ones(views, len(target), dtype=torch.bool, device=target.device)
        unmasked = gathered(unmasked.to(torch.uint8), 1).bool()
    joined = ModelOutput(
        prediction=gathered(output.prediction, 0),
        auxiliary=own + (joined_sum(own) - own.detach()),
        outputs=None if output.outputs is None else gathered(output.outputs, 2),
        weights=None if output.weights is None else gathered(output.weights, 0),
        views=output.views,
        fused=None if output.fused is None else gathered(output.fused, 2),
        unmasked=unmasked,
    )
    return joined, gathered(target, 0)
