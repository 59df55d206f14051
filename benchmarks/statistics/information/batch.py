"""BATCH: BROJA's decomposition estimated by networks, batch by batch (Liang et al., NeurIPS 2023).

Restated from the paper. Three networks estimate p(y|x_1), p(y|x_2) and p(y|x_1,x_2). Two further
networks give each pair of samples of a batch a score for each label; scaled to the margins
p(y|x_1) and p(y|x_2) by Sinkhorn's iterations, the scores are a distribution q(x_1,x_2,y) over the
batch that keeps P(x_1,y) and P(x_2,y), and the networks are trained to make I_q(x_1,x_2;y) least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.statistics.information.decompositions import Decomposition
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.seeding import derive_seed, seeded

Array = NDArray[Any]
LN2 = math.log(2)
SMALLEST = 1e-30


@dataclass(frozen=True)
class BatchSettings:
    """Settings of the networks; defaults are those of the released code.

    Attributes:
        hidden, layers: width and number of hidden layers.
        epochs, alignment_epochs: of the discriminators and of the alignment.
        batch_size: also the size of the distribution that is aligned.
        lr: Adam's.
        embedding: numbers for each label and sample, whose products are the scores.
        sinkhorn: most iterations; ``tolerance``: of the margins, at which they stop.
    """

    hidden: int = 32
    layers: int = 3
    epochs: int = 40
    alignment_epochs: int = 10
    batch_size: int = 256
    lr: float = 1e-3
    embedding: int = 10
    sinkhorn: int = 500
    tolerance: float = 0.01


def batch_estimate(
    train: Sequence[Array],
    labels: Array,
    test: Sequence[Array],
    *,
    settings: BatchSettings | None = None,
    seed: int = 0,
) -> Decomposition:
    """Estimate BROJA's decomposition of two modalities by networks.

    Args:
        train: two arrays [N, d_m] to train on; standardise them.
        labels: [N] of int.
        test: two arrays [N', d_m] whose bits are given; their labels are not needed.
        settings: of the networks.
        seed: of weights and batches.

    Returns:
        Means over batches of the test samples; parts below 0 are given as 0.

    Raises:
        ConfigError: not two modalities, or a single test sample.
    """
    if len(train) != 2 or len(test) != 2:
        raise ConfigError(f"BATCH decomposes 2 modalities, not {len(train)}.")
    if len(test[0]) < 2:
        raise ConfigError(
            f"BATCH aligns test samples with each other: there must be 2, not {len(test[0])}."
        )
    chosen = settings or BatchSettings()
    x = [_flat(part) for part in train]
    y = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
    count = int(y.max()) + 1
    inputs = [x[0], x[1], torch.cat(x, 1)]
    with seeded(seed, "batch estimate"):
        known = [_mlp(part.shape[1], count, chosen) for part in inputs]
        for place, (network, part) in enumerate(zip(known, inputs, strict=True)):
            _discriminate(network, part, y, chosen, derive_seed(seed, "discriminator", place))
        aligned = nn.ModuleList(_mlp(part.shape[1], count * chosen.embedding, chosen) for part in x)
        _align(aligned, known, x, chosen, derive_seed(seed, "alignment"))
    shown = [_flat(part) for part in test]
    bits = []
    with torch.no_grad():
        # A single sample that is left over cannot be aligned: it is in no batch, and not counted.
        batches = [
            one for one in torch.arange(len(shown[0])).split(chosen.batch_size) if len(one) > 1
        ]
        for rows in batches:
            batch = [part[rows] for part in shown]
            bits.append(_bits(aligned, known, batch, chosen) * len(rows))
        mean = torch.stack(bits).sum(0) / sum(map(len, batches)) / LN2
    first, second, together, least = (float(value) for value in mean)
    redundancy = first + second - least
    unique = (max(0.0, first - redundancy), max(0.0, second - redundancy))
    return Decomposition(unique, max(0.0, together - least), max(0.0, redundancy), "BROJA")


def _flat(x: Array) -> Tensor:
    return torch.as_tensor(np.reshape(x, (len(x), -1)), dtype=torch.float32)


def _mlp(width: int, outputs: int, settings: BatchSettings) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(settings.layers):
        layers += [nn.Linear(width, settings.hidden), nn.ReLU()]
        width = settings.hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _batches(count: int, size: int, epochs: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        rows
        for _ in range(epochs)
        for rows in torch.randperm(count, generator=generator).split(size)
        if len(rows) > 1
    ]


def _discriminate(
    network: nn.Module, x: Tensor, y: Tensor, settings: BatchSettings, seed: int
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    for rows in _batches(len(y), settings.batch_size, settings.epochs, seed):
        loss = F.cross_entropy(network(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _align(
    aligned: nn.ModuleList,
    known: Sequence[nn.Module],
    x: Sequence[Tensor],
    settings: BatchSettings,
    seed: int,
) -> None:
    optimizer = torch.optim.Adam(aligned.parameters(), lr=settings.lr)
    for rows in _batches(len(x[0]), settings.batch_size, settings.alignment_epochs, seed):
        least = _bits(aligned, known, [part[rows] for part in x], settings)[3]
        optimizer.zero_grad()
        least.backward()
        optimizer.step()


def _bits(
    aligned: nn.ModuleList,
    known: Sequence[nn.Module],
    batch: Sequence[Tensor],
    settings: BatchSettings,
) -> Tensor:
    """[4] in nats: I(x_1;y), I(x_2;y), I(x_1,x_2;y) and I_q(x_1,x_2;y) of one batch."""
    size = len(batch[0])
    with torch.no_grad():
        inputs = [batch[0], batch[1], torch.cat(list(batch), 1)]
        says = [F.log_softmax(net(part), 1) for net, part in zip(known, inputs, strict=True)]
        # P(x, y): [Y, B]; never 0, whose logarithm Sinkhorn could not scale.
        margins = [(said.exp() / size).T.clamp_min(SMALLEST) for said in says[:2]]
        target = (margins[0] + margins[1]).sum(1) / 2
        # Sinkhorn needs margins of the same sums.
        margins = [m * (target / m.sum(1))[:, None] for m in margins]
    scores = []
    for network, part in zip(aligned, batch, strict=True):
        embedded = network(part).view(size, -1, settings.embedding)
        scores.append(F.layer_norm(embedded, embedded.shape[-1:]).transpose(0, 1))
    logs = scores[0] @ scores[1].transpose(1, 2) / math.sqrt(settings.embedding)  # [Y, B, B]
    joint = _sinkhorn(logs, margins[0], margins[1], settings)
    conditional = torch.log_softmax(joint, 0)
    least = (joint.exp() * (conditional - target.log()[:, None, None])).sum()
    informations = [(said.exp() * (said - target.log())).sum(1).mean() for said in says]
    return torch.stack([*informations, least])


def _sinkhorn(logs: Tensor, rows: Tensor, columns: Tensor, settings: BatchSettings) -> Tensor:
    """Logarithms [Y, B, B] scaled until rows and columns have these sums [Y, B]."""
    log_rows, log_columns = rows.log()[:, :, None], columns.log()[:, None, :]
    for _ in range(settings.sinkhorn):
        logs = logs - logs.logsumexp(2, keepdim=True) + log_rows
        logs = logs - logs.logsumexp(1, keepdim=True) + log_columns
        with torch.no_grad():
            missed = (logs.logsumexp(2).exp() - rows).abs().sum()
        if missed < settings.tolerance:
            break
    return logs
