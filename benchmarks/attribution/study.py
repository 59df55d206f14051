"""Many test samples: whether importance is faithful, and how pairs go with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.attribution.faithfulness import area
from i2moe_plugin.attribution.features import concentration
from i2moe_plugin.attribution.maps import Maps, rows_at_once
from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.attribution.study import (
    masked_by_importance,
    masked_outputs,
    rounding_of_support,
)
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.attribution.tokens import Tokens
from i2moe_plugin.benchmarks.attribution.intervals import interval, shares_of
from i2moe_plugin.benchmarks.attribution.kept import kept
from i2moe_plugin.benchmarks.attribution.pair_study import study_pairs
from i2moe_plugin.benchmarks.attribution.sample import seeded_rows
from i2moe_plugin.benchmarks.attribution.subject import Counted, Study, StudyOptions
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.attribution.truth import heaviest_experts, known_truth
from i2moe_plugin.benchmarks.attribution.words import at_chance
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import Regression

CONTROL = "random"
#: What falls when tokens are masked: of classes and labels, and of real values.
MEASURES = ("the target's probability", "closeness to the prediction, in the target's units,")


def study_features(
    trained: TrainedRun,
    options: StudyOptions | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> dict[str, Any]:
    """Look at many test samples; computed once, and kept beside the run.

    Every scope is explained and judged by its own output. Intervals are over samples (95 %,
    Student's; of shares of samples Wilson's).

    Args:
        trained: the run.
        options: how much.
        advance: told of samples whose pairs are done.

    Returns:
        a record for JSON: for each scope and explainer the curves and the area between it and the
        random control; how concentrated maps are; pairs by importance, masked pairs against
        controls; where tokens are known to carry the label, how often they come first.

    Raises:
        ConfigError: a fill that there is not, or no sample that has every modality.
    """
    chosen = options or StudyOptions()
    return kept(trained.run, "study", chosen.key, lambda: _study(trained, chosen, advance))


def _study(
    trained: TrainedRun, options: StudyOptions, advance: Callable[[int], None]
) -> dict[str, Any]:
    model, counted = trained.model, Counted()
    there = np.flatnonzero(trained.whole)
    if not len(there):
        raise ConfigError("every test sample lacks a modality: there is none to explain.")
    rows = there[seeded_rows(len(there), options.samples)].tolist()
    tokens = counted.timed("encoding", lambda: trained.tokens(rows))
    fill = trained.filled_by(options.fill)
    at_once = rows_at_once(model, tokens, MIXTURE, options.memory_budget)
    nothing = [torch.zeros_like(there) for there in tokens.candidates]
    whole = masked_outputs(model, tokens, nothing, fill, MIXTURE, at_once)
    targets = choose_targets(model.task, whole)
    truth = trained.run.outputs("target", rows=np.asarray(rows))["target"]
    study = Study(model, options, tokens, targets, truth, trained.data.metric, fill, counted)
    scopes: dict[str, Any] = {}
    for scope in model.scopes:
        for explainer in study.explainers:
            study.maps[scope, explainer] = counted.timed(
                explainer, partial(study.explained, explainer, scope)
            )
        scopes[scope] = {
            "explainers": counted.timed("masking", partial(_curves, study, scope)),
            "concentration": _concentration(study.maps[scope, study.usual], tokens),
        }
    layouts = [trained.layouts(row) for row in rows]
    pairs: dict[str, Any] = {}
    if options.pairs and len(tokens.latents) == 2:
        pairs = counted.timed("pairs", partial(study_pairs, study, layouts, advance))
    weights = model.weights(tokens.latents, tokens.padding).detach().numpy()
    return {
        "samples": [trained.ids[row] for row in rows],
        "lacking": int((~trained.whole).sum()),
        "caution": at_chance(trained.run.interpretable()),
        "modalities": list(trained.data.modalities),
        "metric": study.metric,
        "shares": list(options.shares),
        "usual_explainer": study.usual,
        "rounding": rounding_of_support(model, tokens, whole),
        "measure": MEASURES[isinstance(model.task, Regression)],
        "scopes": scopes,
        "agreement": _agreement(study),
        "pairs": pairs,
        "truth": known_truth(layouts, study.maps, trained.data.modalities),
        "experts": heaviest_experts(weights, model.scopes[1:], trained.data.carried_by),
        "cost": {
            "seconds": counted.seconds,
            "evaluations": counted.evaluations,
            "pair_evaluations": counted.pairs,
            "pair_evaluations_of_a_naive_loop": counted.naive,
        },
    }


@dataclass(frozen=True, eq=False)
class _Drops:
    """What masking by one map did, [B, K] each; ``metric`` [K]."""

    without: NDArray[Any]
    alone: NDArray[Any]
    changed: NDArray[Any]
    metric: NDArray[Any]


def _drops(study: Study, importance: Sequence[Tensor], scope: str, full: Tensor) -> _Drops:
    """Mask by importance: the fall of the target's support, decisions that change, the metric."""
    task, targets = study.model.task, study.targets
    shares = study.options.shares
    without, alone = masked_by_importance(
        study.model, study.tokens, importance, study.fill, scope, shares, study.rows_at_once(scope)
    )
    study.counted.evaluations += 2 * len(shares) * len(study.tokens)
    before, support = task.decide(full.numpy()), targets.support(full)
    fall = [
        torch.stack([support - targets.support(x) for x in part], 1).double().numpy()
        for part in (without, alone)
    ]
    changed = [_changed(before, task.decide(x.numpy())) for x in without]
    measured = [task.metric(study.metric, x.numpy(), study.truth) for x in (full, *without)]
    drop = measured[0] - np.array(measured[1:])
    return _Drops(fall[0], fall[1], np.stack(changed, 1), drop)


