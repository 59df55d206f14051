"""What every data set read from files keeps to: registering one is testing it.

Each is tried on its own drawn sample, written once a session.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import damage
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from i2moe_plugin.backbones.latents import encode_one
from i2moe_plugin.benchmarks.data import frozen as features
from i2moe_plugin.benchmarks.data.base import SPLITS
from i2moe_plugin.benchmarks.data.cards import Download, File
from i2moe_plugin.benchmarks.data.samples import MARKER
from i2moe_plugin.benchmarks.datasets import MultimodalDataset, datasets
from i2moe_plugin.benchmarks.encoders import EncoderSettings, vgg
from i2moe_plugin.errors import DatasetError

BUILDS = {entry.name: entry.build for entry in datasets if not entry.build.card.embedded}
#: Fewer drawn samples where a data set's own sample takes long to read.
SMALL: dict[str, dict[str, Any]] = {
    "avmnist": {"train": 120, "test": 30},
    "push": {"train": 4, "valid": 1, "test": 2},
    "vision-touch": {"runs": 8},
    "enrico": {"per_topic": 2},
    "mmhs150k": {"tweets": 20},
    "mmimdb": {"films": 30},
    "mmimdb-raw": {"films": 20},
    **{key: {"clips": 36} for key in ("mosi", "mosi-regression", "mosei", "mustard", "urfunny")},
}
PICTURES = {".jpg", ".jpeg", ".png", ".gz", ".txt"}  # their content has no keys

each = pytest.mark.parametrize("name", BUILDS)


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Callable[[str], Path]:
    """A data set's drawn sample; not to be changed."""
    folders: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp("samples") / name
            BUILDS[name].write_sample(folder, **SMALL.get(name, {}))
            folders[name] = folder
        return folders[name]

    return write


@pytest.fixture
def sample(written, tmp_path) -> Callable[[str], Path]:
    """A copy that a test may change, by :mod:`damage` alone: its files are hard links."""

    def copy(name: str) -> Path:
        shutil.copytree(written(name), tmp_path / name, copy_function=_link, dirs_exist_ok=True)
        return tmp_path / name

    return copy


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    Path(target).hardlink_to(source)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)


class Thumbnail(nn.Module):
    """Stands for a large frozen network: a small picture of the picture."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x):
        small = F.adaptive_avg_pool2d(x, (16, 8)).flatten(1)
        return F.pad(small, (0, self.features - small.shape[1]))


@pytest.fixture(autouse=True)
def _no_large_networks(monkeypatch):
    """What frozen networks compute does not matter here, and would take minutes."""
    widths = {"vgg11": "VGG11_FEATURES", "vgg16": "VGG16_FEATURES"}
    for network, width in widths.items():
        for module in (vgg, *_modules_of_builds()):
            if hasattr(module, f"{network}_features"):
                size = getattr(module, width, None) or getattr(vgg, width)
                monkeypatch.setattr(
                    module, f"{network}_features", lambda weights, n=size: Thumbnail(n)
                )


def _modules_of_builds() -> Iterator[Any]:
    yield from {sys.modules[build.__module__] for build in BUILDS.values()}


def opened(name: str, folder: Path) -> MultimodalDataset:
    return BUILDS[name](folder)


def columns(batch: Any) -> tuple[list[Any], Any]:
    *inputs, target = batch
    return inputs, target


def rows(column: Any) -> int:
    """How many samples a column of a batch has; a tuple's parts agree."""
    if isinstance(column, (tuple, list)):
        (count,) = {rows(part) for part in column}
        return count
    return len(column)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, (tuple, list)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return one.dtype == two.dtype and torch.equal(one, two)


# The facts


def test_every_registered_data_set_can_be_loaded():
    list(datasets)
    assert datasets.broken == {}
    assert BUILDS


