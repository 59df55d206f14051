"""MIMIC-III as MultiBench uses it: five static features and a day of twelve measurements.

Keys, labels and split are MultiBench's (``datasets/mimic/get_data.py``). It normalises over all
rows, and a constant column becomes NaN; here training rows alone are fitted, and it becomes 0.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from i2moe_plugin.adapters.checkout import Checkout
from i2moe_plugin.benchmarks.data.batches import Loaders, Values
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.convert import converted, named_after
from i2moe_plugin.benchmarks.data.multibench import CheckoutLoader
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.preprocessing import silence_constant
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SplitRows
from i2moe_plugin.benchmarks.datasets.mimic import PHYSIONET
from i2moe_plugin.benchmarks.datasets.samples import mimic3 as drawn
from i2moe_plugin.benchmarks.encoders import feature_encoder, recurrent_encoder
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.benchmarks.formats.reading import check_array, check_finite, same_length, single
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification

HOURS, MEASURES, STATIC, GROUPS = 24, 12, 5, 20
SPANS = 5  # of time in which a patient died; MultiBench's classes 1 to 5
SHAPES: dict[str, tuple[int | str, ...]] = {
    "ep_tdata": ("N", HOURS, MEASURES),
    "adm_features_all": ("N", STATIC),
    "adm_labels_all": ("N", "L"),
    "y_icd9": ("N", GROUPS),
}

CARD = Card(
    title="MIMIC-III: mortality or ICD-9 groups from static features and measurements",
    source="Johnson et al., MIMIC-III, PhysioNet; preprocessed by MultiBench (Liang et al., 2021)",
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


def _from_checkout(
    checkout: Checkout, folder: DataFolder, settings: Mapping[str, Any], batch_size: int
) -> Loaders:
    module = checkout.module("datasets.mimic.get_data")
    train, valid, tests = module.get_dataloader(
        _group(settings["task"]),
        batch_size=batch_size,
        num_workers=0,
        flatten_time_series=settings["flatten_time_series"],
        imputed_path=str(folder / "im.pk"),
        tabular_robust=False,
        timeseries_robust=False,
    )
    return train, valid, tests["timeseries"][0]  # the one without noise


@register_dataset(
    "mimic3",
    card=CARD,
    modalities=("static", "timeseries"),
    draw=drawn.write,
    checkout=CheckoutLoader(_from_checkout),
)
def read(
    folder: DataFolder,
    task: Literal["mortality"] | Annotated[int, Field(ge=-1, lt=GROUPS)] = "mortality",
    flatten_time_series: bool = False,
) -> Contents:
    """Static features [5] and hourly measurements [24, 12] of a stay in intensive care.

    NaN and infinite values are 0, as in MultiBench; then every column is standardised on training
    rows. Encoders are an MLP and a GRU, as in MultiBench's examples, of whose states it gives the
    last; for token backbones a token an hour.

    Args:
        folder: with im.pk.
        task: ``mortality`` (or -1, as in MultiBench): six classes; or the number 0 to 19 of a
            group of ICD-9 codes: whether the patient has one of them.
        flatten_time_series: measurements as one vector [288].

    Raises:
        DatasetError: a file that is damaged, refused, or of other keys and shapes.
    """
    path, group = folder / "im.pk", _group(task)
    file = converted(path)
    with named_after(path, file):
        on_disk = {name: H5Array(file, name) for name in SHAPES}
    for name, array in on_disk.items():
        check_array(f"{path}: {name}", array, SHAPES[name])
    count = same_length(path, on_disk)
    arrays = {name: np.asarray(array[:], np.float64) for name, array in on_disk.items()}
    target = _targets(path, arrays, group)
    ids = [str(row) for row in range(count)]
    splits = folder.split(split_rows(count), ids, classes=target)

    def modality(name: str, key: str, width: int, encoder: Any, flatten: bool = False) -> Modality:
        scaler = _fit_scaler(arrays[key][splits["train"]])
        column = Values.in_memory(arrays[key], partial(_scaled, str(path), scaler, flatten))
        return Modality(name, column, partial(encoder, width), tabular=True)

    if flatten_time_series:
        encoder, width = feature_encoder, HOURS * MEASURES
    else:
        encoder, width = partial(recurrent_encoder, steps=True), MEASURES
    return Contents(
        splits=splits,
        modalities=[
            modality("static", "adm_features_all", STATIC, feature_encoder),
            modality("timeseries", "ep_tdata", width, encoder, flatten_time_series),
        ],
        target=torch.from_numpy(target),
        task=Classification(SPANS + 1 if group < 0 else 2, auprc=True),
        class_names=["no span", *(f"span {number}" for number in range(1, SPANS + 1))]
        if group < 0
        else ["absent", "present"],
        decisive=lambda: {"task": group, "flatten_time_series": flatten_time_series},
    )


def split_rows(count: int) -> SplitRows:
    """Rows of train, valid and test, shuffled as MultiBench does."""
    rows = list(range(count))
    random.Random(10).shuffle(rows)
    order = np.array(rows, dtype=np.int64)
    first, second = count // 10, count // 5
    return {"train": order[second:], "valid": order[:first], "test": order[first:second]}


def _group(task: int | str) -> int:
    """Return the number of a task; -1 is mortality."""
    return -1 if task == "mortality" else int(task)


def _targets(
    path: Path, arrays: Mapping[str, NDArray[np.float64]], group: int
) -> NDArray[np.int64]:
    """Return the class of each row: of MultiBench's spans the first that is set, or the group's."""
    name = "adm_labels_all" if group < 0 else "y_icd9"
    check_finite(f"{path}: {name}", arrays[name])
    if group >= 0:
        present = arrays[name][:, group]
        if not np.isin(present, (0, 1)).all():
            raise DatasetError(f"{path}: y_icd9 is 0 or 1; column {group} is not.")
        return present.astype(np.int64)
    if arrays[name].shape[1] <= SPANS:
        raise DatasetError(
            f"{path}: adm_labels_all has {arrays[name].shape[1]} columns; expected 6 or more."
        )
    spans = arrays[name][:, 1 : SPANS + 1] > 0
    return np.where(spans.any(1), spans.argmax(1) + 1, 0).astype(np.int64)


def _fit_scaler(train: NDArray[np.float64]) -> Any:
    """scikit-learn's scaler of the last axis."""
    from sklearn.preprocessing import StandardScaler

    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers
        scaler = StandardScaler().fit(_finite(train).reshape(-1, train.shape[-1]))
    return silence_constant(scaler)


