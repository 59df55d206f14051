"""How figures are written: the names and units of metrics and costs, and verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence

from i2moe_plugin.benchmarks.statistics.paired import Comparison, Interval, summarise

#: What a run cost. Costs are shown as metrics are, and not compared.
COSTS = ("parameters", "parameters_without_encoders", "seconds")
_TITLES = {
    "accuracy_nonzero": "without zeros",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mae": "MAE",
    "mse": "MSE",
    "parameters_without_encoders": "parameters without encoders",
    "seconds": "seconds a run",
}
_PERCENT = {"accuracy", "accuracy_nonzero", "macro_f1", "micro_f1", "auroc", "auprc"}


def metric_title(metric: str) -> str:
    """Return a metric's or cost's name as the field writes it.

    >>> metric_title("macro_f1"), metric_title("correlation")
    ('macro F1', 'correlation')
    """
    return _TITLES.get(metric, metric)


def metric_heading(metric: str) -> str:
    """Return a metric's name with its unit, as it stands above a column.

    >>> metric_heading("macro_f1"), metric_heading("mae")
    ('macro F1 %', 'MAE')
    """
    return f"{metric_title(metric)} %" if metric in _PERCENT else metric_title(metric)


def method_title(method: str) -> str:
    """Return a method's name as people write it.

    >>> method_title("i2moe"), method_title("ensemble")
    ('I2MoE', 'ensemble')
    """
    return "I2MoE" if method == "i2moe" else method


def format_value(metric: str, value: float | None, sign: str = "") -> str:
    """Write a figure: shares in per cent, where that is how the field reports the metric.

    Args:
        metric: the name of a metric or of a cost.
        value: the figure; None and NaN are written as "undefined".
        sign: "+" writes the sign of positive figures too.

    >>> format_value("accuracy", 0.5), format_value("mae", 0.5, "+"), format_value("auroc", None)
    ('50.00', '+0.5000', 'undefined')
    >>> format_value("mse", 2164.453), format_value("mae", -38.2453)
    ('2164.5', '-38.245')
    >>> format_value("parameters", 12345.0), format_value("seconds", 1.234)
    ('12,345', '1.2')
    >>> format_value("seconds", 0.0234)
    '0.02'
    """
    if value is None or value != value:
        return "undefined"
    if metric in COSTS:
        digits = 0 if metric != "seconds" else 1 if abs(value) >= 1 else 2
        return f"{value:{sign},.{digits}f}"
    if metric in _PERCENT:
        return f"{100 * value:{sign}.2f}"
    decimals = next((n for n, most in ((4, 10), (3, 100), (2, 1000)) if abs(value) < most), 1)
    return f"{value:{sign}.{decimals}f}"


def format_mean(metric: str, values: Sequence[float]) -> str:
    """Write the mean and the sample deviation of a metric's values, one a seed.

    >>> format_mean("accuracy", [0.5, 0.7]), format_mean("accuracy", [0.5])
    ('60.00 ± 14.14', '50.00')
    """
    mean, deviation, _ = summarise(values).values()
    if deviation is None or mean != mean:
        return format_value(metric, mean)
    return f"{format_value(metric, mean)} ± {format_value(metric, deviation)}"


def format_interval(comparison: Comparison) -> str:
    """Write the 95 % interval of a difference; nothing where there is none."""
    low, high = comparison.low, comparison.high
    known = None if low is None or high is None or low != low else (low, high)
    return format_range(comparison.metric, known, "+")


def format_range(metric: str, interval: Interval | None, sign: str = "") -> str:
    """Write an interval; nothing where there is none.

    >>> format_range("accuracy", (0.25, 0.5)), format_range("mae", None)
    ('25.00 to 50.00', '')
    """
    if interval is None:
        return ""
    return " to ".join(format_value(metric, end, sign) for end in interval)


def verdict_words(comparison: Comparison, method: str, reference: str) -> str:
    """Say what a comparison of two methods showed, without the full stop."""
    one, other = method_title(method), method_title(reference)
    name = metric_title(comparison.metric)
    units = "splits" if comparison.splits > 1 else "seeds"
    return {
        "better": f"{one} is better than {other} on {name}",
        "worse": f"{one} is worse than {other} on {name}",
        "no difference shown": f"no difference shown between {one} and {other} on {name}",
        "too few seeds to tell": f"too few {units} to tell: at least 3 are needed",
    }[comparison.verdict]
