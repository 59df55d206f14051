"""The trials of searches, kept in one SQLite file that optuna's own tools can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from i2moe_plugin.benchmarks.run.files import disk_errors_explained
from i2moe_plugin.benchmarks.run.locks import hold
from i2moe_plugin.benchmarks.tuning.search import direction, import_optuna
from i2moe_plugin.errors import RunError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

#: The attribute that says which trial of its search one is: files keep them as they end.
NUMBER = "number"


class Studies:
    """The searches of a file; only trials that are over are kept.

    Args:
        path: the file; made with the first trial.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from tuning into the same file.

        Raises:
            RunError: one does so already.
        """
        with disk_errors_explained(self.path):
            lock = hold(self.path)
        if lock is None:
            raise RunError(f"another process is tuning into {self.path}; wait for it to end.")
        try:
            yield
        finally:
            lock.release()

    def study(self, name: str, higher: bool) -> Study:
        """Return a search, which is begun where there is none of that name.

        Raises:
            RunError: the file cannot be read or written, or is of another version of optuna.
        """
        with self._explained():
            found: Study = import_optuna().create_study(
                storage=self._storage,
                study_name=name,
                direction=direction(higher),
                load_if_exists=True,
            )
        return found

    @cached_property
    def _storage(self) -> BaseStorage:
        from sqlalchemy import URL

        url = URL.create("sqlite", database=str(self.path.absolute()))
        return cast("BaseStorage", import_optuna().storages.RDBStorage(url.render_as_string()))

    def trials(self, study: Study) -> dict[int, FrozenTrial]:
        """Return the trials of a search that are over, by their number.

        Raises:
            RunError: the file cannot be read.
        """
        with self._explained():
            return {trial.user_attrs[NUMBER]: trial for trial in study.get_trials()}

    def add(self, study: Study, trial: FrozenTrial) -> None:
        """Keep a trial that is over.

        Raises:
            RunError: the file cannot be written.
        """
        with self._explained():
            study.add_trial(trial)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what goes wrong with the file into an error that names it."""
        from sqlalchemy.exc import SQLAlchemyError

        errors = import_optuna().exceptions
        try:
            yield
        except (SQLAlchemyError, errors.StorageInternalError, RuntimeError, KeyError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            full = "disk is full" in reason
            advice = "Free some space" if full else "Move it away, for a search that starts anew"
            raise RunError(
                f"{self.path} cannot be used as the file of a search: {reason.removesuffix('.')}. "
                f"{advice}, or choose another folder with --out."
            ) from error
