"""Measure explanations of words and patches where the right answer is known.

    python docs/measure_features.py runs FOLDER [SAMPLES]    # on trained runs of icons in FOLDER
    python docs/measure_features.py games                    # on planted games, no training
    python docs/measure_features.py convergence PICTURE.svg  # errors against the number of contexts

Prints the tables of docs/feature_interactions.md. The first takes the runs that the commands there
make, and keeps what it computes beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.attribution.pairs import exact_pairs, sample_pairs
from i2moe_plugin.attribution.study import score_pairs
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.attribution.tokens import TokenModel
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.benchmarks.attribution.study import study_features
from i2moe_plugin.benchmarks.attribution.subject import StudyOptions
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.model import Vanilla
from i2moe_plugin.tasks import Classification

TASKS, METHODS = ("copy", "match", "style"), ("fl-i2moe", "dense")
WORDS, PATCHES = 12, 64
INSTANCES, DECOY, NOISE, CROSS = 40, 2.0, 0.05, 0.25


def table(*rows: list[str]) -> None:
    """Print rows as a markdown table; the first holds the headings."""
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if not number:
            print(f"|{'---|' * len(row)}")


def said(value: dict[str, Any]) -> str:
    """A share of samples with its interval, in per cent."""
    low, high = (f"{100 * value[name]:.0f}" for name in ("low", "high"))
    return f"{100 * value['mean']:.0f} ({low} to {high})"


def of_runs(folder: Path, samples: int) -> None:
    """Print what studies of trained runs say of what is known."""
    experts = [["task", "right expert", "has the largest weight, %", "largest weights, %"]]
    first = [["model", "modality", "explainer", "right token first, %", "by chance, %"]]
    pairs = [["model", "score", "in the output of", "right pair first, %", "by chance, %"]]
    for run in sorted(RunStore(folder), key=lambda run: run.path.name):
        if run.method not in METHODS:
            continue
        found = study_features(TrainedRun.open(run), StudyOptions(samples=samples))
        task = run.settings["data_settings"]["task"]
        right = [row for row in found["experts"] if row["expected"]]
        if right:
            others = "; ".join(
                f"{row['expert']} {100 * row['largest_weight']['mean']:.0f}"
                for row in found["experts"]
            )
            (own,) = right
            experts.append([f"{task}", own["expert"], said(own["largest_weight"]), others])
        for row in found["truth"]:
            if row["scope"] in (MIXTURE, "redundancy"):
                name = run.method if row["scope"] == MIXTURE else "its expert redundancy"
                chance = f"{100 * row['by_chance']:.0f}"
                share = said(row["first_is_true"])
                first.append([name, row["modality"], row["explainer"], share, chance])
        for score, pair in found["pairs"].items():
            truth = pair["truth"]
            if truth:
                chance = f"{100 * truth['by_chance']:.0f}"
                share = f"{said(truth['first_is_true'])} of {truth['samples']}"
                pairs.append([run.method, score, pair["scope"], share, chance])
    for rows in (experts, first, pairs):
        table(*rows)
        print()


class Game(nn.Module):
    """The score of class 1: a game of one word and one patch, and what hides it.

    A decoy of each modality brings twice as much, alone; all others bring a little, and every word
    interacts with every patch, normally distributed with deviation ``CROSS``.
    """

    def __init__(self, game: Callable[[Tensor, Tensor], Tensor], draw: np.random.Generator) -> None:
        super().__init__()
        self.game = game
        words, patches = draw.permutation(WORDS), draw.permutation(PATCHES)
        self.word, self.patch = int(words[0]), int(patches[0])
        self.decoys = int(words[1]), int(patches[1])
        cross = torch.from_numpy(draw.normal(0, CROSS, (WORDS, PATCHES))).float()
        cross[self.word, self.patch] = 0.0
        self.cross = cross
        self.small = torch.from_numpy(draw.normal(0, NOISE, WORDS + PATCHES)).float()

    def forward(self, latents: list[Tensor], padding_masks: Any = None) -> tuple[Tensor, Tensor]:
        """Give the outputs of both classes, and no loss of its own."""
        text, picture = (latent[..., 0] for latent in latents)
        score = torch.cat([text, picture], 1) @ self.small
        score = score + torch.einsum("bt,bp,tp->b", text, picture, self.cross)
        score = score + DECOY * (text[:, self.decoys[0]] + picture[:, self.decoys[1]])
        score = score + self.game(text[:, self.word], picture[:, self.patch])
        return torch.stack([torch.zeros_like(score), score], 1), score.new_zeros(())


def of_games() -> None:
    """Print how often each way puts a planted pair first among all 768."""
    games = {
        "and": lambda a, b: a * b,
        "or": lambda a, b: a + b - a * b,
        "exclusive or": lambda a, b: a + b - 2 * a * b,
    }
    rows = [["game", "way", "planted pair first, %", "decoys first, %"]]
    for name, game in games.items():
        ways: dict[str, list[tuple[bool, bool]]] = {}
        for instance in range(INSTANCES):
            planted = Game(game, np.random.default_rng(instance))
            for way, place in _first_pairs(planted).items():
                right = place == (planted.word, planted.patch)
                ways.setdefault(way, []).append((right, place == planted.decoys))
        for way, hits in ways.items():
            shares = [f"{100 * share:.0f}" for share in np.mean(hits, 0)]
            rows.append([name, way, *shares])
    table(*rows)


def _first_pairs(planted: Game) -> dict[str, tuple[int, int]]:
    """The pair that each way puts first."""
    from captum.attr import FeatureAblation, IntegratedGradients, ShapleyValueSampling

    latents = [LatentSpec(1, WORDS), LatentSpec(1, PATCHES)]
    identity = [nn.Identity(), nn.Identity()]
    model = TokenModel(Vanilla(identity, latents, planted, Classification(2)))
    tokens = model.encode([torch.ones(1, WORDS, 1), torch.ones(1, PATCHES, 1)])
    outputs = model.outputs(MIXTURE, tokens.latents, tokens.padding)
    targets = choose_targets(model.task, outputs, torch.tensor([1]))
    even = [torch.ones(1, WORDS), torch.ones(1, PATCHES)]
    zero = [torch.zeros(1), torch.zeros(1)]
    everything = {"share": 1.0, "pairs": WORDS * PATCHES, "rows": 4096}
    scored = score_pairs(model, tokens, targets, even, zero, MIXTURE, **everything)
    places = scored.places()
    found = {}
    for score in ("interaction", "redundancy_sub", "redundancy_joint"):
        mean = scored.terms.estimate(score).mean
        found[score] = places[int(mean.argmax())]

    def forward(text: Tensor, picture: Tensor) -> Tensor:
        return planted([text, picture])[0][:, 1]

    captum: dict[str, Any] = {
        "IntegratedGradients": IntegratedGradients(forward).attribute,
        "FeatureAblation": FeatureAblation(forward).attribute,
        "ShapleyValueSampling": ShapleyValueSampling(forward).attribute,
    }
    for name, attribute in captum.items():
        torch.manual_seed(0)
        singles = [values.abs().flatten() for values in attribute(tuple(tokens.latents))]
        found[f"captum {name}, both members' product"] = (
            int(singles[0].argmax()),
            int(singles[1].argmax()),
        )
    return found


def of_convergence(path: Path) -> None:
    """Draw and print the error of drawn contexts, told and true, on games of ten players."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    players, pairs = 10, [(0, 5), (1, 6), (2, 7), (3, 8), (4, 9)]
    generator = torch.Generator().manual_seed(0)
    lone = torch.randn(players, generator=generator, dtype=torch.float64)
    both = torch.randn(players, players, generator=generator, dtype=torch.float64)
    values = torch.randn(2**players, generator=generator, dtype=torch.float64)
    bit = 2 ** torch.arange(players)
    games: dict[str, Callable[[Tensor], Tensor]] = {
        "and of four": lambda x: (x[:, 0] & x[:, 5] & x[:, 3] & x[:, 4]).double(),
        "sigmoid": lambda x: _sigmoid(x.double(), lone, both),
        "random values": lambda x: values[(x * bit).sum(1)],
    }
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots(1, len(games))
    rows = [["game", "contexts", "standard error, told", "error, against the exact value"]]
    for one, (name, game) in zip(axes, games.items(), strict=True):
        exact = exact_pairs(game, players, pairs).estimate().mean
        curves = [
            sample_pairs(game, players, pairs, draws=256, seed=seed).convergence(points=7)
            for seed in range(60)
        ]
        draws = [count for count, _ in curves[0]]
        told, true = (
            [
                float(torch.stack([pick(curve[place][1]) for curve in curves]).square().mean())
                ** 0.5
                for place in range(len(draws))
            ]
            for pick in (lambda e: e.standard_error, lambda e, exact=exact: e.mean - exact)
        )
        one.loglog(draws, told, marker="o", color="#0072B2", label="standard error, told")
        one.loglog(draws, true, marker="s", color="#D55E00", label="error, true")
        one.set(title=name, xlabel="contexts")
        rows += [
            [name, str(count), f"{a:.4f}", f"{b:.4f}"]
            for count, a, b in zip(draws, told, true, strict=True)
            if count in (4, 16, 64, 256)
        ]
    axes[0].set(ylabel="root mean square")
    axes[0].legend(fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    table(*rows)


def _sigmoid(x: Tensor, lone: Tensor, both: Tensor) -> Tensor:
    return (x @ lone + torch.einsum("bi,bj,ij->b", x, x, both) / 3).sigmoid()


if __name__ == "__main__":
    kind, *rest = sys.argv[1:] or [""]
    if kind == "runs" and rest:
        of_runs(Path(rest[0]), int(rest[1]) if rest[1:] else 100)
    elif kind == "games":
        of_games()
    elif kind == "convergence" and rest:
        of_convergence(Path(rest[0]))
    else:
        sys.exit(__doc__)
