"""Tokens of texts and their states: against transformers' own call, one text at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.encoders.pretrained import Projected, TextModel, find_model
from i2moe_plugin.benchmarks.encoders.sequences import TokenEncoder
from i2moe_plugin.errors import DatasetError

TEXTS = ["seat heaters", "", "map: arrow left, a-b!", "中文", "seat " * 80]


def opened(folder, **options):
    return TextModel(find_model(str(folder), "text", Path("nowhere")), **options)


@pytest.fixture(scope="module")
def model(text_folder):
    return opened(text_folder, limit=32)


def test_states_are_transformers_own(model, text_folder):
    from transformers import AutoModel, AutoTokenizer

    own, network = (
        AutoTokenizer.from_pretrained(text_folder),
        AutoModel.from_pretrained(text_folder),
    )
    tokens = model.tokens(TEXTS)
    states = np.concatenate(list(model.states(tokens, batch_size=2)))
    assert states.dtype == np.float16
    start = 0
    for text, made in zip(TEXTS, tokens, strict=True):
        told = own(text, truncation=True, max_length=32, return_tensors="pt")
        assert told["input_ids"][0].tolist() == list(made.ids)
        with torch.no_grad():
            expected = network.eval()(**told).last_hidden_state[0]
        end = start + len(made.ids)
        np.testing.assert_allclose(states[start:end], expected, atol=2e-3)
        start = end
    assert start == len(states)


def test_tokens_know_their_characters_words_and_whether_they_are_special(model):
    seat, empty, *_, long = model.tokens(TEXTS)
    assert seat.special == (True, False, False, False, False, True)
    assert [seat.text[a:b] for a, b in seat.spans[1:-1]] == ["seat", "heat", "er", "s"]
    assert [(word.text, word.tokens) for word in seat.words] == [
        ("seat", (1,)),
        ("heaters", (2, 3, 4)),
    ]
    assert empty.special == (True, True)
    assert empty.words == []
    assert (len(long.ids), long.left_out) == (32, 50)
    assert all(word.tokens == () for word in long.words[30:])


def test_limits_of_the_tokenizer_and_of_the_network_hold_too(text_copy):
    assert opened(text_copy, limit=1000).limit == 64
    path = text_copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10}))
    assert opened(text_copy, limit=1000).limit == 10
    with pytest.raises(DatasetError, match="leaves none for text"):
        opened(text_copy, limit=2)


def test_a_tokenizer_without_a_padding_token_does_as_well(model, tmp_path, new_text_model):
    folder = new_text_model(tmp_path / "bare", padding=None)
    bare = opened(folder, limit=32)
    assert bare._tokenizer.pad_token_id is None
    first, second = (np.concatenate(list(m.states(m.tokens(TEXTS)))) for m in (model, bare))
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_an_empty_text_without_special_tokens(tmp_path, new_text_model):
    bare = opened(new_text_model(tmp_path / "plain", special=False))
    assert bare.tokens(["map"])[0].special == (False,)
    with pytest.raises(DatasetError, match="2 texts have no tokens, the first is number 1"):
        bare.tokens(["map", "", "  "])


#: Kinds of text models, tiny: a class of transformers', and how its configuration names the sizes.
KINDS = {
    "Bert": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2},
    "DistilBert": {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
    "Roberta": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2},
    "Electra": {"embedding_size": 4, "hidden_size": 8, "num_attention_heads": 2},
    "Albert": {"embedding_size": 4, "hidden_size": 8, "num_attention_heads": 2},
    "GPT2": {"n_embd": 8, "n_layer": 2, "n_head": 2},
    "T5": {"d_model": 8, "d_kv": 4, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "Bart": {
        "d_model": 8,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "forced_eos_token_id": 3,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_state_for_each_of_its_tokens(kind, text_copy):
    """Also kinds that name their width otherwise, and of those that write text their reader."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(vocab_size=64 + 25, **KINDS[kind])
    torch.manual_seed(0)
    network = getattr(transformers, f"{kind}Model")(config).eval()
    network.save_pretrained(text_copy)
    model = opened(text_copy)
    assert model.width == 8
    (made,) = model.tokens(["seat heaters"])
    states = np.concatenate(list(model.states([made])))
    reader = network.get_encoder() if config.is_encoder_decoder else network
    with torch.no_grad():
        expected = reader(input_ids=torch.tensor([made.ids])).last_hidden_state[0]
    np.testing.assert_allclose(states, expected, atol=2e-3)


@pytest.mark.parametrize("text", ["[CLS]", "[PAD] [MASK]", "map [SEP] arrow [UNK]"])
def test_names_of_special_tokens_in_a_text_are_letters(text, model):
    (made,) = model.tokens([text])
    assert made.special == (True, *[False] * (len(made.ids) - 2), True)
    assert 0 not in made.ids  # padding
    assert all(word.tokens for word in made.words)


def test_characters_that_do_not_exist(model):
    with pytest.raises(DatasetError, match=r"1 texts hold characters that do not exist.*number 1"):
        model.tokens(["map", "half a \ud800 pair"])


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_gives_tokens_that_lie_in_it(text, model):
    (made,) = model.tokens([text])
    assert (made.special[0], made.special[-1], len(made.ids)) == (True, True, len(made.spans))
    assert len(made.ids) <= 32
    for (start, end), special in zip(made.spans, made.special, strict=True):
        assert 0 <= start <= end <= len(text)
        assert (start == end) or not special
    placed = [token for word in made.words for token in word.tokens]
    assert sorted(set(placed)) == sorted(placed)


def test_a_tokenizer_of_another_model(text_copy):
    path = text_copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 20}))
    with pytest.raises(DatasetError, match="do not belong together"):
        opened(text_copy)


def test_a_damaged_tokenizer(text_copy):
    (text_copy / "tokenizer.json").write_text("{}")
    with pytest.raises(DatasetError, match="tokenizer cannot be used"):
        opened(text_copy)


def test_weights_in_half_precision_are_computed_with_in_single(text_copy):
    from transformers import AutoModel

    AutoModel.from_pretrained(text_copy).half().save_pretrained(text_copy)
    network = opened(text_copy).network()
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_weights_that_give_nan(text_copy):
    from safetensors.torch import load_file, save_file

    state = load_file(text_copy / "model.safetensors")
    state["encoder.layer.0.output.dense.weight"][:] = torch.nan
    save_file(state, text_copy / "model.safetensors", metadata={"format": "pt"})
    bad = opened(text_copy)
    with pytest.raises(DatasetError, match="NaN"):
        list(bad.states(bad.tokens(["map"])))


def test_a_trainer_does_not_wake_dropout(model):
    tokens = model.tokens(["seat heaters"])
    ids = torch.tensor([tokens[0].ids])
    encoder = Projected(model.network(), TokenEncoder(8, EncoderSettings("tokens", hidden=0)))
    encoder.train()
    assert encoder.projection.training
    assert not any(part.training for part in encoder.network.network.modules())
    first, mask = encoder(ids, torch.tensor([6]))
    second, _ = encoder(ids, torch.tensor([6]))
    assert torch.equal(first, second)
    assert mask.shape == (1, 6)
    first.sum().backward()
    trained = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in encoder.named_parameters() if "projection" in name}


def test_padding_is_not_read(model):
    network = model.network()
    tokens = model.tokens(["seat heaters"])[0]
    ids = torch.tensor([[*tokens.ids, 5, 5]])
    there = torch.tensor([[1] * 6 + [0, 0]])
    alone = network(torch.tensor([tokens.ids]), torch.ones(1, 6, dtype=torch.long))
    torch.testing.assert_close(network(ids, there)[:, :6], alone)
