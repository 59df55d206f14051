"""Stocks: daily returns of several tickers; how far will one of them move on the next day?

Inputs, target, split and batches are MultiBench's (``datasets/stocks/get_data.py``), from csv files
in place of its downloads, which the service no longer answers.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import MARKER, DataFolder
from i2moe_plugin.benchmarks.data.splits import consecutive
from i2moe_plugin.benchmarks.datasets.samples import stocks as drawn
from i2moe_plugin.benchmarks.encoders import EncoderSettings, recurrent_encoder
from i2moe_plugin.benchmarks.formats.tables import numbers, read_csv
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean
from i2moe_plugin.tasks import Regression

LEVELS = 25  # a window's returns are rounded to so many steps between its extremes
MISSING = ("", "null", "nan", "n/a")
CARD = Card(
    title="Stocks: the next day's squared return",
    source="prices of Yahoo Finance or Stooq; the task is MultiBench's, "
    "https://github.com/pliang279/MultiBench",
    licence="the service's terms; Yahoo's allow personal use alone",
    citation="Liang et al. MultiBench: Multiscale Benchmarks for Multimodal Representation "
    "Learning. NeurIPS 2021 Datasets and Benchmarks.",
    files=(
        File(
            "{id}.csv",
            "daily prices of one ticker, called TICKER.csv",
            (
                Key("Date", ("days",), "text", "YYYY-MM-DD"),
                Key("Open", ("days",), "text", "price at the day's opening, any currency"),
                *(
                    Key(column, ("days",), "text", what, optional=True)
                    for column, what in (
                        ("High", "the day's highest price"),
                        ("Low", "the day's lowest price"),
                        ("Close", "price at the day's end"),
                        ("Adj Close", "the same, adjusted for splits and dividends"),
                        ("Volume", "shares traded"),
                    )
                ),
            ),
        ),
    ),
    splits="windows of 500 days in order of time: 3,200 train, the next 500 valid, the rest "
    "test (MultiBench's numbers, for 2000-06-01 to 2021-02-28)",
    how_to_get="Download daily prices as csv for each ticker, from 2000-06-01 to 2021-02-28: "
    "https://stooq.com/q/d/?s=mcd.us (link below the table), or the history page of "
    "https://finance.yahoo.com (an account is needed). Call each file by its ticker, such as "
    "MCD.csv. MultiBench's sets are: MCD SBUX HSY HRL, target MCD; AAPL MSFT AMZN INTC AMD "
    "MSI, target MSFT; MRK WST CVS MCK ABT UNH TFX, target UNH.",
    access="agreement",
)


def _day(given: str) -> str:
    """Return a day in ISO's form."""
    try:
        return datetime.date.fromisoformat(given).isoformat()
    except ValueError:
        raise ValueError("expected a day YYYY-MM-DD") from None


Count = Annotated[int, Field(ge=2)]
Day = Annotated[str, AfterValidator(_day)]


@register_dataset(
    "stocks",
    card=CARD,
    modalities=("one a ticker",),
    metric="mse",
    selection="loss",
    draw=drawn.write,
    checkout="it downloads prices at every start and reads no files (datasets/stocks/get_data.py)",
)
def read(
    folder: DataFolder,
    target: str = "",
    tickers: str = "",
    price: str = "Open",
    start_date: Day = "2000-06-01",
    end_date: Day = "2021-02-28",
    window_size: Count = 500,
    val_split: Count = 3200,
    test_split: Count = 3700,
) -> Contents:
    """One modality a ticker: its daily returns over a window; the target's next squared return.

    Returns are the logarithm of a day's price over that of the day before, on days that every
    ticker has. They are divided by their deviation, and so are the targets, over what training
    samples see. Splits go by time: of the windows in order, the first ``val_split`` train, those up
    to ``test_split`` are for validation, the rest for the test. A window of a later split reaches
    back into days that earlier ones predict, as in any forecast; no target is in two splits.

    Args:
        folder: with TICKER.csv files.
        target: the ticker that is predicted; the first in alphabetical order, if empty.
        tickers: those to use, separated by commas; all, if empty.
        price: the column of prices: Open (MultiBench's), Close, Adj Close.
        start_date, end_date: first and last day to use, YYYY-MM-DD.
        window_size: days of a window.
        val_split, test_split: number of the first window of each.

    Raises:
        ConfigError: splits that are not in order, or a ticker without file.
        DatasetError: damaged files, dates twice, prices that are not above 0, fewer than two
            tickers, too few days for the splits, or prices that never change.
    """
    if not val_split < test_split:
        raise ConfigError(f"data.test_split={test_split} comes after data.val_split={val_split}.")
    start, end = _day(start_date), _day(end_date)
    paths = {path.stem: path for path in folder.found()}
    names = _chosen(tickers, sorted(paths), folder)
    notes = [] if tickers else list(_passed_over(folder, paths))
    if len(names) < 2:
        raise DatasetError(f"{folder}: at least 2 tickers are needed; {names[0]} alone is given.")
    predicted, *_ = _chosen(target, names, folder)
    prices = [_prices(paths[name], price, start, end) for name in names]
    every = set().union(*prices)
    days = sorted(every.intersection(*prices))
    if len(days) < len(every):
        notes.append(
            f"{len(every) - len(days)} of {len(every)} days are left out, since a ticker "
            "has no price on them."
        )
    windows = len(days) - 1 - window_size
    if windows <= test_split:
        raise DatasetError(
            f"{folder}: {len(days)} days that all tickers have make {max(windows, 0)} "
            f"windows of {window_size}; test windows begin at {test_split}. Get more days, or "
            "set data.window_size, data.val_split and data.test_split."
        )
    logs = np.log(np.array([[ticker[day] for ticker in prices] for day in days]))
    returns = np.diff(logs, axis=0)  # [days - 1, M]
    moves = returns[window_size:, names.index(predicted)] ** 2
    # The last training sample's target is return number window_size + val_split - 1.
    returns = returns / _deviation(folder, returns[: window_size + val_split])
    moves = moves / _deviation(folder, moves[:val_split])
    cut = sliding_window_view(returns, window_size, axis=0)[:windows]  # [windows, M, window_size]
    low = cut.min((1, 2))
    step = (cut.max((1, 2)) - low) / LEVELS
    step = np.where(step > 0, step, 1.0)
    decisive = {
        "target": target,
        "tickers": tickers,
        "price": price,
        "start_date": start,
        "end_date": end,
        "window_size": window_size,
        "val_split": val_split,
        "test_split": test_split,
    }
    return Contents(
        splits=folder.split(
            consecutive(val_split, test_split - val_split, windows - test_split),
            days[window_size + 1 :],  # the days that are predicted
            fixed="they go by time, and windows overlap",
        ),
        modalities=[
            Modality(
                name,
                column := RoundedWindows(returns[:, place], window_size, low, step),
                partial(_encoder, window_size),
                names=("return",),
                preview=partial(_series, column),
            )
            for place, name in enumerate(names)
        ],
        target=torch.from_numpy(moves.astype(np.float32))[:, None],
        task=Regression(1, criterion="mse"),
        class_names=[f"squared return of {predicted}"],
        notes=tuple(notes),
        decisive=lambda: decisive,
    )


