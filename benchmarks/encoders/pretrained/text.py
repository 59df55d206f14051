"""Tokens of a text by a frozen Hugging Face model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.encoders.pretrained.configuration import whole
from i2moe_plugin.benchmarks.encoders.pretrained.folders import ModelFolder
from i2moe_plugin.benchmarks.encoders.pretrained.network import (
    PretrainedNetwork,
    load_network,
    read_configuration,
)
from i2moe_plugin.benchmarks.encoders.pretrained.requirements import INSTALL
from i2moe_plugin.benchmarks.encoders.pretrained.words import Word, words_of
from i2moe_plugin.errors import DatasetError, listed

LIMIT = 320  # tokens; the length that the authors of FL-I2MoE cut at
BATCH = 32


@dataclass(frozen=True)
class TextTokens:
    """A text as its tokens.

    Attributes:
        text: the text.
        ids: T numbers in the tokenizer's vocabulary.
        spans: for each token the characters it stands for, ``(start, end)``; ``(0, 0)`` for none.
        special: for each token, whether the tokenizer added it (a mark of start or end).
        left_out: how many tokens of the text were cut off at the limit.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]
    left_out: int = 0

    @property
    def words(self) -> list[Word]:
        """The text's words with their tokens; see :mod:`words`."""
        return words_of(self.text, self.spans, self.special)


class TextModel:
    """A tokenizer and a frozen network that gives a state for each token.

    Special tokens, such as the mark of a text's start, are encoded and kept: they have states too,
    and :attr:`TextTokens.special` says which they are. Padding is put behind, by hand, so that a
    tokenizer without a padding token does as well.

    Args:
        model: its folder.
        limit: tokens of a text, special ones included; the rest is cut off. The tokenizer's and the
            network's own limits hold besides.

    Attributes:
        width: F, of a token's state.

    Raises:
        DatasetError: transformers is not installed, or the tokenizer cannot be used.
    """

    def __init__(self, model: ModelFolder, limit: int = LIMIT) -> None:
        self.model = model
        config = read_configuration(model, "text")
        self._tokenizer = _load_tokenizer(model)
        problems = []
        longest = self._tokenizer.model_max_length
        if not isinstance(longest, (int, float)) or not longest >= 1:
            problems.append(
                f"tokenizer_config.json: model_max_length should be a number from 1, not "
                f"{longest!r:.40}"
            )
            longest = limit
        self.limit = int(min(limit, longest, whole(config, "max_position_embeddings") or limit))
        self.width = whole(config, "hidden_size") or 0
        if not self.width:
            problems.append(
                f"the configuration of a {config.model_type} has no hidden_size: it is no model of "
                "one state a token"
            )
        added = self._tokenizer.num_special_tokens_to_add()
        if self.limit <= added:
            problems.append(
                f"a limit of {self.limit} tokens leaves none for text beside {added} special ones"
            )
        vocabulary = whole(config, "vocab_size")
        if vocabulary is not None and len(self._tokenizer) > vocabulary:
            problems.append(
                f"the tokenizer has {len(self._tokenizer)} tokens, the network {vocabulary}: they "
                "do not belong together"
            )
        if problems:
            raise DatasetError(f"{model.path} cannot be used:\n{listed(problems)}")

    def tokens(self, texts: Sequence[str]) -> list[TextTokens]:
        """Each text's tokens, cut at the limit.

        Raises:
            DatasetError: a text without any token: it is empty, and the tokenizer adds none; or
                characters that do not exist.
        """
        if not texts:
            return []
        broken = [number for number, text in enumerate(texts) if not _writable(text)]
        if broken:
            raise DatasetError(
                f"{len(broken)} texts hold characters that do not exist (halves of surrogate "
                f"pairs), the first is number {broken[0]}: {texts[broken[0]]!r:.60}."
            )
        with _using(self.model):
            found = self._tokenizer(
                list(texts),
                truncation=True,
                max_length=self.limit,
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
                return_overflowing_tokens=True,
                return_attention_mask=False,
                split_special_tokens=True,  # "[SEP]" in a text is its letters
            )
        # What is cut off comes as further rows: a text's first row is the one that is kept.
        first: dict[int, int] = {}
        left_out: dict[int, int] = {}
        for row, text in enumerate(found["overflow_to_sample_mapping"]):
            if text in first:
                left_out[text] = left_out.get(text, 0) + sum(
                    not special for special in found["special_tokens_mask"][row]
                )
            else:
                first[text] = row
        result = [
            TextTokens(
                text,
                tuple(found["input_ids"][row]),
                tuple((int(a), int(b)) for a, b in found["offset_mapping"][row]),
                tuple(bool(special) for special in found["special_tokens_mask"][row]),
                left_out.get(number, 0),
            )
            for number, text in enumerate(texts)
            for row in (first[number],)
        ]
        empty = [str(number) for number, text in enumerate(result) if not text.ids]
        if empty:
            raise DatasetError(
                f"{len(empty)} texts have no tokens, the first is number {empty[0]}: they are "
                f"empty, and the tokenizer of {self.model.name} adds no token of its own."
            )
        return result

    def network(self) -> TextNetwork:
        """The frozen network.

        Raises:
            DatasetError: weights that do not fit the configuration.
        """
        return TextNetwork(self, load_network(self.model, "text_model"))

    def states(
        self,
        tokens: Sequence[TextTokens],
        device: torch.device | str = "cpu",
        batch_size: int = BATCH,
    ) -> Iterator[NDArray[np.float16]]:
        """The states of all tokens of all texts, one after another, in blocks [sum of T, F].

        Raises:
            DatasetError: weights that do not fit or that give NaN, or more tokens than the network
                has positions for.
        """
        network = self.network().to(device)
        filler = self._tokenizer.pad_token_id or 0
        for start in range(0, len(tokens), batch_size):
            batch = tokens[start : start + batch_size]
            longest = max(len(text.ids) for text in batch)
            ids = torch.full((len(batch), longest), filler)
            there = torch.zeros_like(ids)
            for row, text in enumerate(batch):
                ids[row, : len(text.ids)] = torch.tensor(text.ids)
                there[row, : len(text.ids)] = 1
            states = network(ids.to(device), there.to(device))
            kept = states[there.bool().to(device)].half().cpu()
            if not kept.isfinite().all():
                raise DatasetError(f"{self.model.path}: its weights give NaN or infinite states.")
            yield kept.numpy()