def _curves(study: Study, scope: str) -> dict[str, Any]:
    """Each explainer's curves of a scope, and its area above the random control."""
    shares = study.options.shares
    full = study.outputs(study.nothing(), scope)
    repeats = [
        _drops(study, study.explained(CONTROL, scope, repeat).importance, scope, full)
        for repeat in range(study.options.repeats)
    ]
    parts = ("without", "alone", "changed", "metric")
    control = _Drops(*(np.mean([getattr(one, part) for one in repeats], 0) for part in parts))
    found: dict[str, Any] = {}
    for explainer in study.explainers:
        maps = study.maps[scope, explainer]
        own = control
        if explainer != CONTROL:
            own = _drops(study, maps.importance, scope, full)
        found[explainer] = {
            "comprehensiveness": interval(own.without),
            "sufficiency": interval(own.alone),
            "decision_changed": (interval if explainer == CONTROL else shares_of)(own.changed),
            "metric_drop": own.metric.tolist(),
            "aopc_comprehensiveness": interval(own.without.mean(1)),
            "aopc_sufficiency": interval(own.alone.mean(1)),
        }
        if explainer != CONTROL:
            more = torch.from_numpy(own.without - control.without)
            less = torch.from_numpy(control.alone - own.alone)
            found[explainer]["area_above_random"] = {
                "comprehensiveness": interval(area(more, shares).numpy()),
                "sufficiency": interval(area(less, shares).numpy()),
            }
        if maps.completeness is not None:
            missing = maps.completeness.abs().double().numpy()
            found[explainer]["completeness_error"] = interval(missing)
    return found


def _changed(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """Which samples are decided otherwise, [B]; real values never are."""
    different = before != after
    return different.reshape(len(before), -1).any(1).astype(float)


def _concentration(maps: Maps, tokens: Tokens) -> list[dict[str, float]]:
    """How concentrated maps are, for each modality: means over samples that say something."""
    found = []
    for raw, there in zip(maps.raw, tokens.candidates, strict=True):
        values = concentration(raw, there)
        found.append({name: _mean(each) for name, each in values.items()})
    return found


def _mean(values: Tensor) -> float:
    kept_ = values[values.isfinite()]
    return float(kept_.mean()) if len(kept_) else float("nan")


def _agreement(study: Study) -> list[dict[str, Any]]:
    """How alike two experts' maps are: the mean rank correlation over samples and modalities."""
    from scipy.stats import spearmanr

    tokens, maps = study.tokens, study.maps
    experts, found = study.model.scopes[1:], []
    for i, one in enumerate(experts):
        for other in experts[i + 1 :]:
            values = []
            for m, there in enumerate(tokens.candidates):
                first, second = (maps[scope, study.usual].raw[m] for scope in (one, other))
                for row in range(len(tokens)):
                    a, b = (each[row][there[row]].numpy() for each in (first, second))
                    if len(a) > 2 and np.ptp(a) and np.ptp(b):
                        values.append(float(spearmanr(a, b).statistic))
            mean = float(np.mean(values)) if values else float("nan")
            found.append({"experts": [one, other], "rank_correlation": mean})
    return found
