"""What the ``data`` commands show."""

import pytest

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.benchmarks.terminal.data import _task_in_words


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Classification(3), "classification, 3 classes"),
        (Multilabel(4), "classification by 4 labels, of which a sample may have several"),
        (Regression(1), "regression of 1 value"),
        (Regression(2), "regression of 2 values"),
    ],
)
def test_tasks_have_names(task, words):
    assert _task_in_words(task) == words