@each
def test_the_card_is_complete(name):
    card = BUILDS[name].card
    for fact in ("title", "source", "licence", "citation", "splits", "how_to_get"):
        assert len(getattr(card, fact)) > 2, f"card.{fact} is empty"
    assert card.access in ("public", "agreement", "request")
    assert card.files
    words = {word for file in card.files for key in file.keys for word in key.shape or ()}
    assert {word for word, _ in card.sizes} <= words | {"N"}
    for file in card.files:
        assert file.what, f"{file.path}: what it holds is not said"
        if Path(file.path).suffix.lower() not in PICTURES and not file.pattern:
            assert file.keys, f"{file.path} has no keys"
        for key in file.keys:
            assert key.what, f"{file.path}: {key.name}: what it is is not said"
    for download in card.downloads:
        _check_download(download)
    for word, size in card.sizes:
        assert isinstance(word, str)
        assert isinstance(size, int)


def _check_download(download: Download) -> None:
    assert download.url.startswith(("https://", "http://"))
    assert not Path(download.path).is_absolute()
    assert ".." not in Path(download.path).parts
    assert download.sha256 == "" or len(bytes.fromhex(download.sha256)) == 32


@each
def test_what_it_says_of_itself(name, written):
    data = opened(name, written(name))
    assert data.name == name
    assert len(data.modalities) == len(set(data.modalities)) >= 2
    assert data.metric in data.task.metric_names
    assert data.selection in ("", "loss", *data.task.metric_names)
    assert len(data.class_names) == len(set(data.class_names)) == data.task.num_outputs
    assert any("drawn sample" in note for note in data.notes)


@each
def test_the_loader_of_its_module_is_multibenchs_call(name):
    module = sys.modules[BUILDS[name].__module__]
    assert callable(module.get_dataloader)


# The sample


