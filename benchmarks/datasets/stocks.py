"""Stocks: daily returns of several tickers; how far will one of them move on the next day?

Inputs, target, split and batches are MultiBench's (``datasets/stocks/get_data.py``), from csv files
in place of its downloads, which the service no longer answers.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.base import BatchSplit, SplitName
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.samples import stocks as stocks_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, recurrent_encoder
from i2moe_plugin.benchmarks.formats.readers import numbers, read_csv
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean
from i2moe_plugin.tasks import Regression

LEVELS = 25  # a window's returns are rounded to so many steps between its extremes
MISSING = ("", "null", "nan", "n/a")


@register_dataset("stocks")
class Stocks(FileDataset):
    """One modality a ticker: its daily returns over a window; the target's next squared return.

    Returns are the logarithm of a day's price over that of the day before, on days that every
    ticker has. They are divided by their deviation, and so are the targets, over what training
    samples see. Splits go by time: of the windows in order, the first ``val_split`` train, those up
    to ``test_split`` are for validation, the rest for the test. A window of a later split reaches
    back into days that earlier ones predict, as in any forecast; no target is in two splits.

    Args:
        root: folder with TICKER.csv files; data/stocks if not told.
        target: the ticker that is predicted; the first in alphabetical order, if empty.
        tickers: those to use, separated by commas; all, if empty.
        price: the column of prices: Open (MultiBench's), Close, Adj Close.
        start_date, end_date: first and last day to use, YYYY-MM-DD.
        window_size: days of a window.
        val_split, test_split: number of the first window of each.

    Raises:
        ConfigError: settings that make no sense, or a ticker without file.
        DatasetError: missing or damaged files, dates twice, prices that are not above 0, fewer
            than two tickers, too few days for the splits, or prices that never change.
    """

    card = Card(
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
    modalities: tuple[str, ...] = ("one a ticker",)
    metric = "mse"
    selection = "loss"

    def __init__(
        self,
        root: str | Path | None = None,
        target: str = "",
        tickers: str = "",
        price: str = "Open",
        start_date: str = "2000-06-01",
        end_date: str = "2021-02-28",
        window_size: int = 500,
        val_split: int = 3200,
        test_split: int = 3700,
    ) -> None:
        start, end = _day(start_date, "data.start_date"), _day(end_date, "data.end_date")
        _check_numbers(window_size=window_size, val_split=val_split, test_split=test_split)
        if not val_split < test_split:
            raise ConfigError(
                f"data.test_split={test_split} comes after data.val_split={val_split}."
            )
        super().__init__(root)
        self.window = window_size
        self._settings = {
            "target": target,
            "tickers": tickers,
            "price": price,
            "start_date": start,
            "end_date": end,
            "window_size": window_size,
            "val_split": val_split,
            "test_split": test_split,
        }
        paths = {path.stem: path for path in self.card.files[0].found(self.folder)}
        self.modalities = _chosen(tickers, sorted(paths), self.folder)
        if len(self.modalities) < 2:
            raise DatasetError(
                f"{self.folder}: at least 2 tickers are needed; {self.modalities[0]} alone is told."
            )
        (self.target,) = _chosen(target, self.modalities, self.folder)[:1]
        prices = [_prices(paths[name], price, start, end) for name in self.modalities]
        days = self._common_days(prices)
        windows = len(days) - 1 - window_size
        if windows <= test_split:
            raise DatasetError(
                f"{self.folder}: {len(days)} days that all tickers have make {max(windows, 0)} "
                f"windows of {window_size}; test windows begin at {test_split}. Get more days, or "
                "set data.window_size, data.val_split and data.test_split."
            )
        logs = np.log(np.array([[price[day] for price in prices] for day in days]))
        returns = np.diff(logs, axis=0)  # [days - 1, M]
        column = self.modalities.index(self.target)
        moves = returns[window_size:, column] ** 2
        # The last training sample's target is return number window + val_split - 1.
        self.scale = self._deviation(returns[: window_size + val_split])
        self.target_scale = self._deviation(moves[:val_split])
        self._returns = returns / self.scale
        self._moves = torch.from_numpy((moves / self.target_scale).astype(np.float32))[:, None]
        self._set_splits(
            {
                "train": np.arange(val_split),
                "valid": np.arange(val_split, test_split),
                "test": np.arange(test_split, windows),
            },
            days[window_size + 1 :],
        )

    @property
    def task(self) -> Regression:
        """One number, by the mean squared error."""
        return Regression(1, criterion="mse")

    @property
    def class_names(self) -> list[str]:
        return [f"squared return of {self.target}"]

    def split(self, name: SplitName) -> StocksSplit:
        """Items (M returns [window], target [1]); ids are the days that are predicted."""
        return StocksSplit(self._returns, self._moves, self._rows[name], self.window)

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._moves.numpy()[self._rows[name]]

    def show(self, name: SplitName, index: int) -> list[Preview]:
        *inputs, _ = self.split(name)[index]
        return [
            preview_of(ticker, x[:, None], ("return",))
            for ticker, x in zip(self.modalities, inputs, strict=True)
        ]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """MultiBench's LSTMs; token backbones get the last state in patches."""
        return [
            nn.Sequential(
                nn.Unflatten(1, (self.window, 1)), recurrent_encoder(1, settings, kind="lstm")
            )
            for _ in self.modalities
        ]

    def _told(self) -> dict[str, Any]:
        return self._settings

    def _common_days(self, prices: list[dict[str, float]]) -> list[str]:
        every = set().union(*prices)
        common = sorted(every.intersection(*prices))
        if len(common) < len(every):
            self.notes.append(
                f"{len(every) - len(common)} of {len(every)} days are left out, since a ticker "
                "has no price on them."
            )
        return common

    def _deviation(self, values: NDArray[Any]) -> float:
        deviation = float(values.std(ddof=1))
        if not deviation > 0 or not np.isfinite(1 / deviation):
            raise DatasetError(f"{self.folder}: prices do not change over the training days.")
        return deviation

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0) -> None:
        """Draw daily prices of four tickers in the format of Yahoo's csv files."""
        with writing_sample(folder, "Stocks", seed) as aside:
            stocks_sample.write(aside, seed)


