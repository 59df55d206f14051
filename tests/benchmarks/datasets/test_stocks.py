"""Stocks: MultiBench's returns, windows and splits; nothing of later days; settings, bad files."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.stocks import get_dataloader
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import ConfigError, DatasetError

NAME = "stocks"
SIZES: dict[str, int] = {}
opened = partial(open_dataset, NAME)

#: A small problem: 120 days make 109 windows of 10.
SMALL = {"window_size": 10, "val_split": 70, "test_split": 90}
TICKERS = ("AAA", "BBB", "CCC", "DDD")


@pytest.fixture
def small(sample) -> Path:
    """The first 120 days of each ticker."""
    for path in sample.glob("*.csv"):
        path.write_text("\n".join(path.read_text().splitlines()[:121]) + "\n")
    return sample


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def rewrite(path, rows, columns=("Date", "Open")):
    lines = [",".join(columns), *(",".join(row[c] for c in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def restated(folder, target, window, valid, test):
    """MultiBench's arithmetic on files whose days agree, step by step in float64."""
    prices = [[float(row["Open"]) for row in table(folder / f"{t}.csv")] for t in TICKERS]
    prices = torch.tensor(prices, dtype=torch.float64).T  # [days, M]
    returns = torch.log(prices[1:] / prices[:-1])
    moves = returns[window:, [TICKERS.index(target)]] ** 2
    returns = returns / torch.std(returns[: window + valid])
    moves = moves / torch.std(moves[:valid])
    windows = torch.stack([returns[i : i + window] for i in range(len(returns) - window)])
    for number, x in enumerate(windows):
        low, high = x.min(), x.max()
        windows[number] = torch.round((x - low) * 25 / (high - low)) * (high - low) / 25 + low
    cuts = (slice(0, valid), slice(valid, test), slice(test, None))
    return {name: (windows[cut], moves[cut]) for name, cut in zip(SPLITS, cuts, strict=True)}


# Windows, splits, targets


def test_batches_are_multibenchs(small):
    expected = restated(small, "BBB", 10, 70, 90)
    loaders = get_dataloader(small, train_shuffle=False, target="BBB", **SMALL)
    for name, loader in zip(SPLITS, loaders, strict=True):
        columns = [torch.cat(column) for column in zip(*loader, strict=True)]
        windows, moves = expected[name]
        assert len(columns) == 5
        assert columns[-1].shape == (len(moves), 1)
        torch.testing.assert_close(columns[-1], moves.float())
        for number, column in enumerate(columns[:-1]):
            assert column.shape == (len(windows), 10)
            torch.testing.assert_close(column, windows[:, :, number].float())


def test_the_published_split(drawn):
    data = opened(drawn)
    assert [len(data.sample_ids(name)) for name in SPLITS[:2]] == [3200, 500]
    days = [row["Date"] for row in table(drawn / "AAA.csv")]
    assert data.sample_ids("train")[0] == days[501]  # 500 returns need 501 days
    assert data.sample_ids("valid")[0] == days[501 + 3200]
    assert data.sample_ids("test")[0] == days[501 + 3700]
    assert data.sample_ids("test")[-1] == days[-1]


def test_targets_of_a_split_lie_after_those_before_it(small):
    ids = [opened(small, **SMALL).sample_ids(name) for name in SPLITS]
    assert ids[0][-1] < ids[1][0]
    assert ids[1][-1] < ids[2][0]
    assert all(part == sorted(part) for part in ids)


def test_later_days_change_nothing_that_is_trained_on(small, whole):
    """Neither scale sees a day that a training sample does not."""
    before = opened(small, **SMALL)
    first_valid = before.sample_ids("valid")[0]
    for ticker in TICKERS:
        rows = table(small / f"{ticker}.csv")
        for number, row in enumerate(rows):
            if row["Date"] >= first_valid:
                row["Open"] = str(1000.0 + 37 * (number % 5))
        rewrite(small / f"{ticker}.csv", rows)
    after = opened(small, **SMALL)
    for one, two in zip(whole(before, "train"), whole(after, "train"), strict=True):
        assert torch.equal(one, two)
    assert not np.array_equal(before.labels("valid"), after.labels("valid"))


