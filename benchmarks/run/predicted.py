"""What a trained model says of samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.run.files import disk_errors_explained, replacing, write_json
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation import Outputs
from i2moe_plugin.interpretation.local import probability
from i2moe_plugin.tasks import Classification, Regression

if TYPE_CHECKING:
    import pandas as pd

#: The files that predictions are written into, by their endings.
ENDINGS = (".csv", ".parquet", ".json")


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a trained model says of samples; rows are samples.

    Attributes:
        run: the name of the run's directory, or what a model's folder is of.
        outputs: predictions, experts' outputs and weights, in the targets' units. Its target is
            of no meaning where ``labelled`` is false.
        labelled: [N], whether a sample came with its target.
        notes: what must stand beside them.
    """

    run: str
    outputs: Outputs
    labelled: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.outputs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each sample.

        Columns: ``id``; ``prediction``, the class's name (of several outputs ``prediction:NAME``:
            whether a label holds, or a real value in the target's units); ``probability:NAME`` of
            each class or label; ``weight:EXPERT`` of each expert; and ``label`` (``label:NAME``)
            where samples came with targets, empty for those that did not.
        """
        import pandas as pd

        one, columns = self.outputs, {"id": self.outputs.sample_id}
        decided = one.decided
        columns |= self._named("prediction", decided)
        if not isinstance(one.task, Regression):
            chances = probability(one)
            columns |= {
                f"probability:{name}": chances[:, place]
                for place, name in enumerate(one.class_names)
            }
        if one.weights is not None:
            columns |= {
                f"weight:{name}": one.weights[:, place] for place, name in enumerate(one.experts)
            }
        if self.labelled.any():
            labels = self._named("label", one.target)
            for name, values in labels.items():
                columns[name] = values.astype(object)
                columns[name][~self.labelled] = None
        return pd.DataFrame(columns)

    def _named(self, what: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return decisions or targets as columns."""
        one = self.outputs
        if isinstance(one.task, Classification):
            return {what: np.array(one.class_names, dtype=object)[values.astype(int)]}
        table = values.reshape(len(one), len(one.class_names))
        if not isinstance(one.task, Regression):
            table = table.astype(bool)
        if len(one.class_names) == 1:
            return {what: table[:, 0]}
        return {f"{what}:{name}": table[:, i] for i, name in enumerate(one.class_names)}

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "run": self.run,
            "task": self.outputs.task.name,
            "class_names": list(self.outputs.class_names),
            "experts": list(self.outputs.experts),
            "notes": list(self.notes),
            "samples": self.table.to_dict("records"),
        }

    def write(self, path: Path) -> Path:
        """Write a csv, parquet or json file; its ending says which.

        Raises:
            ConfigError: another ending, or parquet without pyarrow.
            RunError: the file cannot be written.
        """
        ending = path.suffix.lower()
        if ending not in ENDINGS:
            raise ConfigError(f"{path}: the file must end in {', '.join(ENDINGS)}.")
        if ending == ".json":
            write_json(path, self.as_dict())
            return path
        with disk_errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside:
            if ending == ".csv":
                self.table.to_csv(aside, index=False, encoding="utf-8", lineterminator="\n")
                return path
            try:
                self.table.to_parquet(aside, index=False)
            except ImportError as error:
                raise ConfigError(
                    "parquet files need pyarrow: pip install 'i2moe-plugin[parquet]'."
                ) from error
        return path

    def _repr_html_(self) -> str:
        """Return the first rows, for a notebook."""
        return self.table.head(20).to_html(index=False)
