"""Single parts of the package, measured on drawn numbers: what runs of a suite cannot all reach.

A probe is a part of a registry or a kind of setting with the numbers that it gives: every task
with its loss and its metrics, every masking, objective, penalty, backbone and method, trainings
with each kind of option, statistics, what is read from outputs, and the ways of data from files to
results (:mod:`~i2moe_plugin.benchmarks.regression.ways`). All take a few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from i2moe_plugin import interpretation as interpret
from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.benchmarks.grid.failures import in_one_line
from i2moe_plugin.benchmarks.regression import ways
from i2moe_plugin.benchmarks.regression.numbers import Numbers, brief, numbers_of
from i2moe_plugin.benchmarks.run.environment import cpu_threads
from i2moe_plugin.benchmarks.statistics.equivalence import equivalent_pairs
from i2moe_plugin.benchmarks.statistics.paired import compare, holm
from i2moe_plugin.interactions.losses import OBJECTIVES, interaction_losses
from i2moe_plugin.interactions.masking import MASKINGS, create_masking
from i2moe_plugin.interactions.regularizers import PENALTIES
from i2moe_plugin.methods import METHODS, SINGLE, create_model
from i2moe_plugin.seeding import derive_seed, seeded
from i2moe_plugin.target_scale import TargetScale
from i2moe_plugin.tasks import (
    Classification,
    Multilabel,
    Regression,
    SignClassification,
    SignedRegression,
    Task,
)
from i2moe_plugin.testing import Subject
from i2moe_plugin.training import Trainer

#: A kind of task each, with every setting that changes a loss or a metric.
TASKS: dict[str, Task] = {
    "classification of 2": Classification(2),
    "classification of 3": Classification(3),
    "classification of 4, weighted, ovo": Classification(4, (1.0, 2.0, 0.5, 1.0), "ovo", True),
    "sign classification": SignClassification(),
    "multilabel": Multilabel(3),
    "regression, smooth L1": Regression(2),
    "regression, mae": Regression(2, "mae"),
    "regression, mse": Regression(2, "mse"),
    "signed regression": SignedRegression(),
}
ROWS, BATCH, EPOCHS = 48, 12, 4
LATENTS = [LatentSpec(6), LatentSpec(4)]


class Probe(BaseModel):
    """A part and its numbers.

    Attributes:
        name: of the part.
        values: what it gave; None: not a number.
        error: why it gave none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    values: list[float | None] = []
    error: str = ""


def measure_probes() -> list[Probe]:
    """Measure every part, on one thread of the CPU."""
    found = []
    with cpu_threads(1):
        for name, measure in _all():
            try:
                with seeded(0, "probe", name):
                    values = [float(value) for value in measure()]
            except Exception as error:
                found.append(Probe(name=name, error=in_one_line(error)))
            else:
                kept = [value if math.isfinite(value) else None for value in values]
                found.append(Probe(name=name, values=kept))
    return found


def _all() -> Iterator[tuple[str, Callable[[], Numbers]]]:
    for name, task in TASKS.items():
        yield f"task: {name}", partial(_judged, task)
    for name in MASKINGS:
        yield f"masking: {name}", partial(_masked, name)
    for name in OBJECTIVES:
        yield f"objective: {name}", partial(_objective, name)
    for name, penalty in PENALTIES.items():
        yield f"penalty: {name}", partial(_penalty, penalty)
    for entry in backbones:
        subject = Subject(entry)
        if all(p.default is not p.empty for p in entry.settings.values() if p.kind < p.VAR_KEYWORD):
            for kind in subject.kinds:
                yield (
                    f"backbone: {entry.name}, {kind}",
                    partial(_fused, subject, kind),
                )
    for name, options in _trainings():
        yield f"training: {name}", partial(_trained, **options)
    for name, measure in _STATISTICS.items():
        yield f"statistics: {name}", measure
    for name, read in _READINGS.items():
        yield f"interpretation: {name}", partial(_read, read)
    yield from ways.measured()


