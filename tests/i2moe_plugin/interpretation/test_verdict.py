import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from i2moe_plugin import Classification
from i2moe_plugin.interpretation import (
    deletion,
    permuted_labels,
    stability,
    weight_verdict,
    worth,
)


def weighted(draw, rows, **changes):
    weights = np.asarray(rows, np.float32)
    return draw(Classification(3), weights=np.tile(weights, (60 // len(weights), 1)), **changes)


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        ([[0.9, 0.05, 0.03, 0.02]], "collapsed", "collapsed to one expert: unique: audio has 0.90"),
        ([[0.79, 0.07, 0.07, 0.07]], "constant", "the same for every sample"),
        ([[0.27, 0.24, 0.25, 0.24], [0.24, 0.25, 0.24, 0.27]], "uniform", "nearly uniform"),
        ([[0.4, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.4]], "varied", "neither collapsed nor uniform"),
    ],
)
def test_the_state_of_the_weights_in_words(draw, rows, kind, words):
    verdict = weight_verdict(weighted(draw, rows))
    assert verdict.kind == kind
    assert words in verdict.sentence
    expected = np.mean([entropy(row) / np.log(4) for row in rows])
    assert verdict.entropy == pytest.approx(expected, rel=1e-4)


def test_the_thresholds_are_told(draw):
    assert "0.8 or more" in weight_verdict(weighted(draw, [[1, 0, 0, 0]])).sentence
    assert "0.98 or more" in weight_verdict(weighted(draw, [[0.25] * 4])).sentence
    constant = weight_verdict(weighted(draw, [[0.5, 0.3, 0.1, 0.1]]))
    assert "0.01 or less" in constant.sentence


def test_the_share_moved_by_the_largest_weight_restated(draw):
    outputs = draw(Classification(3))
    same = 0
    for weights, said in zip(outputs.weights, outputs.expert_outputs, strict=True):
        products = [np.mean(np.abs(w * one)) for w, one in zip(weights, said, strict=True)]
        same += int(np.argmax(products) == np.argmax(weights))
    assert weight_verdict(outputs).moved == pytest.approx(same / 60)


def frames(falls, p):
    drop = pd.DataFrame(
        {
            "dropped": ["largest weight of each sample", "a random one of each sample"],
            "fall": falls,
            "low": [np.nan, -0.01],
            "high": [np.nan, 0.02],
        }
    )
    control = pd.DataFrame(
        [(s, e, p) for s in ("class", "correct") for e in "ab"],
        columns=["statistic", "expert", "p"],
    )
    return drop, control


def test_sentences_follow_the_figures(draw):
    verdict = weight_verdict(draw(Classification(3)))
    leaning = worth(verdict, *frames([0.2, 0.01], 0.001), metric="accuracy")
    assert any("does mark an expert" in line for line in leaning)
    assert any("2 of 2 weights differ between classes" in line for line in leaning)
    assert any("one seed alone" in line for line in leaning)
    idle = worth(verdict, *frames([0.015, 0.01], 0.2), metric="accuracy")
    assert any("does not mark an expert" in line for line in idle)
    assert any("no weight differs between classes" in line for line in idle)


def stable(correlations, weights):
    return pd.DataFrame(
        {
            "expert": [f"expert {e}" for e in range(len(weights))],
            "correlation": correlations,
            "runs": 5,
            "mean_weight": weights,
            "mean_weight_low": np.subtract(weights, 0.05),
            "mean_weight_high": np.add(weights, 0.05),
        }
    )


def test_stability_is_judged_by_the_experts_that_count(draw):
    """Two experts that hold 83 % of the weight are decided by the seed."""
    frame = stable([0.79, 0.05, 0.10, 0.81], [0.09, 0.45, 0.38, 0.08])
    lines = worth(weight_verdict(draw(Classification(3))), *frames([0, 0], 1), frame, metric="x")
    (line,) = [line for line in lines if line.startswith("Stability")]
    assert "called unstable" in line
    assert f"{0.79 * 0.09 + 0.05 * 0.45 + 0.10 * 0.38 + 0.81 * 0.08:.2f}, each expert" in line
    assert line.index("expert 1 0.05 (weight 0.45, from 0.40 to 0.50") < line.index("expert 2 0.10")


@pytest.mark.parametrize(
    ("correlation", "words"),
    [(0.9, "called stable"), (0.5, "partly stable"), (0.1, "unstable"), (np.nan, "undefined")],
)
def test_stability_in_words(draw, correlation, words):
    frame = stable([correlation] * 2, [0.6, 0.4])
    verdict = weight_verdict(draw(Classification(3)))
    lines = worth(verdict, *frames([0, 0], 1), frame, metric="accuracy")
    assert any(words in line for line in lines)


def test_everything_from_real_functions(draw, task):
    runs = [draw(task, seed=seed) for seed in range(3)]
    lines = worth(
        weight_verdict(runs[0]),
        deletion(runs[0], task.metric_names[0]),
        permuted_labels(runs[0], draws=20),
        stability(runs),
        metric=task.metric_names[0],
    )
    assert len(lines) == 5
    assert not any("nan" in line for line in lines)