def test_the_target_is_no_input(small, whole):
    """The window ends the day before the day that is predicted."""
    data = opened(small, **SMALL)
    day = data.sample_ids("test")[3]
    rows = table(small / "AAA.csv")
    before = [column[3] for column in whole(data, "test")]
    for row in rows:
        if row["Date"] == day:
            row["Open"] = str(2 * float(row["Open"]))
    rewrite(small / "AAA.csv", rows)
    after = [column[3] for column in whole(opened(small, **SMALL), "test")]
    assert all(torch.equal(a, b) for a, b in zip(before[:-1], after[:-1], strict=True))
    assert not torch.equal(before[-1], after[-1])


@pytest.mark.posix
def test_files_that_are_no_tickers_are_told(small):
    assert not any("not read as tickers" in note for note in opened(small, **SMALL).notes)
    (small / "BBB.csv").rename(small / "BBB.CSV")
    (small / "DDD.csv.gz").write_bytes(b"")
    (small / "gone.csv").symlink_to(small / "nowhere.csv")
    (note,) = [note for note in opened(small, **SMALL).notes if "tickers" in note]
    assert note.endswith("files TICKER.csv: BBB.CSV, DDD.csv.gz, gone.csv.")


def test_days_that_not_every_ticker_has_are_left_out_and_told(small):
    """MultiBench lines up the tickers' rows by their number, whatever their days."""
    rows = table(small / "CCC.csv")
    rewrite(small / "CCC.csv", rows[:30] + rows[32:])
    data = opened(small, **SMALL)
    assert any("2 of 120 days" in note for note in data.notes)
    rewrite(small / "CCC.csv", [*rows[:30], {"Date": rows[30]["Date"], "Open": "null"}, *rows[32:]])
    other = opened(small, **SMALL)
    assert other.sample_ids("test") == data.sample_ids("test")
    days = {row["Date"] for row in rows[:30] + rows[32:]}
    assert {i for name in SPLITS for i in data.sample_ids(name)} <= days


def test_the_order_of_rows_and_columns_does_not_matter(small, whole):
    before = opened(small, **SMALL)
    rows = table(small / "BBB.csv")
    for row in rows:
        row["Date"] += " 00:00:00-04:00"  # as yfinance writes it
    rewrite(small / "BBB.csv", rows[::-1], ("Open", "Date"))
    after = opened(small, **SMALL)
    assert after.split_hash() == before.split_hash()
    assert torch.equal(whole(after, "test")[1], whole(before, "test")[1])


def test_rounding_moves_a_return_by_half_a_step_at_most(small, whole):
    """In each window, between the extremes of all tickers' returns."""
    *windows, _ = whole(opened(small, **SMALL), "train")
    found = torch.stack(windows, 1).double()  # [B, M, T]
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    steps = (found - low) / (high - low) * 25
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


# Settings


def test_one_modality_a_ticker_and_the_first_is_predicted(small):
    data = opened(small, **SMALL)
    assert data.modalities == TICKERS
    assert data.class_names == ("squared return of AAA",)
    some = opened(small, target="DDD", tickers="DDD, BBB", **SMALL)
    assert some.modalities == ("BBB", "DDD")
    assert some.class_names == ("squared return of DDD",)
    assert len(next(iter(some.prepare().loader("test", batch_size=2)))) == 3


def test_another_column_may_hold_the_price(small, whole):
    prices = ("Open", "Close", "Adj Close")
    found = {p: whole(opened(small, price=p, **SMALL), "test") for p in prices}
    assert torch.equal(found["Close"][0], found["Adj Close"][0])
    assert not torch.equal(found["Close"][0], found["Open"][0])
    with pytest.raises(DatasetError, match="lacks the column Price"):
        opened(small, price="Price", **SMALL)