def _trainings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a training for each method, and one for each kind of option."""
    tokens = [LatentSpec(8, 3), LatentSpec(8, 2)]
    for method, facts in METHODS.items():
        name = f"{SINGLE}:synergy" if method.startswith(SINGLE) else method
        # Those that can be are trained on vectors.
        needs = facts.pooled or getattr(facts.build, "tokens", False)
        own = {"fusion": facts.fusion, "latents": tokens} if needs else {}
        yield f"method {name}", {"method": name, **own}
    yield f"method {SINGLE}:uniqueness_1", {"method": f"{SINGLE}:uniqueness_1"}
    for name, task in TASKS.items():
        yield f"task {name}", {"task": task}
    for objective in OBJECTIVES:
        yield f"objective {objective}", {"interaction_loss": objective}
    for masking in MASKINGS:
        yield f"masking {masking}", {"masking": masking, "absent": (1,)}
    for task in (Classification(3, auprc=True), SignedRegression()):
        for metric in (*task.metric_names, "loss"):
            yield f"{task.name} selected by {metric}", {"task": task, "metric": metric, "lr": 0.2}
    for plan in ("loop", "batched", "shared", "stacked"):
        yield f"plan {plan}", {"plan": plan, "fusion": "lrtf"}  # which can be run by each
    yield "memory budget", {"memory_budget": 1}
    yield "three modalities", {"latents": [*LATENTS, LatentSpec(5)]}
    yield "tokens", {"latents": tokens, "fusion": "transformer"}
    for entry in backbones:
        if entry.auxiliary and entry.latents != "vector":
            name = f"auxiliary loss of {entry.name}"
            yield name, {"latents": tokens, "fusion": entry.name, "auxiliary_weight": 1.0}
    for key, value in (
        ("clip_grad_norm", 0.05),
        ("weight_decay", 0.5),
        ("interaction_weight", 2.0),
        ("interaction_weight", 0.0),
        ("temperature", 0.25),
        ("expert_init", "independent"),
        ("reweighting_hidden", 5),
        ("reweighting_layers", 3),
        ("reweighting_dropout", 0.0),
        ("seed", 1),
    ):
        yield f"{key} {value}", {key: value}
    # At these rates the best epoch is an early one, and accuracies tie while the loss falls.
    yield "patience", {"patience": 1, "lr": 0.2}
    yield "patience and ties", {"patience": 2, "lr": 1e-6}
    yield (
        "targets in units of their own",
        {
            "task": TASKS["regression, mse"],
            "target_scale": TargetScale((50.0, -3.0), (20.0, 0.5)),
        },
    )
    yield "regularizer weight", {"method": "rep-cos", "regularizer_weight": 3.0}


def _judged(task: Task) -> Numbers:
    """Return the loss, its gradient, every metric and the decisions on drawn outputs."""
    target = _target(task, ROWS)
    prediction = torch.randn(ROWS, task.num_outputs, requires_grad=True)
    prepared = task.prepare(target)
    loss = task.loss(prediction, prepared)
    loss.backward()
    outputs, truth = prediction.detach().numpy(), prepared.numpy()
    metrics = task.metrics(outputs, truth)
    decided, right = (torch.as_tensor(x) for x in (task.decide(outputs), task.truth(truth)))
    return [
        loss.item(),
        *brief(prediction.grad),
        *metrics.values(),
        *brief(decided),
        *brief(right),
    ]


def _masked(name: str) -> Numbers:
    """Return replacements after two batches of other scales, and what stands for an absent one."""
    padded = [LatentSpec(3), LatentSpec(4, 5, padded=True)]
    masking = create_masking(name, padded)
    mask = torch.arange(5) >= torch.randint(2, 6, (BATCH, 1))
    for scale in (1.0, 3.0):
        latents = [scale * torch.randn(BATCH, *spec.shape) + 1 for spec in padded]
        masking.observe(latents, [None, mask])
    drawn = masking(latents, 4, [None, mask])
    absent = [masking.absent(latent, place) for place, latent in enumerate(latents)]
    # Of each expert, and of the experts' difference: noise of their own.
    each = [one for tensor in drawn for one in (tensor, tensor[0] - tensor[1])]
    return [number for tensor in (*each, *absent) for number in brief(tensor)]


def _objective(name: str) -> Numbers:
    """Return every expert's loss and its gradient, of 2 and of 3 modalities."""
    found: list[float] = []
    for modalities in (2, 3):
        outputs = torch.randn(modalities + 2, modalities + 1, BATCH, 3, requires_grad=True)
        losses = interaction_losses(outputs, name)
        gradient = torch.autograd.grad(losses @ torch.arange(1.0, len(losses) + 1), outputs)[0]
        found += [*losses.tolist(), *brief(gradient)]
    return found


def _penalty(penalty: Any) -> Numbers:
    fused = torch.randn(4, BATCH, 5, requires_grad=True)
    values = [penalty(fused, epoch) for epoch in (1, 30)]
    torch.stack(values).sum().backward()
    return [*(value.item() for value in values), *brief(fused.grad)]


def _fused(subject: Subject, kind: str) -> Numbers:
    """Return a backbone's outputs in both modes, its auxiliary loss, and its gradient."""
    latents = subject.latents(kind)
    backbone = subject.build(latents)
    inputs = subject.draw(latents)
    found: list[float] = [sum(p.numel() for p in backbone.parameters())]
    for training in (False, True):
        output, auxiliary = backbone.train(training)(inputs)
        found += [*brief(output), auxiliary.item()]
    (output.square().sum() + auxiliary).backward()
    gradients = [p.grad.flatten() for p in backbone.parameters() if p.grad is not None]
    return [*found, *brief(torch.cat(gradients))]


