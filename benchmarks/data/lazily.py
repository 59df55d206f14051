"""What is computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any


class Later:
    """An array [N, ...], or a fitted transform, that is made when it is first used.

    Args:
        make: gives it.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def value(self) -> Any:
        """What is made."""
        return self._make()

    def prepare(self, _: Any) -> None:
        """Make it now, before other processes would each make it."""
        _ = self.value

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Any) -> Any:
        return self.value[rows]

    def __call__(self, values: Any) -> Any:
        return self.value(values)