get_dataloader = Stocks.get_dataloader


class StocksSplit(BatchSplit):
    """Windows of returns, cut out when a batch asks for them.

    Args:
        returns: [days, M].
        target: [windows, 1].
        rows: this split's windows.
        window: days of each.
    """

    def __init__(
        self, returns: NDArray[Any], target: Tensor, rows: NDArray[Any], window: int
    ) -> None:
        self.returns, self.target, self.rows, self.window = returns, target, rows, window

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        rows = self.rows[indices]
        windows = sliding_window_view(self.returns, self.window, axis=0)[rows]  # [B, M, window]
        values = torch.from_numpy(rounded(windows).astype(np.float32))
        return (*values.unbind(1), self.target[torch.from_numpy(rows)])


def rounded(windows: NDArray[Any]) -> NDArray[Any]:
    """[B, M, T], each sample rounded to :data:`LEVELS` steps between its extremes."""
    low = windows.min((1, 2), keepdims=True)
    step = (windows.max((1, 2), keepdims=True) - low) / LEVELS
    step = np.where(step > 0, step, 1.0)
    return np.asarray(np.round((windows - low) / step) * step + low)


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


def _chosen(told: Any, known: Any, folder: Path) -> tuple[str, ...]:
    """Tickers told as text with commas, in alphabetical order; all known ones where empty."""
    if not isinstance(told, str):
        raise ConfigError(f"a ticker is text; {told!r} came. In --set, put it into quotes.")
    names = [name.strip() for name in told.split(",") if name.strip()] or list(known)
    unknown = [
        f"there is no {name}.csv in {folder}, or it is not among data.tickers."
        f"{did_you_mean(name, known)} Tickers: {', '.join(known)}."
        for name in names
        if name not in known
    ]
    if unknown:
        raise ConfigError(unknown)
    return tuple(sorted(set(names)))


def _check_numbers(**given: Any) -> None:
    problems = [
        f"data.{name} is a whole number of at least 2, not {value!r}."
        for name, value in given.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < 2
    ]
    if problems:
        raise ConfigError(problems)


def _day(told: Any, name: str) -> str:
    try:
        return datetime.date.fromisoformat(str(told)).isoformat()
    except ValueError:
        raise ConfigError(f"{name} is a day YYYY-MM-DD, not {told!r}.") from None
