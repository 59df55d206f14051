"""Estimators of interactions side by side, on a run or on a data set, to see whether they agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.run.mixed import TrainedModel
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.benchmarks.run.trained import data_of
from i2moe_plugin.benchmarks.statistics.information.batch import batch_estimate
from i2moe_plugin.benchmarks.statistics.information.clustered import clustered
from i2moe_plugin.benchmarks.statistics.information.decompositions import Decomposition
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.experts import expert_names
from i2moe_plugin.interpretation import (
    additive_projection,
    coalition_values,
    evidence,
    intershap,
)
from i2moe_plugin.tasks import Classification

Array = NDArray[Any]
#: Test samples that models are asked about, and draws for each.
SAMPLES, DRAWS = 400, 20


@dataclass
class Estimates:
    """What each estimator says.

    Attributes:
        subject: the run's or data set's name.
        modalities: their names.
        parts: bits of uniqueness_1..M, synergy, redundancy, by the estimator's name, with the
            definition it estimates.
        errors: standard errors of those that have some.
        model: what a trained model makes of interactions: shares and metrics, by name.
        missing: why an estimator says nothing, by its name.
    """

    subject: str
    modalities: tuple[str, ...]
    parts: dict[str, tuple[str, list[float]]] = field(default_factory=dict)
    errors: dict[str, list[float]] = field(default_factory=dict)
    model: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        names = expert_names(len(self.modalities))
        return {
            "subject": self.subject,
            "modalities": list(self.modalities),
            "parts": [
                {
                    "estimator": name,
                    "definition": definition,
                    "bits": dict(zip(names, bits, strict=True)),
                    "errors": dict(zip(names, self.errors[name], strict=True))
                    if name in self.errors
                    else None,
                }
                for name, (definition, bits) in self.parts.items()
            ],
            "model": self.model,
            "missing": self.missing,
        }


def of_dataset(data: OpenedDataset, *, clusters: int = 20, seed: int = 0) -> Estimates:
    """Estimate BROJA's parts of a data set of two modalities: by clusters, and by networks.

    Args:
        data: with two modalities of plain features, and classes.
        clusters: of each modality.
        seed: of the clustering and of the networks.
    """
    found = Estimates(data.name, data.modalities)
    reason = _why_not(data)
    features = [] if reason else data.prepare().features()
    plain = [one for one in features if one is not None]
    if not reason and len(plain) < 2:
        pairs = zip(data.modalities, features, strict=False)
        names = [name for name, one in pairs if one is None] or ["a checkout's batches"]
        reason = f"{' and '.join(names)}: no plain features"
    if reason:
        found.missing = dict.fromkeys(("clusters (CVX)", "networks (BATCH)"), reason)
        return found
    labels = {name: np.asarray(data.labels(name)).astype(int) for name in SPLITS}
    every = [np.concatenate([one[name] for name in SPLITS]) for one in plain]
    all_labels = np.concatenate([labels[name] for name in SPLITS])
    by_clusters = clustered(every, all_labels, clusters=clusters, seed=seed)
    _keep(found, "clusters (CVX)", by_clusters)
    train, test = ([one[name] for one in plain] for name in ("train", "test"))
    try:
        _keep(found, "networks (BATCH)", batch_estimate(train, labels["train"], test, seed=seed))
    except ConfigError as error:  # too few test samples
        found.missing["networks (BATCH)"] = str(error)
    count = len(all_labels)
    classes = data.task.num_outputs
    found.model["bits that counting alone invents in clusters"] = float(
        clusters**2 * (classes - 1) / (2 * count * np.log(2))
    )
    return found


def of_run(run: Run, root: str | None = None, *, seed: int = 0) -> Estimates:
    """Estimate the interactions in a run's data, and what its model makes of them.

    Args:
        run: a finished run.
        root: where its data set lies; where it lay when the run was made by default.
        seed: of draws, clusters and networks.

    Raises:
        DatasetError: the data is not at hand, or is another.
        RunError: weights that do not fit.
    """
    data = data_of(SavedModel.of(run), root)
    found = of_dataset(data, seed=seed)
    found.subject = run.name
    if EVIDENCE in run.files:
        outputs = run.interpretable()
        if outputs.units < 2:
            found.missing["evidence"] = (
                "a single test sample, or group, shows no error of its parts"
            )
        for one in evidence(outputs) if outputs.units > 1 else ():
            name = f"evidence{f' of {one.output}' if one.output else ''}"
            found.parts[name] = ("additive", [float(bits) for bits in one.bits])
            found.errors[name] = [float(error) for error in one.errors]
    model = TrainedModel.load(run, data)
    rows = model.rows("test")
    chosen = np.random.default_rng(seed).permutation(len(rows))[:SAMPLES]
    few = rows[np.sort(chosen)]
    count = len(data.modalities)
    task = model.model.task
    target = task.truth(np.asarray(data.labels("test")))[np.sort(chosen)]
    metric = task.metric_names[0]
    whole = model.outputs([few] * count)
    # Of logits: probabilities that are a product of what modalities say are no sum of it.
    additive = additive_projection(model.outputs, [few] * count, draws=DRAWS, seed=seed)
    for name, said in (("the model", whole), ("its additive projection (EMAP)", additive)):
        found.model[f"{metric} of {name}"] = task.metric(metric, said, target)
    background = model.rows("train")
    values = coalition_values(
        model.probabilities, [few] * count, [background] * count, draws=DRAWS, seed=seed
    )
    found.model["InterSHAP"] = intershap(values).share
    return found


def _why_not(data: OpenedDataset) -> str:
    if len(data.modalities) != 2:
        return f"it decomposes 2 modalities, not {len(data.modalities)}"
    if not isinstance(data.task, Classification):
        return f"it decomposes what classes tell, not {data.task.name}"
    return ""


def _keep(found: Estimates, name: str, parts: Decomposition) -> None:
    found.parts[name] = (parts.definition, [float(value) for value in parts.parts])