def _scaled(
    where: str, scaler: Any, flatten: bool, values: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Rows [B, ..., F] as float32, each of F columns by its training rows' mean and deviation."""
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers
        scaled = single(scaler.transform(_finite(values).reshape(-1, values.shape[-1])))
    check_finite(where, scaled)
    return scaled.reshape((len(values), -1) if flatten else values.shape)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def get_dataloader(
    root: str | Path | int | None = None,
    batch_size: int = 40,
    num_workers: int = 0,
    train_shuffle: bool = True,
    seed: int = 0,
    *,
    imputed_path: str | Path | None = None,
    tabular_robust: bool = False,
    timeseries_robust: bool = False,
    **options: Any,
) -> Loaders:
    """MultiBench's call: batches of [B, 5], [B, 24, 12] and labels [B].

    Args:
        root: the folder, or MultiBench's task number.
        batch_size, num_workers, train_shuffle, seed: of the loaders.
        imputed_path: the file, as MultiBench calls it.
        tabular_robust, timeseries_robust: noise on test rows, which is not offered.
        **options: the data set's settings.

    Raises:
        ConfigError: noise, or a file of another name, is asked for.
        DatasetError: a file that is missing, damaged or refused.
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
    data = open_dataset("mimic3", root, **options).prepare(frozen=False)
    return data.loaders(batch_size, num_workers, train_shuffle, seed)