class TextNetwork(PretrainedNetwork):
    """Token numbers [B, T] and which are no padding [B, T] (1 or 0) -> states [B, T, F]."""

    def __init__(self, model: TextModel, network: nn.Module) -> None:
        super().__init__(network, model.model.name)
        self.width = model.width

    def forward(self, ids: Tensor, there: Tensor) -> Tensor:  # type: ignore[override]
        """The last layer's states.

        Raises:
            DatasetError: more tokens than the network has positions for, or a network that does not
                give one state a token.
        """
        what = f"{ids.shape[1]} tokens; with fewer, set a lower limit"
        states: Tensor = self.run(what, input_ids=ids, attention_mask=there).last_hidden_state
        if states.shape != (*ids.shape, self.width):
            raise DatasetError(
                f"{self.name} gives states {list(states.shape)} for tokens {list(ids.shape)}: it "
                f"is no model of one state a token, {self.width} wide."
            )
        return states


def _load_tokenizer(model: ModelFolder) -> Any:
    with _using(model):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            str(model.path), local_files_only=True, trust_remote_code=False, use_fast=True
        )
    if not getattr(tokenizer, "is_fast", False):
        raise DatasetError(
            f"{model.path}: has no tokenizer.json, which says what characters a token stands for. "
            "Save it with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) where its "
            f"own requirements are installed ({INSTALL})."
        )
    return tokenizer


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _using(model: ModelFolder) -> Iterator[None]:
    """Turn whatever a tokenizer raises into a DatasetError that names its folder."""
    try:
        yield
    except BaseException as error:  # tokenizers and transformers raise nearly anything
        # A panic inside the package tokenizers is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DatasetError(f"{model.path}: its tokenizer cannot be used ({reason}).") from error
