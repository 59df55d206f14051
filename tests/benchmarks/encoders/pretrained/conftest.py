"""Tiny models of the real kinds, written the way transformers writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = ["seat", "heat", "##er", "map", "arrow", "##s", "left", "-", ":", ",", "!", "'", "中", "文"]


def tokenizer(padding="[PAD]", special=True):
    """A word-piece tokenizer that knows a few words, and letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
        )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=64, pad_token=padding, **names
    )


def write_text_model(folder: Path, **options) -> Path:
    torch.manual_seed(0)
    words = tokenizer(**options)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        hidden_dropout_prob=0.5,
    )
    transformers.BertModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 4,
}


def write_picture_model(folder: Path, kind: str = "dinov2") -> Path:
    torch.manual_seed(0)
    if kind == "dinov2":
        config = transformers.Dinov2Config(
            **{k: v for k, v in SMALL.items() if k != "intermediate_size"}
        )
        transformers.Dinov2Model(config).save_pretrained(folder)
    elif kind == "vit":
        transformers.ViTModel(transformers.ViTConfig(**SMALL)).save_pretrained(folder)
    elif kind == "clip":
        config = transformers.CLIPConfig(
            text_config={
                **{k: v for k, v in SMALL.items() if k not in ("image_size", "patch_size")},
                "vocab_size": 10,
            },
            vision_config=SMALL,
            projection_dim=4,
        )
        transformers.CLIPModel(config).save_pretrained(folder)
    facts = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "size": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory) -> Path:
    """A tiny BERT; not to be changed."""
    return write_text_model(tmp_path_factory.mktemp("models") / "text")


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    """A tiny DINOv2; not to be changed."""
    return write_picture_model(tmp_path_factory.mktemp("models") / "picture")


@pytest.fixture
def text_copy(text_folder, tmp_path) -> Path:
    """The tiny BERT, to be changed."""
    return Path(shutil.copytree(text_folder, tmp_path / "text"))


@pytest.fixture
def picture_copy(picture_folder, tmp_path) -> Path:
    """The tiny DINOv2, to be changed."""
    return Path(shutil.copytree(picture_folder, tmp_path / "picture"))


@pytest.fixture(scope="session")
def new_text_model():
    """Writes a tiny BERT into a folder, with a tokenizer as told."""
    return write_text_model


@pytest.fixture(scope="session")
def new_picture_model():
    """Writes a tiny model of a kind into a folder."""
    return write_picture_model