get_dataloader = dataloader_of("stocks")


@dataclass(frozen=True)
class RoundedWindows:
    """A ticker's column: windows of its returns, cut out when a batch asks for them.

    Returns of a window are rounded to multiples of its ``step`` from its ``low``, the least one of
    all tickers.
    """

    returns: NDArray[np.float64]
    length: int
    low: NDArray[np.float64]
    step: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        windows = sliding_window_view(self.returns, self.length)[rows]  # [B, length]
        low, step = self.low[rows, None], self.step[rows, None]
        rounded = np.round((windows - low) / step) * step + low
        return torch.from_numpy(rounded.astype(np.float32))


def _series(column: RoundedWindows, row: int) -> Tensor:
    """Return a window as a series of one column, [length, 1]."""
    return column[np.array([row])].T


def _encoder(length: int, settings: EncoderSettings) -> nn.Module:
    """MultiBench's LSTM; token backbones get the last state in patches."""
    return nn.Sequential(nn.Unflatten(1, (length, 1)), recurrent_encoder(1, settings, kind="lstm"))


def _deviation(folder: DataFolder, values: NDArray[np.float64]) -> float:
    deviation = float(values.std(ddof=1))
    if not deviation > 0 or not np.isfinite(1 / deviation):
        raise DatasetError(f"{folder}: prices do not change over the training days.")
    return deviation


def _prices(path: Path, column: str, start: str, end: str) -> dict[str, float]:
    """Day -> price, without days that have none."""
    table = read_csv(path, ("Date", column))
    days = []
    for row, cell in enumerate(table["Date"]):
        try:
            days.append(datetime.date.fromisoformat(cell.strip()[:10]).isoformat())
        except ValueError:
            raise DatasetError(
                f"{path}: row {row + 1}: {cell[:40]!r} is not a date YYYY-MM-DD."
            ) from None
    cells = ["" if cell.strip().lower() in MISSING else cell for cell in table[column]]
    values = numbers(path, column, cells, missing=np.nan)
    prices: dict[str, float] = {}
    for day, price in zip(days, values.tolist(), strict=True):
        if day in prices:
            raise DatasetError(f"{path}: {day} is listed twice.")
        prices[day] = price
    wrong = [day for day, price in prices.items() if price <= 0 or np.isinf(price)]
    if wrong:
        raise DatasetError(f"{path}: {column} of {wrong[0]} is {prices[wrong[0]]}, not above 0.")
    return {day: p for day, p in prices.items() if start <= day <= end and not np.isnan(p)}


def _passed_over(folder: DataFolder, paths: Mapping[str, Path]) -> Iterator[str]:
    """What lies in the folder and is read as no ticker."""
    read = {path.name for path in paths.values()} | {MARKER}
    others = sorted(
        p.name for p in folder.path.iterdir() if p.name[:1] != "." and p.name not in read
    )
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        yield f"not read as tickers, which are files TICKER.csv: {', '.join(others[:5])}{more}."


def _chosen(given: str, known: Sequence[str], folder: DataFolder) -> tuple[str, ...]:
    """Tickers given as text with commas, in alphabetical order; all known ones where empty."""
    names = [name.strip() for name in given.split(",") if name.strip()] or list(known)
    unknown = [
        f"there is no {name}.csv in {folder}, or it is not among data.tickers."
        f"{did_you_mean(name, known)} Tickers: {', '.join(known)}."
        for name in names
        if name not in known
    ]
    if unknown:
        raise ConfigError(unknown)
    return tuple(sorted(set(names)))
