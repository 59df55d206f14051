"""Tokens of frozen models on disk: ragged rows, and what decides that they are computed anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.data.tokens import Padded, Ragged, Repeated


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_ragged_rows_are_cut_and_padded(lengths, data):
    rows = np.random.default_rng(0).normal(size=(sum(lengths), 3)).astype(np.float16)
    ragged = Ragged(rows, lengths)
    assert ragged.longest == max(lengths)
    wanted = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    values, told = ragged[np.array(wanted)]
    assert told.tolist() == [lengths[i] for i in wanted]
    assert values.shape == (len(wanted), max(lengths), 3), "as long as the longest of all"
    for place, number in enumerate(wanted):
        start, length = sum(lengths[:number]), lengths[number]
        np.testing.assert_array_equal(values[place, :length], rows[start : start + length])
        assert (values[place, length:] == 0).all()


def test_ragged_of_plain_numbers():
    values, lengths = Ragged(np.arange(5), [2, 3])[np.array([1, 0])]
    assert values.tolist() == [[2, 3, 4], [0, 1, 0]]
    assert lengths.tolist() == [3, 2]


@pytest.mark.parametrize("lengths", [[2, 2], [5, 0], [6, -1]])
def test_lengths_that_do_not_fit(lengths):
    with pytest.raises(ValueError, match="do not hold"):
        Ragged(np.zeros((5, 2)), lengths)


def test_repeated_rows_are_those_of_the_array():
    array = np.arange(12.0).reshape(4, 3)
    repeated = Repeated(array, np.array([3, 3, 0]))
    assert len(repeated) == 3
    np.testing.assert_array_equal(repeated[np.array([2, 0])], array[[0, 3]])


def test_a_padded_batch_is_single_precision():
    ragged = Ragged(np.ones((3, 2), np.float16), [1, 2])
    column = Padded(ragged, np.array([1, 0, 1]), np.float32)
    values, lengths = column[np.array([0, 1])]
    assert values.dtype == torch.float32
    assert lengths.tolist() == [2, 1]
    assert lengths.dtype == torch.int64
