"""Drawn samples of a module's data set; stand-ins for large frozen networks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.encoders import vgg
from i2moe_plugin.benchmarks.encoders.pretrained import folders


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def drawn(request, tmp_path_factory) -> Path:
    """A sample of the module's ``NAME`` with its ``SIZES``; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn") / request.module.NAME
    datasets.get(request.module.NAME).write_sample(folder, **request.module.SIZES)
    return folder


@pytest.fixture
def sample(drawn, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / drawn.name))


class Thumbnail(nn.Module):
    """Stands for a frozen network where its features do not matter: a small picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x):
        small = F.adaptive_avg_pool2d(x, (16, 8)).flatten(1)
        return F.pad(small, (0, self.width - small.shape[1]))


@pytest.fixture
def thumbnails(monkeypatch) -> list[nn.Module]:
    """Features that cost nothing; gives the list of the networks that were built."""
    built: list[nn.Module] = []

    def build(network: vgg.Network, weights: Any) -> nn.Module:
        built.append(Thumbnail(network.width))
        return built[-1]

    monkeypatch.setattr(vgg, "frozen", build)
    return built


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    """A text model and a picture model of the real kinds, tiny; not to be changed."""
    transformers = pytest.importorskip("transformers", reason="needs the extra pretrained")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("models")
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *letters]
    made = Tokenizer(models.BPE({p: n for n, p in enumerate(pieces)}, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder / "text")
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(
        vocab_size=len(pieces), intermediate_size=8, max_position_embeddings=400, **shape
    )
    transformers.BertModel(config).save_pretrained(folder / "text")
    config = transformers.Dinov2Config(image_size=112, patch_size=14, **shape)
    transformers.Dinov2Model(config).save_pretrained(folder / "picture")
    facts = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "picture" / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def tiny_pretrained(tiny_models, monkeypatch) -> None:
    """The models that come in packages are tiny."""
    for name, known in folders.KNOWN.items():
        if known.package:
            path = tiny_models / {"text": "text", "image": "picture"}[known.kind]
            found = replace(known, package="numpy", path=str(path))  # a package that is here
            monkeypatch.setitem(folders.KNOWN, name, found)
