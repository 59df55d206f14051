"""The finished runs of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2moe_plugin.benchmarks.experiments.loaded import FinishedRun
from i2moe_plugin.benchmarks.run.collect import FoundRuns, find_runs
from i2moe_plugin.errors import ConfigError, RunError, counted, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_FACTS = ("dataset", "fusion", "method", "seed")


class Store:
    """The finished runs of a folder, by name; made by :func:`open_store`.

    Attributes:
        folder: the folder.
        problems: runs that cannot be used, and why: damaged, stopped, or under way.
    """

    def __init__(self, folder: Path, found: FoundRuns) -> None:
        self.folder = folder
        self.problems = dict(found.problems)
        self._runs = [FinishedRun.load(run.path) for run in found.runs]

    def __iter__(self) -> Iterator[FinishedRun]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def select(self, **settings: Any) -> list[FinishedRun]:
        """Return the runs that have these settings.

        Args:
            **settings: such as ``method="i2moe"``, ``seed=0`` or ``lr=1e-3``.

        Raises:
            ConfigError: a setting that no run has.
        """
        known = {key for run in self._runs for key in run.settings}
        for key in settings:
            if self._runs and key not in known:
                raise ConfigError(f"no run has a setting {key!r}.{did_you_mean(key, known)}")
        return [
            run
            for run in self._runs
            if all(run.settings.get(key) == value for key, value in settings.items())
        ]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each run.

        Columns: ``run``, ``dataset``, ``fusion``, ``method``, ``seed``; ``metric``, by which its
        methods are compared, and its ``value`` on test data; ``epochs`` and ``seconds``. Shares are
        from 0 to 1, not in per cent.
        """
        import pandas as pd

        rows = []
        for run in self._runs:
            result = run.result
            metric = str(result.get("headline", result["metric"]))
            rows.append(
                {
                    "run": run.name,
                    **{name: run.settings[name] for name in _FACTS},
                    "metric": metric,
                    "value": result["test"].get(metric),
                    "epochs": result["epochs"],
                    "seconds": result["seconds"].get("total"),
                }
            )
        columns = ["run", *_FACTS, "metric", "value", "epochs", "seconds"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}): {counted(len(self), 'finished run')}"

    def _repr_html_(self) -> str:
        """Return the table, for a notebook."""
        return str(self.table.to_html(index=False, float_format="{:.4f}".format))


def open_store(folder: str | Path = "runs") -> Store:
    """Open the finished runs of a folder.

    Args:
        folder: where runs went: ``out`` of :func:`run`, ``--out`` of the commands.

    Raises:
        RunError: there is no such folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise RunError(f"{path}: no such folder of runs.")
    return Store(path, find_runs([path], required=False))
