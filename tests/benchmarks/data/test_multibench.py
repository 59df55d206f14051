"""Batches from a checkout's loader: one that is written here, and a real one if at hand."""

import os

import numpy as np
import pytest
import torch

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.errors import ConfigError, DatasetError, PluginError


def test_packed_batches_become_values_with_lengths(checkout, mosi) -> None:
    data = open_dataset("mosi", mosi, loader="multibench")
    batches = data.prepare().loader("train", batch_size=5)
    vision, audio, text, target = next(iter(batches))
    for values, lengths in (vision, audio, text):
        assert values.dtype == torch.float32
        assert lengths.shape == (5,)
    assert target.shape == (5, 1)
    assert len(batches) == int(np.ceil(len(data.sample_ids("train")) / 5))
    assert any("MultiBench's own loader" in note for note in data.notes)


def test_what_fails_there_is_said(checkout, tmp_path) -> None:
    datasets.get("avmnist").write_sample(tmp_path / "avmnist")
    data = open_dataset("avmnist", tmp_path / "avmnist", loader="multibench").prepare()
    with pytest.raises(DatasetError, match=r"fails on these files: ValueError: 60000 expected"):
        data.loader("train", batch_size=4)


def test_reasons_and_missing_loaders(checkout, tmp_path, monkeypatch) -> None:
    with pytest.raises(DatasetError, match=r"MultiBench has no loader of htad; it has .*mosi"):
        open_dataset("htad", loader="multibench")
    datasets.get("mimic3").write_sample(tmp_path / "mimic3", count=60)
    with pytest.raises(PluginError, match=r"has no module datasets\.mimic"):
        theirs = open_dataset("mimic3", tmp_path / "mimic3", loader="multibench").prepare()
        theirs.loader("train", batch_size=2)
    monkeypatch.delenv("MULTIBENCH_ROOT")
    with pytest.raises(ConfigError, match="--multibench PATH"):
        open_dataset("mimic3", tmp_path / "mimic3", loader="multibench")


@pytest.mark.skipif("MULTIBENCH_ROOT" not in os.environ, reason="needs MULTIBENCH_ROOT")
@pytest.mark.parametrize("name", ["mosi", "mosi-regression", "mustard", "urfunny", "mimic3"])
def test_the_real_loader_gives_what_ours_gives(name, tmp_path) -> None:
    datasets.get(name).write_sample(tmp_path / name)
    ours, theirs = (
        open_dataset(name, tmp_path / name, loader=loader).prepare()
        for loader in ("own", "multibench")
    )
    for split in ("valid", "test"):
        for mine, other in zip(
            ours.loader(split, batch_size=16), theirs.loader(split, batch_size=16), strict=True
        ):
            assert len(mine) == len(other)
            torch.testing.assert_close(
                other[-1].reshape(-1).float(), mine[-1].reshape(-1).float(), rtol=0, atol=0
            )
            if name != "mimic3":  # which MultiBench scales by all rows
                for (x, length), (y, said) in zip(mine[:-1], other[:-1], strict=True):
                    torch.testing.assert_close(length, said)
                    steps = min(x.shape[1], y.shape[1])
                    torch.testing.assert_close(x[:, :steps], y[:, :steps])
