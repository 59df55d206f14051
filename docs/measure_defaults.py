"""Measure the settings for data without a recipe on feature sets that packages ship.

    python docs/measure_defaults.py FOLDER [SET ...]

Writes each set into FOLDER as folder data sets, one for each of five splits. Runs vanilla and
I2MoE on each with the settings chosen by size, and prints the table of docs/defaults.md: means of
the metric on test data beside logistic or ridge regression and gradient boosting, mean ranks, and
the seconds that a vanilla and an I2MoE run train together, beside fixed settings (learning rate
1e-4, batches of 32, 50 epochs, of which 5 are measured on one split). Finished runs are taken
from FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy.stats import rankdata

from i2moe_plugin.benchmarks.grid.baselines import KINDS
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.statistics.metrics import format_value, metric_heading
from i2moe_plugin.tasks import HIGHER_IS_BETTER

Views = dict[str, NDArray[Any]]
#: Seeds are those of the split and of the run.
FUSION, SEEDS, METHODS = "concat", range(5), ["vanilla", "i2moe"]
#: What every data set without a recipe was trained with before.
FIXED = {
    "epochs": 5,  # of 50, all alike
    "batch_size": 32,
    "lr": 1e-4,
    "weight_decay": 0.0,
    "patience": None,
    "encoder_dropout": 0.0,
    "interaction_weight": 0.5,
    "temperature": 1.0,
}


def public_sets() -> dict[str, tuple[Views, NDArray[Any], str]]:
    """Views, target and task of each set, from scikit-learn and statsmodels."""
    from sklearn import datasets as sklearn_sets
    from statsmodels import datasets as statsmodels_sets

    def frame(name: str) -> pd.DataFrame:
        return getattr(statsmodels_sets, name).load_pandas().data

    digits = sklearn_sets.load_digits()
    pictures = digits.images
    profiles = np.concatenate([pictures.sum(1), pictures.sum(2)], 1)
    spectrum = np.abs(np.fft.fft2(pictures)).reshape(len(pictures), -1)[:, :40]
    wine, cancer = sklearn_sets.load_wine(), sklearn_sets.load_breast_cancer()
    diabetes = sklearn_sets.load_diabetes(scaled=False)
    anes, fair, star = frame("anes96"), frame("fair"), frame("star98")
    nino = frame("elnino").to_numpy()[:, 1:]
    school = star.drop(columns=["NABOVE", "NBELOW"]).iloc[:, :12].to_numpy()
    return {
        "digits": (
            {"pixels": digits.data, "profiles": profiles, "spectrum": spectrum},
            digits.target,
            "classification",
        ),
        "digit halves": (
            {"top": pictures[:, :4].reshape(-1, 32), "bottom": pictures[:, 4:].reshape(-1, 32)},
            digits.target,
            "classification",
        ),
        "wine": (
            {"acids": wine.data[:, :6], "phenols": wine.data[:, 6:]},
            wine.target,
            "classification",
        ),
        "breast cancer": (
            {
                name: cancer.data[:, 10 * k : 10 * k + 10]
                for k, name in enumerate(["mean", "error", "worst"])
            },
            cancer.target,
            "classification",
        ),
        "anes96": (
            {
                "person": anes[["popul", "age", "educ", "income"]].to_numpy(),
                "politics": anes[["TVnews", "selfLR", "ClinLR", "DoleLR"]].to_numpy(),
            },
            anes["PID"].astype(int).to_numpy(),
            "classification",
        ),
        "fair": (
            {
                "marriage": fair[["rate_marriage", "yrs_married", "children"]].to_numpy(),
                "person": fair[
                    ["age", "religious", "educ", "occupation", "occupation_husb"]
                ].to_numpy(),
            },
            (fair["affairs"] > 0).astype(int).to_numpy(),
            "classification",
        ),
        "diabetes": (
            {"body": diabetes.data[:, :4], "serum": diabetes.data[:, 4:]},
            diabetes.target,
            "regression",
        ),
        "star98": (
            {"pupils": school[:, :5], "school": school[:, 5:]},
            (star["NABOVE"] / (star["NABOVE"] + star["NBELOW"])).to_numpy(),
            "regression",
        ),
        "el niño": ({"first": nino[:, :6], "second": nino[:, 6:11]}, nino[:, 11], "regression"),
    }


def write(place: Path, views: Views, target: NDArray[Any], task: str, seed: int) -> Path:
    """Write a set as a folder data set, split as this seed draws it."""
    folder = place / str(seed) / place.name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", target=target, **views)
    description = {
        "name": folder.name,
        "modalities": {
            view: {"kind": "features", "file": "data.npz", "key": view} for view in views
        },
        "target": {"file": "data.npz", "key": "target"},
        "task": task,
        "split": {"train": 0.7, "valid": 0.15, "test": 0.15, "seed": seed},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return folder


def run(folder: Path, seed: int, values: dict[str, Any]) -> Table:
    """Run both methods on a folder data set."""
    grid = methods_grid(str(folder), FUSION, METHODS, [seed], values=values)
    return GridRunner(RunStore(folder.parent / "runs"), strict=True).run(grid)


def values_of(table: Table) -> list[float]:
    """The figures of linear model, boosting and both methods on test data."""
    metric = table.cells[0].metrics[0]
    found = [next(iter(cell.values(metric).values())) for cell in table.cells]
    return [*(table.simple_rows[kind][table.columns[0]] for kind in KINDS[1:3]), *found]


def training_seconds(table: Table) -> float:
    """The seconds that both runs trained."""
    runs = [run for cell in table.cells for run in cell.runs.values()]
    return sum(run.result["seconds"]["training"] for run in runs)


def main(place: Path, chosen: list[str]) -> None:
    """Run the sets and print the table."""
    names = ["linear", "boosting", *METHODS]
    heads = ["data set", "training samples", "metric", *names, "seconds", "fixed: seconds"]
    print("|", " | ".join(heads), "|\n|", "---|" * len(heads), sep="")
    ranks, ratios = [], []
    for name, (views, target, task) in public_sets().items():
        if chosen and name not in chosen:
            continue
        own = place / name.replace(" ", "-").replace("ñ", "n")
        folders = {seed: write(own, views, target, task, seed) for seed in SEEDS}
        tables = [run(folder, seed, {}) for seed, folder in folders.items()]
        fixed = run(folders[0], 0, FIXED)
        metric = tables[0].cells[0].metrics[0]
        means = np.mean([values_of(table) for table in tables], 0)
        ranks.append(rankdata(-means if HIGHER_IS_BETTER[metric] else means))
        seconds = [np.mean([*map(training_seconds, tables)]), 10 * training_seconds(fixed)]
        ratios.append(seconds[0] / seconds[1])
        figures = [format_value(metric, float(value)) for value in means]
        count = f"{round(0.7 * len(target)):,}"
        row = [name, count, metric_heading(metric), *figures, *(f"{s:.1f}" for s in seconds)]
        print("|", " | ".join(row), "|", flush=True)
    ranked = [f"{rank:.2f}" for rank in np.mean(ranks, 0)]
    print("|", " | ".join(["mean rank", "", "", *ranked, f"{np.mean(ratios):.2f} of", ""]), "|")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
