"""What a study looks at, and how much of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.attribution.faithfulness import REPEATS, SHARES
from i2moe_plugin.attribution.features import MEMORY_BUDGET
from i2moe_plugin.attribution.maps import (
    Maps,
    explain_tokens,
    explainers_of,
    rows_at_once,
    usual_of,
)
from i2moe_plugin.attribution.study import DRAWS, PAIRS, masked_outputs
from i2moe_plugin.attribution.targets import Targets
from i2moe_plugin.attribution.tokens import TokenModel, Tokens
from i2moe_plugin.errors import ConfigError

SAMPLES = 200


@dataclass(frozen=True)
class StudyOptions:
    """How much is looked at.

    Attributes:
        samples: test samples, drawn by a fixed seed; all there are, if fewer.
        shares: of features that are masked, increasing.
        repeats: of random controls.
        pairs: pairs a sample; 0: none.
        draws: contexts of each pair.
        fill: what stands for a masked token: the training data's ``mean`` token, or ``zero``.
        memory_budget: bytes that a pass may keep.

    Raises:
        ConfigError: draws that pairs cannot be probed by.
    """

    samples: int = SAMPLES
    shares: tuple[float, ...] = SHARES
    repeats: int = REPEATS
    pairs: int = PAIRS
    draws: int = DRAWS
    fill: str = "mean"
    memory_budget: int = MEMORY_BUDGET

    def __post_init__(self) -> None:
        """Check what would be found out after minutes."""
        if self.pairs and (self.draws < 4 or self.draws % 2):
            raise ConfigError(f"draws must be at least 4, and even, not {self.draws}.")

    @property
    def key(self) -> dict[str, Any]:
        """What decides the numbers."""
        facts = {k: v for k, v in self.__dict__.items() if k != "memory_budget"}
        return {**facts, "shares": list(self.shares)}


@dataclass
class Counted:
    """How often a model was asked.

    Attributes:
        evaluations: samples, or masked versions of one, that went through the experts of a scope.
        pairs: those of them that pairs took.
        naive: how many a loop over pairs and contexts would have taken for them.
        seconds: by part.
    """

    evaluations: int = 0
    pairs: int = 0
    naive: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, part: str, compute: Callable[[], Any]) -> Any:
        """Do a part, and add its time."""
        start = time.perf_counter()
        found = compute()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start
        return found


@dataclass(frozen=True, eq=False)
class Study:
    """What all parts of a study look at.

    Attributes:
        model, options: the model, and how much is looked at.
        tokens: of the samples.
        targets: what is explained of each, chosen from the complete input.
        truth: the samples' labels, as the task's metric takes them.
        metric: what methods are compared by.
        fill: for each modality what stands for a masked token, [D].
        counted: how often the model was asked.
        maps: importance by scope and explainer.
    """

    model: TokenModel
    options: StudyOptions
    tokens: Tokens
    targets: Targets
    truth: NDArray[Any]
    metric: str
    fill: Sequence[Tensor]
    counted: Counted
    maps: dict[tuple[str, str], Maps] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)

    @cached_property
    def explainers(self) -> list[str]:
        """Those that can look into this model: rollouts need attention over all tokens."""
        return explainers_of(self.model, self.tokens)

    @property
    def usual(self) -> str:
        """The explainer whose maps pairs, concentration and agreement go by."""
        return usual_of(self.explainers)

    def nothing(self) -> list[Tensor]:
        """Masks that take nothing away."""
        return [torch.zeros_like(there) for there in self.tokens.candidates]

    def outputs(self, masks: Sequence[Tensor], scope: str) -> Tensor:
        """What a scope says with tokens taken away, [B, C]."""
        self.counted.evaluations += len(self.tokens)
        rows = self.rows_at_once(scope)
        return masked_outputs(self.model, self.tokens, masks, self.fill, scope, rows)

    def rows_at_once(self, scope: str) -> int:
        """How many versions of samples a pass may take within the memory budget."""
        if scope not in self._rows:
            budget = self.options.memory_budget
            self._rows[scope] = rows_at_once(self.model, self.tokens, scope, budget)
        return self._rows[scope]

    def explained(self, explainer: str, scope: str, seed: int = 0) -> Maps:
        """The importance of each token."""
        return explain_tokens(
            explainer,
            self.model,
            self.tokens,
            self.targets,
            scope,
            seed=seed,
            memory_budget=self.options.memory_budget,
        )
