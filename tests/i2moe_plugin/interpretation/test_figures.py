import json

import numpy as np
import pytest

from i2moe_plugin import Classification, Regression
from i2moe_plugin.interpretation import (
    agreement,
    calibration,
    deletion,
    expert_metrics,
    figures,
    permuted_labels,
    similarity,
    stability,
    training_curves,
    weight_summary,
)
from i2moe_plugin.interpretation.figures.drawing import expert_colours

HISTORY = [
    {
        "epoch": epoch,
        "train": {"loss": 1 / epoch, "interaction": [0.1] * 4, "weights": [0.25] * 4},
        "valid": {"loss": 2 / epoch, "accuracy": epoch / 3},
    }
    for epoch in (1, 2, 3)
]


def all_figures(draw, task, **changes):
    runs = [draw(task, seed=seed, **changes) for seed in range(2)]
    one, metric = runs[0], task.metric_names[0]
    made = {
        "weights": figures.weights(one),
        "by correctness": figures.weights(one, by_correctness=True),
        "by class": figures.weights_by_class(weight_summary(one, "class")),
        "alone": figures.experts_alone(expert_metrics(one), metric),
        "similarity": figures.similarity(similarity(one)),
        "calibration": figures.calibration(calibration(one)),
        "curves": figures.curves(training_curves(HISTORY, one.expert_labels), best_epoch=2),
        "deletion": figures.deletion(deletion(one, metric, draws=3), metric),
        "stability": figures.stability(stability(runs)),
        "control": figures.control(permuted_labels(one, draws=5)),
    }
    if not isinstance(task, Regression):
        made["agreement"] = figures.agreement(agreement(one))
    return made


def test_every_figure_is_drawn_and_told_in_words(draw, task):
    for name, figure in all_figures(draw, task).items():
        content = json.loads(figure.to_json())
        assert content["data"], name
        assert len(figure.layout.meta["alt"]) > 40, name
        assert figure.layout.title.text
        assert len(figure.to_json()) < 60_000


@pytest.mark.parametrize("samples", [60, 3000])
def test_a_violins_size_does_not_grow_with_the_samples(draw, samples):
    assert len(figures.weights(draw(Classification(3), samples=samples)).to_json()) < 30_000


def test_a_violin_marks_median_mean_and_extremes(draw):
    outputs = draw(Classification(3))
    figure = figures.weights(outputs)
    column = outputs.weights[:, 2].astype(float)
    marks = [t for t in figure.data if t.mode == "markers" and t.name == "synergy, all"]
    found = [np.asarray(trace.x, float).tolist() for trace in marks]
    expected = [[column.min(), column.max()], [np.median(column)], [column.mean()]]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)
    outline = [t for t in figure.data if t.fill == "toself"][2]
    assert np.min(outline.x) == pytest.approx(column.min(), abs=1e-4)
    assert np.max(outline.x) == pytest.approx(column.max(), abs=1e-4)


def test_equal_weights_are_drawn_too(draw):
    constant = draw(Classification(3), weights=np.full((60, 4), 0.25, np.float32))
    assert figures.weights(constant, by_correctness=True).data
    wrong = draw(Classification(3), target=(draw(Classification(3)).decided + 1) % 3)
    assert figures.weights(wrong, by_correctness=True).data


def test_names_are_text_and_not_markup(draw):
    evil = '<a href="https://example.org">x</a><b>'
    for name, figure in all_figures(
        draw, Classification(2), class_names=(evil, "b" * 500), modalities=(evil, "video")
    ).items():
        content = json.loads(figure.to_json())
        content["layout"].pop("meta")  # the text alternative is put on the page as text
        assert "<a" not in json.dumps(content), name
        assert "b" * 100 not in json.dumps(content), name


def test_experts_keep_their_colours():
    two = expert_colours(["unique: a", "unique: b", "synergy", "redundancy"])
    three = expert_colours(["unique: a", "unique: b", "unique: c", "synergy", "redundancy"])
    assert two[-2:] == three[-2:]
    assert len(set(three)) == 5