@each
def test_nothing_is_wrong_with_a_fresh_sample(name, written):
    folder = written(name)
    assert BUILDS[name].verify(folder) == []
    status = BUILDS[name].status(folder)
    assert status.ready
    assert status.problems == ()
    assert status.size > 0
    assert (folder / MARKER).is_file()
    assert not list(folder.rglob(".*"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 20e6, "a sample is small"


@each
def test_a_sample_is_not_written_over_anything(name, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(DatasetError, match="empty folder"):
        BUILDS[name].write_sample(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


# Splits


@each
def test_no_sample_is_in_two_splits(name, written):
    data = opened(name, written(name))
    ids = [data.sample_ids(split) for split in SPLITS]
    assert all(ids), "no split is empty"
    everyone = [one for part in ids for one in part]
    assert all(isinstance(one, str) and one for one in everyone)
    assert len(set(everyone)) == len(everyone)
    for split, part in zip(SPLITS, ids, strict=True):
        assert len(data.split(split)) == len(part) == len(data.labels(split))
    assert opened(name, written(name)).split_hash() == data.split_hash()


# Batches


@each
def test_batches_hold_every_modality_and_the_target(name, written):
    data = opened(name, written(name))
    for prepared in (False, True):
        if prepared:
            data.prepare()
        for split in SPLITS:
            total = 0
            loader = data.loader(split, batch_size=16)
            for batch in loader:
                inputs, target = columns(batch)
                assert len(inputs) == len(data.modalities)
                counts = {rows(column) for column in (*inputs, target)}
                assert len(counts) == 1, "columns of one batch differ in length"
                total += counts.pop()
                data.task.prepare(target)
            assert total == len(data.sample_ids(split))
            assert len(loader) == -(-total // 16)


@each
def test_targets_come_in_the_order_of_the_labels(name, written):
    data = opened(name, written(name))
    targets = torch.cat([columns(batch)[1] for batch in data.loader("test", batch_size=7)])
    labels = torch.as_tensor(data.labels("test"))
    assert torch.equal(data.task.prepare(targets), data.task.prepare(labels))


@each
def test_shown_modalities_are_the_declared_ones(name, written):
    data = opened(name, written(name))
    for split in SPLITS:
        shown = data.show(split, 0)
        assert [item.modality for item in shown] == list(data.modalities)
        assert all(item.kind in ("image", "text", "series", "features") for item in shown)
    for item in data.show("test", len(data.sample_ids("test")) - 1):
        if item.kind == "image":
            assert item.value.ndim == 3
            assert item.value.shape[2] == 3
            assert item.value.dtype.name == "uint8"


@each
def test_multibenchs_call_gives_three_loaders(name, written):
    data = opened(name, written(name))
    loaders = BUILDS[name].get_dataloader(
        written(name), batch_size=15, num_workers=0, train_shuffle=True
    )
    assert len(loaders) == 3
    for split, loader in zip(SPLITS, loaders, strict=True):
        assert isinstance(loader, DataLoader)
        sizes = [rows(batch[-1]) for batch in loader]
        assert max(sizes) <= 15
        assert sum(sizes) == len(data.sample_ids(split))


@each
def test_equal_seeds_give_equal_batches_and_epochs_differ(name, written):
    def epochs(seed: int) -> list[list[Any]]:
        loader = opened(name, written(name)).loader("train", batch_size=4, seed=seed, shuffle=True)
        return [list(islice(loader, 4)) for _ in range(2)]

    torch.manual_seed(1)
    one = epochs(3)
    torch.manual_seed(2)  # nothing global matters
    two = epochs(3)
    assert same(one, two)
    assert not same(one[0], one[1])
    assert not same(one[0], epochs(4)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@each
def test_batches_are_the_same_with_workers(name, written):
    passes = []
    for workers in (0, 2):
        loader = opened(name, written(name)).loader(
            "train", batch_size=4, seed=1, shuffle=True, num_workers=workers
        )
        passes.append(list(islice(loader, 12)))
    assert same(*passes)


# Encoders, features


@each
@pytest.mark.parametrize("latents", ["vector", "tokens"])
def test_encoders_give_finite_latents(name, latents, written):
    data = opened(name, written(name))
    for prepared in (False, True):
        if prepared:
            data.prepare()
        inputs, _ = columns(next(iter(data.loader("train", batch_size=3))))
        encoders = data.encoders(EncoderSettings(latents=latents, dim=6, hidden=8, patches=4))
        assert len(encoders) == len(data.modalities)
        for encoder, x in zip(encoders, inputs, strict=True):
            latent, mask = encode_one(encoder, x)
            assert torch.isfinite(latent).all()
            if latents == "vector":
                assert latent.shape == (3, 6)
                assert mask is None
            else:
                assert latent.ndim == 3
                assert latent.shape[::2] == (3, 6)
                assert mask is None or mask.shape == latent.shape[:2]
            latent.sum().backward()
        assert all(any(p.grad is not None for p in e.parameters()) for e in encoders)


@each
def test_features_are_computed_once(name, written, monkeypatch):
    data = opened(name, written(name))
    data.prepare()
    data.prepare()  # a second time changes nothing
    before = list(data.loader("test", batch_size=16))

    def compute(*args: Any) -> None:
        raise AssertionError("features are computed a second time")

    monkeypatch.setattr(features, "_compute", compute)
    again = opened(name, written(name))
    again.prepare()
    assert same(before, list(again.loader("test", batch_size=16)))


@each
def test_plain_features_fit_the_linear_baseline(name, written):
    data = opened(name, written(name))
    data.prepare()
    found = [data.features(split) for split in SPLITS]
    if any(part is None for part in found):
        assert all(part is None for part in found)
        return
    assert all(part.ndim == 2 for part in found)
    assert len({part.shape[1] for part in found}) == 1
    assert [len(part) for part in found] == [len(data.sample_ids(split)) for split in SPLITS]


# The fingerprint


@each
def test_the_fingerprint_is_the_datas(name, written, sample):
    first = opened(name, written(name)).fingerprint()
    copy = sample(name)
    assert opened(name, copy).fingerprint() == first  # elsewhere, with other times
    read = []
    for file in BUILDS[name].card.files:
        for path in file.found(copy)[:1]:
            damage.replace(path, path.read_bytes() + b"\n")
            try:
                changed = opened(name, copy).fingerprint()
            except DatasetError:
                pass
            else:
                read.append(path)
                assert changed != first, f"{path.name} has changed, and the hash has not"
            sample(name)  # as it was
    assert read, "no file could be changed"
    assert opened(name, copy).fingerprint() == first


# Missing and broken files


@each
def test_no_folder_is_said_with_the_ways_out(name, tmp_path):
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(DatasetError) as error:
            BUILDS[name](root)
        assert f"i2moe-bench data sample {name}" in str(error.value)
        status = BUILDS[name].status(root)
        assert not status.ready
        assert status.problems
    (tmp_path / "a file").touch()
    with pytest.raises(DatasetError):
        BUILDS[name](tmp_path / "a file")


@each
def test_every_missing_file_is_named(name, sample):
    required = [file for file in BUILDS[name].card.files if not file.optional]
    for file in required:
        folder = sample(name)
        _remove(file, folder)
        with pytest.raises(DatasetError) as error:
            BUILDS[name](folder)
        assert Path(file.path).parts[0].split("{")[0] in str(error.value)
        assert not BUILDS[name].status(folder).ready
        assert BUILDS[name].verify(folder)
    for file in required:
        _remove(file, folder)
    with pytest.raises(DatasetError) as error:
        BUILDS[name](folder)
    for file in required:
        assert Path(file.path).parts[0].split("{")[0] in str(error.value)


def _remove(file: File, folder: Path) -> None:
    for path in file.found(folder):
        path.unlink()


def _flipper(seed: int, count: int) -> Callable[[Path], None]:
    def break_(path: Path) -> None:
        dice = random.Random(f"{seed} {path.name}")
        # Half of them early, where headers are.
        places = [dice.random() * (0.02 if turn % 2 else 1.0) for turn in range(count)]
        damage.flip(path, *places, mask=dice.randrange(1, 256))

    return break_


@dataclass(frozen=True)
class Broken:
    """A way to break a file, and whether the data set may still work."""

    how: Callable[[Path], None]
    may_work: bool = True


DAMAGES = {
    "half": Broken(damage.truncate, may_work=False),
    "no content": Broken(damage.empty, may_work=False),
    "last byte": Broken(lambda path: damage.truncate(path, 1 - 1e-9)),
    "one flip": Broken(_flipper(1, 1)),
    "two flips": Broken(_flipper(2, 2)),
    "many flips": Broken(_flipper(3, 40)),
    "noise": Broken(lambda path: damage.replace(path, random.Random(4).randbytes(5000)), False),
}


@each
@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", DAMAGES)
def test_a_broken_file_is_a_data_set_error_or_no_matter(name, how, sample):
    """On opening, in ``prepare`` or when read; never anything else, and never a hang."""
    for file in BUILDS[name].card.files:
        folder = sample(name)
        found = file.found(folder)
        if not found:
            continue
        path = found[len(found) // 2]
        DAMAGES[how].how(path)
        problem = _use(name, folder)
        if problem is None:
            assert DAMAGES[how].may_work or _is_text(path), f"{path.name} is broken and is read"
        else:
            assert path.stem in problem, "the file is not named"


def _use(name: str, folder: Path) -> str | None:
    """Read all there is; the DatasetError's message, if there was one."""
    try:
        data = opened(name, folder)
        data.fingerprint()
        data.prepare()
        for split in SPLITS:
            for batch in data.loader(split, batch_size=64):
                data.task.prepare(columns(batch)[1])
    except DatasetError as error:
        return str(error)
    return None


def _is_text(path: Path) -> bool:
    """Half of a csv may be a whole csv."""
    return path.suffix in (".csv", ".txt")
