"""Frozen features: cached by what decides them, read lazily, never trusted when damaged."""

import logging

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from i2moe_plugin.benchmarks.data import cache as kept_on_disk
from i2moe_plugin.benchmarks.data.cache import cache_dir, kept_rows
from i2moe_plugin.benchmarks.data.frozen import frozen_features, progress_bar
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.errors import DatasetError

KEY = {"images": "a", "weights": "b"}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


class Extractor:
    """Builds a small network and counts how often."""

    def __init__(self, factor=1.0):
        self.calls, self.factor = 0, factor

    def __call__(self):
        self.calls += 1
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False))
        nn.init.constant_(network[1].weight, self.factor)
        return network


INPUTS = torch.arange(7 * 12).reshape(7, 3, 2, 2) / 12


def lazily(extractor, inputs=INPUTS, key=KEY, **options):
    return frozen_features("test", inputs, extractor, key, batch_size=3, **options)


def compute(*args, **options):
    return torch.from_numpy(lazily(*args, **options)[:])


def test_features_are_those_of_the_network_and_are_computed_once(cache):
    extractor = Extractor()
    first = compute(extractor)
    expected = INPUTS.flatten(1).sum(1, keepdim=True).expand(7, 5)
    assert first.dtype == torch.float16
    torch.testing.assert_close(first.float(), expected, rtol=1e-3, atol=0)
    assert torch.equal(compute(extractor), first)
    assert extractor.calls == 1
    assert [path.suffix for path in (cache / "features").iterdir()] == [".h5"]


@pytest.mark.parametrize("name", KEY)
def test_another_key_is_another_cache(name):
    compute(Extractor())
    other = Extractor(2.0)
    compute(other, key={**KEY, name: "else"})
    assert other.calls == 1


def test_fewer_inputs_are_another_cache():
    compute(Extractor())
    assert len(compute(Extractor(), INPUTS[:3])) == 3


def test_kept_features_are_read_by_row():
    expected = compute(Extractor())
    kept = lazily(Extractor())
    assert isinstance(kept, H5Array)
    assert kept._start is not None, "they lie in one piece"
    rows = np.array([5, 0, 5])
    np.testing.assert_array_equal(kept[rows], expected[rows].numpy())


def test_features_are_computed_again_where_the_cache_is_not_wanted(cache):
    compute(Extractor())
    other = Extractor(3.0)
    changed = compute(other, cache=False)
    assert other.calls == 1
    assert torch.equal(compute(Extractor()), changed), "and kept in the others' place"
    assert len(list((cache / "features").iterdir())) == 1


def test_large_features_are_checked_in_blocks(monkeypatch):
    right = compute(Extractor())
    monkeypatch.setattr(kept_on_disk, "BLOCK", 30)  # three rows of five half-precision numbers
    extractor = Extractor()
    assert torch.equal(compute(extractor), right)
    assert extractor.calls == 0


def test_rows_of_any_type_and_shape_are_kept():
    blocks = [np.arange(12.0).reshape(2, 2, 3), np.ones((3, 2, 3))]
    calls = []

    def make():
        calls.append(1)
        yield from blocks

    for _ in range(2):
        kept = kept_rows("test", 5, make, KEY)
        assert kept.dtype == np.float64
        np.testing.assert_array_equal(kept[:], np.concatenate(blocks))
    assert len(calls) == 1


def test_the_network_is_left_in_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(0.9))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    values = compute(lambda: network)
    torch.testing.assert_close(values.float(), INPUTS.flatten(1), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def change_a_value(path):
    with h5py.File(path, "r+") as file:
        file["features"][0, 0] = 1000


def drop_the_checksum(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]


def claim_another_key(path):
    with h5py.File(path, "r+") as file:
        file.attrs["key"] = "0" * 64


@pytest.mark.parametrize(
    "how", ["truncate", "empty", change_a_value, drop_the_checksum, claim_another_key]
)
def test_a_damaged_cache_is_computed_again_and_mended(how, cache, caplog, damage):
    extractor = Extractor()
    right = compute(extractor)
    (path,) = (cache / "features").iterdir()
    (getattr(damage, how) if isinstance(how, str) else how)(path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(compute(extractor), right)
    assert extractor.calls == 2
    assert "is damaged" in caplog.text
    compute(extractor)
    assert extractor.calls == 2


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "file" / "cache"))
    extractor = Extractor()
    with caplog.at_level(logging.WARNING):
        assert len(compute(extractor)) == len(INPUTS)
    assert "I2MOE_CACHE" in caplog.text


def test_a_full_disk_leaves_no_half_file(cache, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    compute(Extractor())
    assert list((cache / "features").iterdir()) == []


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("I2MOE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "i2moe-plugin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "i2moe-plugin"


class Damaged:
    """Inputs of which some cannot be read."""

    def __init__(self, bad):
        self.bad = bad

    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, index):
        if index in self.bad:
            raise DatasetError(f"{index}.png: not a readable image")
        return INPUTS[index]


def test_every_damaged_input_is_named(cache):
    with pytest.raises(DatasetError, match=r"2 inputs(.|\n)*1\.png(.|\n)*5\.png"):
        compute(Extractor(), Damaged({1, 5}))
    assert not list((cache / "features").iterdir())


def test_features_that_are_not_finite_are_refused(cache):
    with pytest.raises(DatasetError, match="NaN"):
        compute(Extractor(float("nan")))
    assert not list((cache / "features").iterdir())


def test_no_bar_without_a_terminal(capsys):
    with progress_bar("work", 3, show=True) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
