"""AUROC of many classes against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from i2moe_plugin.auroc import MANY_CLASSES, auroc_of_many
from i2moe_plugin.tasks import Classification


@pytest.mark.parametrize("kind", ["ovr", "ovo"])
@given(seed=st.integers(0, 10**6), classes=st.integers(3, 9), rows=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_it_is_scikit_learns_with_ties_too(kind, seed, classes, rows):
    random = np.random.default_rng(seed)
    target = random.permutation(np.r_[np.arange(classes), random.integers(classes, size=rows)])
    logits = random.integers(0, 4, size=(len(target), classes)) + np.eye(classes)[target]
    scores = softmax(logits.astype(float), 1).round(2)
    scores /= scores.sum(1, keepdims=True)
    expected = roc_auc_score(target, scores, multi_class=kind, labels=np.arange(classes))
    assert auroc_of_many(scores, target, kind) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", ["ovr", "ovo"])
def test_many_classes_take_it_and_give_the_same(kind, monkeypatch):
    classes = MANY_CLASSES + 1
    random = np.random.default_rng(0)
    target = np.arange(2 * classes) % classes
    outputs = random.normal(size=(len(target), classes)).astype(np.float32)
    task = Classification(classes, auroc=kind)
    found = task.metric("auroc", outputs, target)
    monkeypatch.setattr("i2moe_plugin.tasks.MANY_CLASSES", classes)
    monkeypatch.setattr("i2moe_plugin.tasks.auroc_of_many", None)
    assert found == pytest.approx(task.metric("auroc", outputs, target), abs=1e-12)
