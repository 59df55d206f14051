"""The drawn data sets as data sets: ``synthetic:NAME`` of any generator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.contents import Contents
from i2moe_plugin.benchmarks.data.packaged import Packaged, feature_modality
from i2moe_plugin.benchmarks.data.registry import DatasetEntry
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.synthetic import Generator, generator
from i2moe_plugin.benchmarks.datasets.synthetic.boolean import Boolean
from i2moe_plugin.benchmarks.datasets.synthetic.drawn import Truth
from i2moe_plugin.benchmarks.datasets.synthetic.hdxor import HDXOR
from i2moe_plugin.benchmarks.datasets.synthetic.latent_sum import LatentSum
from i2moe_plugin.interactions.experts import expert_names

PREFIX = "synthetic:"
CLASSES = ("0", "1")
_SPLITS = "70 % train, 15 % valid, 15 % test, stratified, drawn by data.seed"
_CARDS: Mapping[Callable[..., Generator], Card] = {
    HDXOR: Card(
        title="HD-XOR: the XOR of bits hidden in high-dimensional noise",
        source="drawn here, as the code released with InterSHAP draws it",
        citation="Wenderoth, Hemker, Simidjievski, Jamnik: Measuring Cross-Modal Interactions in "
        "Multimodal Models, AAAI 2025 (arXiv:2412.15828)",
        licence="drawn, free to use",
        embedded=True,
        splits=_SPLITS,
    ),
    LatentSum: Card(
        title="Latent sums: the sign of a sum of latents, each in some of the modalities",
        source="drawn here, as the code released with PID draws it; ring and ringu are ours",
        citation="Liang et al.: Quantifying & Modeling Multimodal Interactions: An Information "
        "Decomposition Framework, NeurIPS 2023 (arXiv:2302.12247)",
        licence="drawn, free to use",
        embedded=True,
        splits=_SPLITS,
    ),
    Boolean: Card(
        title="Boolean functions of two bits, each in a modality of its own",
        source="drawn here",
        citation="the usual examples of partial information decomposition",
        licence="drawn, free to use",
        embedded=True,
        splits=_SPLITS,
    ),
}


def resolve(name: str) -> DatasetEntry:
    """The entry of ``synthetic:NAME``.

    Raises:
        UnknownNameError: no generator of that name.

    >>> resolve("synthetic:bool-xor").settings["samples"].default
    6000
    """
    kind = type(generator(name.removeprefix(PREFIX)))
    return DatasetEntry(
        name,
        _CARDS[kind],
        (),
        _READERS[kind],
        locate=lambda root, card: (root or Path(), card),
        more=lambda: _facts(truth_of(name, {})),
    )


def hdxor(
    folder: DataFolder,
    modalities: int | None = None,
    samples: int = 20_000,
    dims: list[int] | None = None,
    label_noise: float = 0.0,
    positives: float = 0.5,
    seed: int = 0,
) -> Contents:
    """HD-XOR of 2 to 4 modalities; as few as the name asks for, where they are not told."""
    noise = {"label_noise": label_noise, "positives": positives}
    given = {"modalities": modalities, "dims": dims, **noise}
    return _contents(folder, {"samples": samples, "seed": seed, **given})


def latent_sum(
    folder: DataFolder,
    samples: int = 20_000,
    dim: int = 32,
    label_noise: float = 0.0,
    seed: int = 0,
) -> Contents:
    """The latent sums of PID, and the rings of three modalities."""
    given = {"samples": samples, "dim": dim, "label_noise": label_noise}
    return _contents(folder, {**given, "seed": seed})


def boolean(
    folder: DataFolder,
    samples: int = 6000,
    dim: int = 10,
    label_noise: float = 0.0,
    feature_noise: float = 0.0,
    seed: int = 0,
) -> Contents:
    """A Boolean function of two bits."""
    noise = {"label_noise": label_noise, "feature_noise": feature_noise}
    return _contents(folder, {"samples": samples, "dim": dim, "seed": seed, **noise})


_READERS: Mapping[Callable[..., Generator], Callable[..., Contents]] = {
    HDXOR: hdxor,
    LatentSum: latent_sum,
    Boolean: boolean,
}


def truth_of(name: str, options: Mapping[str, Any]) -> Truth:
    """What is known of ``synthetic:NAME`` with these settings of the data set.

    Raises:
        UnknownNameError: no generator of that name.
        ConfigError: settings out of range.
    """
    made, seed = _generator(name, options)
    return made.truth(seed)


def _generator(name: str, options: Mapping[str, Any]) -> tuple[Generator, int]:
    """The generator with these settings of a data set, and the seed."""
    given = _given(options)
    seed = int(given.pop("seed", 0))
    if "dims" in given:
        given["dims"] = tuple(given["dims"])
    return generator(name.removeprefix(PREFIX), **given), seed


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _contents(folder: DataFolder, options: Mapping[str, Any]) -> Contents:
    made, seed = _generator(folder.name, options)
    drawn = made.draw(seed)
    names = [f"x{m + 1}" for m in range(len(drawn.modalities))]
    ids = [f"{folder.name.removeprefix(PREFIX)}-{row}" for row in range(len(drawn.labels))]
    splits = folder.split({name: drawn.splits[name] for name in SPLITS}, ids, classes=drawn.labels)
    arrays = dict(zip(names, drawn.modalities, strict=True))
    data = Packaged(Path(folder.name), arrays, drawn.labels, CLASSES, splits)
    stated = f"i2moe-bench data describe {folder.name}"
    plain = generator(folder.name.removeprefix(PREFIX), samples=options["samples"])
    if seed or made != plain:  # what is described is the truth of the defaults
        stated = (
            f"of these settings by i2moe_plugin.benchmarks.datasets.synthetic.dataset.truth_of("
            f"{folder.name!r}, {_given(options)!r}); of the default ones by {stated}"
        )
    digest = hashlib.sha256(f"{made!r}, seed {seed}".encode())
    for values in (*drawn.modalities, drawn.labels):
        digest.update(values.tobytes())
    return data.contents(
        *(feature_modality(data, name) for name in names),
        notes=(f"Drawn data whose interactions are known: {stated}.",),
        decisive=lambda: {"drawn": digest.hexdigest()},
    )


def _facts(truth: Truth) -> dict[str, str]:
    """What is known, in words."""
    parts = truth.parts
    names = expert_names(len(parts.uniqueness))

    def words(values: Sequence[float]) -> str:
        pairs = zip(names, values, strict=True)
        return ", ".join(f"{name} {value + 0.0:.3f}" for name, value in pairs)

    facts = {"truth": "of the default settings above"}
    facts |= {f"truth in bits ({parts.definition})": words(parts.parts)}
    for reading in truth.readings:
        facts[f"truth in bits ({reading.definition})"] = words(reading.parts)
    facts["how it is known"] = f"{truth.how}; off by about {truth.error:.3g} bit"
    if len(parts.uniqueness) == 2:
        low, high = parts.redundancy + 0.0, truth.redundancy_most
        facts["redundancy lies between"] = f"{low:.3f} and {high:.3f} bit, by the definition"
    else:  # where three share in pairs, more than the minimum rule counts
        facts["redundancy by the minimum rule"] = f"{truth.redundancy_most:.3f} bit"
    facts["expert that carries it"] = truth.target or "none alone"
    return facts
