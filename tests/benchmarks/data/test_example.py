"""Shapes are measured on the longest samples of the data set, not on its first two."""

import numpy as np
import pytest
import torch

from i2moe_plugin.benchmarks.data.batches import PreparedDataset, SplitDataset

LENGTHS = np.array([2, 3, 1, 9, 4, 7])  # the longest stands in the validation split
ROWS = {"train": [0, 1, 2], "valid": [3, 4], "test": [5]}


class Ragged:
    def __getitem__(self, rows):
        lengths = torch.from_numpy(LENGTHS[rows])
        return torch.ones(len(rows), int(lengths.max()), 4), lengths


@pytest.mark.parametrize("known", [{}, {0: 12}])
def test_an_example_is_as_long_as_the_longest_sample(known):
    columns = [Ragged(), torch.zeros(6, 5)]

    def loader(split, **options):
        rows = np.array(ROWS[split])
        return SplitDataset([columns[0], Plain(columns[1])], torch.zeros(6), rows).loader(**options)

    (values, lengths), plain = PreparedDataset(loader, lambda settings: [], known).example()
    assert values.shape == (2, known.get(0, 9), 4)
    assert lengths.tolist() == [2, 3]
    assert plain.shape == (2, 5)
    assert not values[0, 3:].any()


class Plain:
    def __init__(self, values):
        self.values = values

    def __getitem__(self, rows):
        return self.values[torch.from_numpy(rows)]
