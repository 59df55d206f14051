"""Terms of texts: scikit-learn's words where spaces part them, characters and pairs elsewhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from i2moe_plugin.benchmarks.data.words import fit_tf_idf, terms_of
from i2moe_plugin.errors import DatasetError

SKLEARN = TfidfVectorizer().build_analyzer()
LATIN = st.characters(max_codepoint=0x24F, exclude_characters="\u0130")  # whose lower case is two


@given(st.text(LATIN))
def test_words_are_scikit_learns(text):
    assert terms_of(text) == SKLEARN(text)


@given(st.text("\u4eca\u5929\u6c14\u5f88\u597d\u304b\u306a\u30ab\u0e2a\u0e27\u0e31", min_size=1))
def test_scripts_without_spaces_give_characters_and_pairs(text):
    pairs = [a + b for a, b in pairwise(text)]
    assert terms_of(text) == [*text, *pairs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u5929\u6c14 is Nice", ["\u5929", "\u6c14", "\u5929\u6c14", "is", "nice"]),
        ("ab\u6f22cd", ["ab", "\u6f22", "cd"]),
        ("\U0001f600\U0001f600!", ["\U0001f600", "\U0001f600", "\U0001f600\U0001f600"]),
        ("\u2764\ufe0f so", ["\u2764", "so"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 x", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("cafe\u0301 au", ["cafe\u0301", "au"]),
        ("\ud55c\uad6d\uc5b4 \ud14d", ["\ud55c\uad6d\uc5b4"]),
        ("", []),
        ("!? ,", []),
    ],
)
def test_terms(text, expected):
    assert terms_of(text) == expected


def test_letters_count_where_there_are_no_words():
    fitted = fit_tf_idf("t", ["7", "b", "a c", ""], 100)
    assert sorted(fitted.vectorizer.vocabulary_) == ["7", "a", "b", "c"]
    fitted = fit_tf_idf("t", ["some words"] * 99 + ["a"], 100)
    assert sorted(fitted.vectorizer.vocabulary_) == ["some", "words"]


def test_every_text_of_a_script_without_spaces_is_known():
    texts = ["\u4eca\u5929\u5929\u6c14\u5f88\u597d", "\u6211\u5f88\u96be\u8fc7"]
    fitted = fit_tf_idf("t", texts, 1000)
    new = fitted(["\u4eca\u5929\u6211\u5f88\u597d", "other"])
    assert np.count_nonzero(new[0]) >= 5
    assert not new[1].any()


@pytest.mark.parametrize(("texts", "reason"), [(["", " "], "all are empty"), (["", "!!"], "'!!'")])
def test_texts_without_any_word(texts, reason):
    with pytest.raises(DatasetError, match=rf"^t: no training text holds a word; .*{reason}"):
        fit_tf_idf("t", texts, 10)