def test_only_days_in_the_range_are_used(small):
    days = [row["Date"] for row in table(small / "AAA.csv")]
    less = opened(small, start_date=days[5], end_date=days[-3], **SMALL)
    assert less.sample_ids("train")[0] == days[5 + 11]
    assert less.sample_ids("test")[-1] == days[-3]


def test_settings_are_in_the_fingerprint(small):
    changes = [
        {},
        {"target": "BBB"},
        {"tickers": "AAA,BBB"},
        {"price": "Close"},
        {"start_date": "2000-06-05"},
    ]
    found = {opened(small, **{**SMALL, **change}).fingerprint() for change in changes}
    assert len(found) == len(changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"window_size": 1}, r"data\.window_size=1 cannot be used"),
        ({"val_split": 90}, r"data\.test_split=90 comes after data\.val_split=90"),
        (
            {"start_date": "June"},
            r"data\.start_date='June' cannot be used: expected a day YYYY-MM-DD",
        ),
        ({"target": "AAB"}, r"there is no AAB\.csv .* Did you mean 'AAA'"),
        ({"target": "AAA", "tickers": "BBB,CCC"}, r"not among data\.tickers"),
        ({"tickers": "AAA,ZZZZZ"}, r"there is no ZZZZZ\.csv"),
    ],
)
def test_settings_that_make_no_sense(change, reason, small):
    with pytest.raises(ConfigError, match=reason):
        opened(small, **{**SMALL, **change})


def test_too_few_days_or_tickers_are_told(small):
    with pytest.raises(DatasetError, match=r"120 days .* make 0 windows of 500; .* begin at 3700"):
        opened(small)
    with pytest.raises(DatasetError, match="at least 2 tickers"):
        opened(small, tickers="AAA", **SMALL)


# Recipe, sample, a run


def test_the_recipe_is_multibenchs_late_fusion():
    plain, _ = resolve("stocks", "concat", {})
    assert (plain.epochs, plain.batch_size, plain.latent_dim) == (4, 16, 16)
    day, _ = resolve("stocks", "concat", {"data.end_date": "2020-01-01"})
    assert day.data_settings["end_date"] == "2020-01-01"


def test_a_sample_can_be_learned_and_other_tickers_help(drawn, whole):
    data = opened(drawn)

    def error(columns):
        parts = {}
        for name in ("train", "test"):
            *x, y = whole(data, name)
            recent = torch.stack([x[m][:, -1].abs() for m in columns], 1)
            both = recent.prod(1, keepdim=True)
            parts[name] = (torch.cat([recent, both], 1).numpy(), y[:, 0].numpy())
        model = Ridge().fit(*parts["train"])
        return ((model.predict(parts["test"][0]) - parts["test"][1]) ** 2).mean()

    constant = data.labels("test").var()
    assert error([0, 1]) < 0.8 * error([0])
    assert error([0]) < 0.8 * constant


# Bad files


BAD = {
    "header only": (b"Date,Open\n", "days"),
    "no date": (b"Day,Open\n2000-06-01,5\n", "lacks the column Date"),
    "bad date": (b"Date,Open\n2000-13-01,5\n", "row 1: '2000-13-01' is not a date"),
    "bad price": (b"Date,Open\n2000-06-01,five\n", "column Open, row 1: 'five' is not a number"),
    "zero": (b"Date,Open\n2000-06-01,0\n", "Open of 2000-06-01 is 0.0, not above 0"),
    "infinite": (b"Date,Open\n2000-06-01,inf\n", "row 1: 'inf' is not a number"),
    "twice": (b"Date,Open\n2000-06-01,5\n2000-06-01,6\n", "2000-06-01 is listed twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_csv(name, small):
    content, reason = BAD[name]
    (small / "BBB.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        opened(small, **SMALL)


def test_prices_that_never_change(small):
    for ticker in TICKERS:
        rows = table(small / f"{ticker}.csv")
        rewrite(small / f"{ticker}.csv", [{**row, "Open": "5"} for row in rows])
    with pytest.raises(DatasetError, match="do not change"):
        opened(small, **SMALL)
