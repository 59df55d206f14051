"""MIMIC-III as MultiBench uses it: five static features and a day of twelve measurements.

Keys, labels and split are MultiBench's (``datasets/mimic/get_data.py``). It normalises over all
rows, and a constant column becomes NaN; here training rows alone are fitted, and it becomes 0.
"""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from i2moe_plugin.benchmarks.data.base import ArraySplit, SplitName
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.convert import converted
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.mimic import PHYSIONET
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder
from i2moe_plugin.benchmarks.encoders.recurrent import recurrent_encoder
from i2moe_plugin.benchmarks.formats.readers import H5Array, check_finite, same_length
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification

HOURS, MEASURES, STATIC, GROUPS = 24, 12, 5, 20
SPANS = 5  # of time in which a patient died; MultiBench's classes 1 to 5
WIDTHS = {
    "ep_tdata": (HOURS, MEASURES),
    "adm_features_all": (STATIC,),
    "adm_labels_all": (None,),
    "y_icd9": (GROUPS,),
}


@register_dataset("mimic3")
class MIMIC3(FileDataset):
    """Static features [5] and hourly measurements [24, 12] of a stay in intensive care.

    NaN and infinite values are 0, as in MultiBench; then every column is standardised on training
    rows.

    Args:
        root: folder with im.pk; data/mimic3 if not told.
        task: ``mortality`` (or -1, as in MultiBench): six classes; or the number 0 to 19 of a
            group of ICD-9 codes: whether the patient has one of them.
        flatten_time_series: measurements as one vector [288].

    Raises:
        ConfigError: another task.
        DatasetError: a file that is missing, damaged, refused, or of other keys and shapes.
    """

    card = Card(
        title="MIMIC-III: mortality or ICD-9 groups from static features and measurements",
        source="Johnson et al., MIMIC-III, PhysioNet; preprocessed by MultiBench (Liang et al., "
        "2021)",
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        citation="Johnson et al. MIMIC-III, a freely accessible critical care database. Scientific "
        "Data 3, 2016.",
        files=(
            File(
                "im.pk",
                "pickle of four arrays, one stay a row",
                (
                    Key("ep_tdata", ("N", HOURS, MEASURES), "f", "measurements, one row an hour"),
                    Key("adm_features_all", ("N", STATIC), "f", "static features"),
                    Key(
                        "adm_labels_all",
                        ("N", "L"),
                        "number",
                        "L is at least 6; columns 1 to 5: died within growing spans of time",
                    ),
                    Key(
                        "y_icd9",
                        ("N", GROUPS),
                        "number",
                        "0 or 1: has a code of the group; 1 is 140-239, 7 is 460-519",
                    ),
                ),
            ),
        ),
        splits="Random(10) shuffle of the rows: the first tenth valid, the second test, the rest "
        "train; their number is not published (MultiBench's test accuracies are multiples of "
        "1/3262)",
        how_to_get=f"{PHYSIONET}, https://physionet.org/content/mimiciii/1.4/. Then ask "
        "MultiBench's authors for im.pk with proof of it, as the README of "
        "https://github.com/pliang279/MultiBench says.",
        access="request",
    )
    modalities = ("static", "timeseries")

    def __init__(
        self,
        root: str | Path | None = None,
        task: int | str = "mortality",
        flatten_time_series: bool = False,
    ) -> None:
        self._group = _group(task)
        if not isinstance(flatten_time_series, bool):
            raise ConfigError(
                f"data.flatten_time_series is true or false, not {flatten_time_series!r}."
            )
        super().__init__(root)
        self.flatten_time_series = flatten_time_series
        arrays = self._read(self.folder / "im.pk")
        self._labels = torch.from_numpy(self._targets(arrays))
        count = len(self._labels)
        self._set_splits(split_rows(count), [str(row) for row in range(count)])
        static = self._standardised(arrays["adm_features_all"])
        series = self._standardised(arrays["ep_tdata"])
        self._columns = [static, series.flatten(1) if flatten_time_series else series]

    @property
    def task(self) -> Classification:
        """Six classes of mortality, or whether a code of the group was given."""
        return Classification(SPANS + 1 if self._group < 0 else 2, auprc=True)

    @property
    def class_names(self) -> list[str]:
        if self._group < 0:
            return ["no span", *(f"span {number}" for number in range(1, SPANS + 1))]
        return ["absent", "present"]

    def split(self, name: SplitName) -> ArraySplit:
        """Items (static [5], measurements [24, 12], label)."""
        rows = torch.from_numpy(self._rows[name])
        return ArraySplit([column[rows] for column in self._columns], self._labels[rows])

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._labels.numpy()[self._rows[name]]

    def features(self, name: SplitName) -> NDArray[Any]:
        """Static features and all hours side by side, [N, 293]."""
        rows = self._rows[name]
        return np.concatenate([c.numpy()[rows].reshape(len(rows), -1) for c in self._columns], 1)

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """An MLP and a GRU, as in MultiBench's examples; for token backbones a token an hour.

        MultiBench flattens the GRU's states into a vector; here it is the last of them.
        """
        series = (
            feature_encoder(HOURS * MEASURES, settings)
            if self.flatten_time_series
            else recurrent_encoder(MEASURES, settings, steps=True)
        )
        return [feature_encoder(STATIC, settings), series]

    def _told(self) -> dict[str, Any]:
        return {"task": self._group, "flatten_time_series": self.flatten_time_series}

    @classmethod
    def get_dataloader(
        cls,
        root: str | Path | int | None = None,
        batch_size: int = 40,
        *args: Any,
        imputed_path: str | Path | None = None,
        tabular_robust: bool = False,
        timeseries_robust: bool = False,
        **options: Any,
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call: batches of [B, 5], [B, 24, 12] and labels [B].

        Args:
            root: the folder, or MultiBench's task number.
            batch_size: samples a batch.
            *args: num_workers, train_shuffle, seed.
            imputed_path: the file, as MultiBench calls it.
            tabular_robust, timeseries_robust: noise on test rows, which is not offered.
            **options: the data set's settings, and the above by their names.

        Raises:
            ConfigError: noise, or a file of another name, is asked for.
        """
        if tabular_robust or timeseries_robust:
            raise ConfigError(
                "noise on test rows is not offered: tabular_robust and timeseries_robust are False."
            )
        if isinstance(root, int):
            options["task"], root = root, None
        if imputed_path is not None:
            if Path(imputed_path).name != "im.pk":
                raise ConfigError(f"imputed_path: the file is called im.pk, not {imputed_path}.")
            root = Path(imputed_path).parent
        return super().get_dataloader(root, batch_size, *args, **options)

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, count: int = 800) -> None:
        """Draw stays in the published format.

        Each outcome depends on a static feature, on the level and the slope of a measurement, and
        on the product of another feature's sign with another slope, which neither tells alone.
        """
        draw = np.random.default_rng(seed)
        static = draw.normal(size=(count, STATIC))
        level, slope = draw.normal(size=(2, count, MEASURES))
        hours = np.linspace(-1, 1, HOURS)[None, :, None]
        series = level[:, None] + slope[:, None] * hours
        series += 0.5 * draw.normal(size=(count, HOURS, MEASURES))
        outcome = np.arange(GROUPS + 1)
        feature, measure = outcome % STATIC, outcome % MEASURES
        risk = 1.5 * (static[:, feature] + level[:, measure] + slope[:, measure])
        risk += 1.5 * np.sign(static[:, feature - 1]) * slope[:, measure - 1]
        risk += 0.5 * draw.normal(size=risk.shape)
        rank = risk.argsort(0).argsort(0) / count
        # Who died within a span died within every longer one.
        spans = rank[:, [0]] > 1 - 0.12 * np.arange(1, SPANS + 1)
        series[draw.random(series.shape) < 0.01] = np.nan
        content = {
            "ep_tdata": 20 + 10 * series,
            "adm_features_all": 50 + 20 * static,
            "adm_labels_all": np.concatenate([spans[:, :1], spans], 1).astype(np.float64),
            "y_icd9": (rank[:, 1:] > 0.6).astype(np.float64),
        }
        with writing_sample(folder, "MIMIC-III", seed) as aside:
            (aside / "im.pk").write_bytes(pickle.dumps(content, protocol=4))

    def _read(self, path: Path) -> dict[str, NDArray[np.float64]]:
        file = converted(path)
        arrays = {name: H5Array(file, name) for name in WIDTHS}
        for name, array in arrays.items():
            wrong = len(array.shape) != 1 + len(WIDTHS[name]) or any(
                wanted not in (None, size)
                for size, wanted in zip(array.shape[1:], WIDTHS[name], strict=False)
            )
            if wrong or array.dtype.kind not in "fiub":
                shape = ", ".join(["N", *(str(w or "6 or more") for w in WIDTHS[name])])
                raise DatasetError(
                    f"{path}: {name} should be numbers [{shape}], not {array.dtype} "
                    f"{list(array.shape)}."
                )
        same_length(path, arrays)
        return {name: np.asarray(array[:], np.float64) for name, array in arrays.items()}

    def _targets(self, arrays: dict[str, NDArray[np.float64]]) -> NDArray[np.int64]:
        """The class of each row: of MultiBench's spans the first that is set, or the group's."""
        path = self.folder / "im.pk"
        name = "adm_labels_all" if self._group < 0 else "y_icd9"
        check_finite(f"{path}: {name}", arrays[name])
        if self._group >= 0:
            group = arrays[name][:, self._group]
            if not np.isin(group, (0, 1)).all():
                raise DatasetError(f"{path}: y_icd9 is 0 or 1; column {self._group} is not.")
            return group.astype(np.int64)
        if arrays[name].shape[1] <= SPANS:
            raise DatasetError(
                f"{path}: adm_labels_all has {arrays[name].shape[1]} columns; expected 6 or more."
            )
        spans = arrays[name][:, 1 : SPANS + 1] > 0
        return np.where(spans.any(1), spans.argmax(1) + 1, 0).astype(np.int64)

    def _standardised(self, values: NDArray[np.float64]) -> torch.Tensor:
        """[N, ..., F] as float32, each of F columns by its training rows' mean and deviation."""
        from sklearn.preprocessing import StandardScaler

        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        flat = values.reshape(-1, values.shape[-1])
        train = values[self._rows["train"]].reshape(-1, values.shape[-1])
        with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers
            scaled = StandardScaler().fit(train).transform(flat).astype(np.float32)
        check_finite(str(self.folder / "im.pk"), scaled)
        return torch.from_numpy(scaled.reshape(values.shape))


get_dataloader = MIMIC3.get_dataloader


def split_rows(count: int) -> dict[SplitName, NDArray[Any]]:
    """Rows of train, valid and test, shuffled as MultiBench does."""
    rows = list(range(count))
    random.Random(10).shuffle(rows)
    order = np.array(rows, dtype=np.int64)
    first, second = count // 10, count // 5
    return {"train": order[second:], "valid": order[:first], "test": order[first:second]}


def _group(task: int | str) -> int:
    """The number of a task; -1 is mortality."""
    number = -1 if task == "mortality" else task
    if isinstance(number, bool) or not isinstance(number, int) or not -1 <= number < GROUPS:
        raise ConfigError(
            f"data.task is mortality or the number 0 to {GROUPS - 1} of a group of ICD-9 codes, "
            f"not {task!r}."
        )
    return number
