"""Batches from a checkout's loader: one that is written here, and a real one if at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.multibench import BUILDERS, REASONS, load_from_multibench
from i2moe_plugin.benchmarks.datasets import datasets, open_dataset
from i2moe_plugin.errors import ConfigError, DatasetError, PluginError

DOUBLED = """
import pickle
import torch
import torchtext as text
from torch.utils.data import DataLoader

def get_dataloader(filepath, batch_size, num_workers, max_seq_len, z_norm, data_type, task):
    with open(filepath, "rb") as file:
        data = pickle.load(file)
    loaders = []
    for name in ("train", "valid", "test"):
        part = data[name]
        rows = [
            ([torch.as_tensor(part[key][i]).double().nan_to_num(neginf=0)
              for key in ("vision", "audio", "text")],
             torch.as_tensor(part["labels"][i]).reshape(1))
            for i in range(len(part["labels"]))
        ]
        def packed(batch):
            columns = [torch.stack([row[0][m] for row in batch]) for m in range(3)]
            lengths = [torch.full((len(batch),), c.shape[1]) for c in columns]
            return columns, lengths, torch.zeros(len(batch), 1), torch.stack([r[1] for r in batch])
        loaders.append(DataLoader(rows, batch_size, collate_fn=packed))
    return tuple(loaders)
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    root = tmp_path / "MultiBench"
    (root / "fusions").mkdir(parents=True)
    (root / "datasets" / "affect").mkdir(parents=True)
    (root / "datasets" / "avmnist").mkdir(parents=True)
    (root / "datasets" / "affect" / "get_data.py").write_text(DOUBLED)
    (root / "datasets" / "avmnist" / "get_data.py").write_text(
        "def get_dataloader(root, **_):\n    raise ValueError('60000 expected')\n"
    )
    return root


@pytest.fixture
def mosi(tmp_path, monkeypatch):
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    datasets.get("mosi").build.write_sample(tmp_path / "mosi", clips=24)
    return tmp_path / "mosi"


def test_packed_batches_become_values_with_lengths(checkout, mosi) -> None:
    data = open_dataset("mosi", mosi)
    before = data.fingerprint()
    load_from_multibench(data, str(checkout))
    batches = data.loader("train", batch_size=5)
    vision, audio, text, target = next(iter(batches))
    for values, lengths in (vision, audio, text):
        assert values.dtype == torch.float32
        assert lengths.shape == (5,)
    assert target.shape == (5, 1)
    assert len(batches) == int(np.ceil(len(data.sample_ids("train")) / 5))
    assert data.fingerprint() != before
    assert any("MultiBench's own loader" in note for note in data.notes)


def test_a_run_trains_from_it(checkout, mosi, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MULTIBENCH_ROOT", "as it was")  # what the command sets is taken back
    arguments = ["run", "--dataset", "mosi", "--data-root", mosi, "--fusion", "concat"]
    arguments += ["--loader", "multibench", "--multibench", checkout, "--seeds", 1, "--epochs", 1]
    arguments += ["--device", "cpu", "--out", tmp_path / "runs", "--json"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    job = json.loads(result.stdout)
    assert any("MultiBench's own loader" in note for note in job["notes"])


def test_what_fails_there_is_said(checkout, tmp_path) -> None:
    datasets.get("avmnist").build.write_sample(tmp_path / "avmnist")
    data = open_dataset("avmnist", tmp_path / "avmnist")
    load_from_multibench(data, str(checkout))
    with pytest.raises(DatasetError, match=r"fails on these files: ValueError: 60000 expected"):
        data.loader("train", batch_size=4)


def test_reasons_and_missing_loaders(checkout, monkeypatch) -> None:
    monkeypatch.delenv("MULTIBENCH_ROOT", raising=False)
    data = open_dataset("htad")
    with pytest.raises(ConfigError, match="--multibench PATH"):
        load_from_multibench(data)
    with pytest.raises(DatasetError, match="MultiBench has no loader of htad"):
        load_from_multibench(data, str(checkout))
    data.name = "enrico"
    with pytest.raises(DatasetError, match="built from the training split"):
        load_from_multibench(data, str(checkout))
    data.name = "mimic3"
    load_from_multibench(data, str(checkout))
    with pytest.raises(PluginError, match=r"has no module datasets\.mimic"):
        data.loader("train", batch_size=2)


def test_every_name_is_a_data_set() -> None:
    assert not set(BUILDERS) & set(REASONS)
    assert set(BUILDERS) | set(REASONS) <= set(datasets.names())


@pytest.mark.skipif("MULTIBENCH_ROOT" not in os.environ, reason="needs MULTIBENCH_ROOT")
@pytest.mark.parametrize("name", ["mosi", "mosi-regression", "mustard", "urfunny", "mimic3"])
def test_the_real_loader_gives_what_ours_gives(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    datasets.get(name).build.write_sample(tmp_path / name)
    ours, theirs = (open_dataset(name, tmp_path / name) for _ in range(2))
    load_from_multibench(theirs, os.environ["MULTIBENCH_ROOT"])
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
