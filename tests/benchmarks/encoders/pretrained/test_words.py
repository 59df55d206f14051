"""Words, and which of them a token belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.encoders.pretrained.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \n", []),
        ("seat heater", ["seat", "heater"]),
        ("it's o’clock", ["it's", "o’clock"]),
        ("a-b, 2!", ["a", "-", "b", ",", "2", "!"]),
        ("snake_case naïve", ["snake_case", "naïve"]),
        ("中文x かな", ["中", "文", "x", "か", "な"]),
        ("한국어", ["한", "국", "어"]),
        ("🎉🎉", ["🎉", "🎉"]),
        ("'quoted'", ["'", "quoted", "'"]),
    ],
)
def test_the_rule(text, words):
    assert [word.text for word in words_of(text)] == words


@given(st.text(max_size=30))
def test_words_hold_everything_but_white_space_once_and_in_order(text):
    words = words_of(text)
    places = [place for word in words for place in range(word.start, word.end)]
    assert places == sorted(set(places))
    assert [text[p] for p in places] == [c for c in text if not c.isspace()]
    assert all(text[word.start : word.end] == word.text for word in words)


@given(st.text(alphabet="ab -'", max_size=12), st.data())
def test_each_token_belongs_to_one_word_at_most(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    spans = list(zip([0, *cuts], [*cuts, len(text)], strict=True))
    owners = [token for word in words_of(text, spans) for token in word.tokens]
    assert len(owners) == len(set(owners))
    for token, (start, end) in enumerate(spans):
        assert (token in owners) == bool(text[start:end].strip())


def test_a_token_over_two_words_belongs_to_the_first():
    first, second = words_of("a b", [(0, 3)])
    assert (first.tokens, second.tokens) == ((0,), ())


def test_special_tokens_belong_to_none():
    (word,) = words_of("a", [(0, 1), (0, 1)], [True, False])
    assert word.tokens == (1,)
