"""A checkout of MultiBench that is written here, and a small data set that its loader reads."""

from pathlib import Path

import pytest

from i2moe_plugin.benchmarks.data.registry import datasets

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
def checkout(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "MultiBench"
    monkeypatch.setenv("MULTIBENCH_ROOT", str(root))
    (root / "fusions").mkdir(parents=True)
    (root / "datasets" / "affect").mkdir(parents=True)
    (root / "datasets" / "avmnist").mkdir(parents=True)
    (root / "datasets" / "affect" / "get_data.py").write_text(DOUBLED)
    (root / "datasets" / "avmnist" / "get_data.py").write_text(
        "def get_dataloader(root, **_):\n    raise ValueError('60000 expected')\n"
    )
    return root


@pytest.fixture
def mosi(tmp_path):
    datasets.get("mosi").write_sample(tmp_path / "mosi", clips=24)
    return tmp_path / "mosi"