def _trained(
    method: str = "i2moe",
    task: Task = TASKS["classification of 3"],
    fusion: str = "concat",
    latents: Sequence[LatentSpec] = LATENTS,
    metric: str = "",
    lr: float = 0.02,
    absent: Sequence[int] = (),
    seed: int = 0,
    clip_grad_norm: float | None = None,
    weight_decay: float = 0.0,
    patience: int | None = None,
    target_scale: TargetScale | None = None,
    **settings: Any,
) -> Numbers:
    """Return what a few epochs on drawn data give: losses, the best epoch, and its predictions."""

    def build(num_outputs: int = task.num_outputs) -> nn.Module:
        return create_backbone(fusion, latents, num_outputs)

    encoders = [nn.Linear(spec.dim, spec.dim) for spec in latents]
    model = create_model(method, encoders, latents, build, task, **settings)
    trainer = Trainer(
        model,
        metric=metric or task.metric_names[0],
        lr=lr,
        weight_decay=weight_decay,
        clip_grad_norm=clip_grad_norm,
        seed=seed,
        patience=patience,
        target_scale=target_scale,
        fabric=Fabric(accelerator="cpu", devices=1),
    )
    train, valid, test = (_loader(task, latents) for _ in range(3))
    trainer.fit(train, valid, EPOCHS)
    found: list[float] = [trainer.best_epoch]
    for record in trainer.history:
        found += [value for part in (record["train"], record["valid"])
                  for entry in part.values() for value in np.ravel(entry)]  # fmt: skip
    results = [trainer.predict(test), *([trainer.predict(test, absent)] if absent else [])]
    for result in results:
        found += [result.loss, *brief(torch.from_numpy(result.prediction))]
        if result.weights is not None:
            found += brief(torch.from_numpy(result.weights))
    return found


def _loader(task: Task, latents: Sequence[LatentSpec]) -> DataLoader[Any]:
    target = _target(task, ROWS)
    told = target.reshape(ROWS, -1)[:, :1].float()
    inputs = [torch.randn(ROWS, *spec.shape) for spec in latents]
    inputs = [one + 0.5 * told.reshape(ROWS, *[1] * (one.dim() - 1)) for one in inputs]
    return DataLoader(TensorDataset(*inputs, target), batch_size=BATCH)


def _target(task: Task, rows: int) -> Tensor:
    """Draw targets in which every class, label and sign is there."""
    if isinstance(task, Multilabel):
        return (torch.rand(rows, task.num_outputs) < 0.4).float()
    if isinstance(task, SignClassification | SignedRegression):
        scores = torch.randn(rows)
        scores[::6] = 0.0
        return scores
    if isinstance(task, Classification):
        label = torch.arange(rows)[torch.randperm(rows)] % task.num_outputs
        if task.class_weights is not None:  # of equal classes, ovo and ovr are the same AUROC
            label[(label == 1) & (torch.arange(rows) % 3 > 0)] = 0
        return label
    return torch.randn(rows, task.num_outputs)


def _outputs() -> interpret.Outputs:
    rows, classes, experts = 60, 3, 4
    target = np.arange(rows) % classes
    said = np.eye(classes)[target][:, None] + torch.randn(rows, experts, classes).numpy()
    weights = torch.softmax(torch.randn(rows, experts), 1).numpy()
    return interpret.Outputs(
        task=Classification(classes),
        class_names=("a", "b", "c"),
        modalities=("x", "y"),
        experts=("uniqueness_1", "uniqueness_2", "synergy", "redundancy"),
        prediction=np.einsum("ne,nec->nc", weights, said),
        target=target,
        sample_id=np.array([f"s{row}" for row in range(rows)]),
        expert_outputs=said,
        weights=weights,
    )


def _read(read: Callable[[interpret.Outputs], Any]) -> Numbers:
    return numbers_of(read(_outputs()))


def _compared(metric: str) -> Numbers:
    return numbers_of(compare(metric, _FIRST, _SECOND).as_dict())


_FIRST = (0.61, 0.64, 0.58, 0.66, 0.63)
_SECOND = (0.66, 0.65, 0.64, 0.71, 0.62)
_STATISTICS: dict[str, Callable[[], Numbers]] = {
    **{f"comparison on {metric}": partial(_compared, metric) for metric in ("accuracy", "mae")},
    "verdicts": lambda: [
        ["worse", "no difference shown", "better", "too few seeds to tell"].index(
            compare(metric, [x + shift for x in _FIRST[:seeds]], _FIRST[:seeds]).verdict
        )
        for metric in ("accuracy", "mae")
        for shift in (-0.1, 0.0, 0.1)
        for seeds in (2, 5)
    ],
    "Holm": lambda: holm([0.01, 0.04, 0.03, 0.5]),
    "equivalence": lambda: numbers_of(equivalent_pairs(_FIRST, _SECOND, 0.05).as_dict()),
    "seeds": lambda: [derive_seed(3, "epoch", 2) % 1_000_003, derive_seed(0) % 1_000_003],
}
_READINGS: dict[str, Callable[[interpret.Outputs], Any]] = {
    "weights by class": lambda outputs: interpret.weight_summary(outputs, "class"),
    "experts alone": lambda outputs: interpret.expert_metrics(outputs, ["accuracy", "macro_f1"]),
    "deletion": lambda outputs: interpret.deletion(outputs, "accuracy"),
    "agreement": interpret.agreement,
    "calibration": interpret.calibration,
    "one sample": lambda outputs: interpret.explain(outputs, "s7", 3).experts,
}
