"""What every data set keeps to: registering one is testing it.

Each is tried on its own drawn sample, or on a copy of the files that ship, made once a session.
"""

import json
import pickle
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points as _entry_points
from itertools import islice
from pathlib import Path
from typing import Any, get_args, get_type_hints

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch.utils.data import DataLoader

from i2moe_plugin.backbones.latents import encode_one
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data import frozen
from i2moe_plugin.benchmarks.data.cards import Download, File
from i2moe_plugin.benchmarks.data.convert import convert
from i2moe_plugin.benchmarks.data.multibench import CheckoutLoader
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.registry import DatasetEntry, datasets
from i2moe_plugin.benchmarks.data.source import MARKER
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import ConfigError, DatasetError

ENTRIES: dict[str, DatasetEntry] = {entry.name: entry for entry in datasets}
EMBEDDED = [name for name, entry in ENTRIES.items() if entry.card.embedded]
FILES = [name for name in ENTRIES if name not in EMBEDDED]
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
#: What makes a run on a data set's sample short, where it is long.
QUICK = {"stocks": ("--set", "data.window_size=20")}
PICTURES = {".jpg", ".jpeg", ".png", ".gz", ".txt"}  # their content has no keys

each = pytest.mark.parametrize("name", ENTRIES)
each_of_files = pytest.mark.parametrize("name", FILES)


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Callable[[str], Path]:
    """A data set's files; not to be changed."""
    folders: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in folders:
            folder, entry = tmp_path_factory.mktemp("samples") / name, ENTRIES[name]
            if name in EMBEDDED:
                folder.mkdir()
                for path in entry.folder().found():
                    shutil.copy(path, folder)
            else:
                entry.write_sample(folder, **SMALL.get(name, {}))
            folders[name] = folder
        return folders[name]

    return write


@pytest.fixture
def sample(written, tmp_path) -> Callable[[str], Path]:
    """A copy that a test may change, by ``damage`` alone: its files are hard links."""

    def copy(name: str) -> Path:
        shutil.copytree(written(name), tmp_path / name, copy_function=_link, dirs_exist_ok=True)
        return tmp_path / name

    return copy


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    Path(target).hardlink_to(source)


@pytest.fixture(autouse=True)
def _nothing_that_takes_minutes(request, monkeypatch, thumbnails):
    """What frozen networks compute does not matter here, nor how well words are learned."""
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if name in ENTRIES and ENTRIES[name].card.extra:
        request.getfixturevalue("tiny_pretrained")
    for entry in ENTRIES.values():
        monkeypatch.setitem(entry.read.__globals__, "WORD_EPOCHS", 1)


def rows(column: Any) -> int:
    """How many samples a column of a batch has; a tuple's parts agree."""
    if isinstance(column, (tuple, list)):
        (count,) = {rows(part) for part in column}
        return count
    return len(column)


def parts(column: Any) -> Iterator[torch.Tensor]:
    """The tensors of a column."""
    yield from column if isinstance(column, (tuple, list)) else [column]


def same(one: Any, two: Any) -> bool:
    if type(one) is not type(two):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return one.dtype == two.dtype and torch.equal(one, two)


# The facts


def test_every_registered_data_set_can_be_loaded():
    assert datasets.broken == {}
    assert EMBEDDED
    assert FILES


@each_of_files
def test_the_card_is_complete(name):
    card = ENTRIES[name].card
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


def _check_download(download: Download) -> None:
    assert download.url.startswith(("https://", "http://"))
    assert not Path(download.path).is_absolute()
    assert ".." not in Path(download.path).parts
    assert download.sha256 == "" or len(bytes.fromhex(download.sha256)) == 32


@each
def test_what_it_says_of_itself(name, written):
    data = open_dataset(name, written(name))
    assert data.name == name
    assert len(data.modalities) == len(set(data.modalities)) >= 2
    assert data.metric in data.task.metric_names
    assert data.selection in ("", "loss", *data.task.metric_names)
    assert len(data.class_names) == len(set(data.class_names)) == data.task.num_outputs
    assert data.is_sample == (name in FILES)
    assert any("drawn sample" in note for note in data.notes) == data.is_sample
    assert data.card.licence
    assert data.card.source


@each
def test_the_entry_says_the_same_as_the_opened_data_set(name, written):
    entry, data = ENTRIES[name], open_dataset(name, written(name))
    assert data.selection == entry.selection
    if data.modalities != entry.modalities:  # one a file, whatever they are called
        assert len(entry.modalities) == 1
    for key, parameter in entry.settings.items():
        assert parameter.default is not parameter.empty, f"data.{key} has no default"


#: What a setting with a default of that type never takes.
WRONG_VALUES: dict[type, tuple[Any, ...]] = {
    bool: (1, "yes"),
    int: (True, -5, 2.5, "8"),
    str: (True, 2.5),
}


@each
def test_defaults_are_values_that_settings_may_have(name, written):
    entry = ENTRIES[name]
    defaults = {key: parameter.default for key, parameter in entry.settings.items()}
    assert open_dataset(name, written(name), **defaults).fingerprint() == (
        open_dataset(name, written(name)).fingerprint()
    )
    for key, default in defaults.items():
        for value in (object(), None, *WRONG_VALUES[type(default)]):
            with pytest.raises(ConfigError, match=rf"data\.{key}"):
                open_dataset(name, written(name), **{key: value})


@each
def test_multibenchs_loader_is_taken_or_the_reason_is_said(name, written, tmp_path, monkeypatch):
    (tmp_path / "MultiBench" / "fusions").mkdir(parents=True)
    monkeypatch.setenv("MULTIBENCH_ROOT", str(tmp_path / "MultiBench"))
    checkout = ENTRIES[name].checkout
    if isinstance(checkout, CheckoutLoader):
        ours = open_dataset(name, written(name))
        data = open_dataset(name, written(name), loader="multibench")
        assert data.fingerprint() != ours.fingerprint()
        assert len(data.notes) == len(ours.notes) + 1
        return
    reason = "cannot be used" if checkout else f"no loader of {name}"
    with pytest.raises(DatasetError, match=reason):
        open_dataset(name, written(name), loader="multibench")


# The sample


@each_of_files
def test_nothing_is_wrong_with_a_fresh_sample(name, written):
    folder, entry = written(name), ENTRIES[name]
    assert entry.verify(folder) == []
    status = entry.status(folder)
    assert status.ready
    assert status.problems == ()
    assert status.size > 0
    assert (folder / MARKER).is_file()
    assert not list(folder.rglob(".*"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 20e6, "a sample is small"


@each_of_files
def test_a_sample_is_drawn_by_its_seed(name, tmp_path):
    sizes = SMALL.get(name, {})
    for folder, seed in (("one", 0), ("two", 0), ("other", 1)):
        ENTRIES[name].write_sample(tmp_path / folder, seed, **sizes)
    prints = [open_dataset(name, tmp_path / f).fingerprint() for f in ("one", "two", "other")]
    assert prints[0] == prints[1] != prints[2]


@each_of_files
def test_a_sample_is_not_written_over_anything(name, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for place, reason in {"": "empty folder", "mine": "empty folder", "mine/x": "written"}.items():
        with pytest.raises(DatasetError, match=reason):
            ENTRIES[name].write_sample(tmp_path / "full" / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine"]


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_ships_needs_no_files_and_no_sample(name, tmp_path):
    status = ENTRIES[name].status()
    assert status.ready
    assert status.where == "in the package"
    assert status.size > 0
    assert ENTRIES[name].verify() == []
    with pytest.raises(DatasetError, match="ships in the package"):
        ENTRIES[name].write_sample(tmp_path / "sample")


# Splits


@each
def test_no_sample_is_in_two_splits(name, written):
    data = open_dataset(name, written(name))
    ids = [data.sample_ids(split) for split in SPLITS]
    assert all(ids), "no split is empty"
    everyone = [one for part in ids for one in part]
    assert all(isinstance(one, str) and one for one in everyone)
    assert len(set(everyone)) == len(everyone)
    assert [len(data.labels(split)) for split in SPLITS] == list(map(len, ids))
    assert open_dataset(name, written(name)).split_hash() == data.split_hash()


# Batches


@each
def test_batches_hold_every_modality_and_the_target(name, written):
    data = open_dataset(name, written(name))
    for prepared in (data.prepare(frozen=False), data.prepare()):
        for split in SPLITS:
            total = 0
            loader = prepared.loader(split, batch_size=16)
            for *inputs, target in loader:
                assert len(inputs) == len(data.modalities)
                counts = {rows(column) for column in (*inputs, target)}
                assert len(counts) == 1, "columns of one batch differ in length"
                total += counts.pop()
                data.task.prepare(target)
            assert total == len(data.sample_ids(split))
            assert len(loader) == -(-total // 16)


@each
def test_a_batch_is_its_samples(name, written):
    """The oracle reads one sample at a time."""
    data = open_dataset(name, written(name)).prepare(frozen=False)
    for split in SPLITS:
        dataset = data.loader(split, batch_size=2).dataset
        *inputs, target = dataset.__getitems__([1, 0])
        for place, row in enumerate((1, 0)):
            *alone, label = dataset[row]
            assert torch.equal(torch.as_tensor(label), target[place])
            for column, one in zip(inputs, alone, strict=True):
                for part, x in zip(parts(column), parts(one), strict=True):
                    steps = x.shape[0] if x.ndim else None
                    found = part[place]
                    assert torch.equal(found[:steps] if found.shape != x.shape else found, x)


@each
def test_targets_come_in_the_order_of_the_labels(name, written):
    data = open_dataset(name, written(name))
    loader = data.prepare().loader("test", batch_size=7)
    targets = torch.cat([target for *_, target in loader])
    labels = torch.as_tensor(data.labels("test"))
    assert torch.equal(data.task.prepare(targets), data.task.prepare(labels))


@each
def test_previews_are_of_the_declared_modalities(name, written):
    data = open_dataset(name, written(name))
    for split in SPLITS:
        for index in (0, len(data.sample_ids(split)) - 1):
            shown = data.preview(split, index)
            assert [item.modality for item in shown] == list(data.modalities)
            for item in shown:
                assert item.kind in ("image", "text", "series", "features")
                if item.kind == "image":
                    assert item.value.ndim == 3
                    assert item.value.shape[2] == 3
                    assert item.value.dtype.name == "uint8"
                if item.names:
                    assert len(item.names) == item.value.shape[-1]


@each
def test_multibenchs_call_gives_three_loaders(name, written):
    data = open_dataset(name, written(name))
    get_dataloader = sys.modules[_module(name)].get_dataloader
    loaders = get_dataloader(written(name), batch_size=15, num_workers=0, train_shuffle=True)
    assert len(loaders) == 3
    for split, loader in zip(SPLITS, loaders, strict=True):
        assert isinstance(loader, DataLoader)
        tensors = [part for column in next(iter(loader)) for part in parts(column)]
        assert {part.dtype for part in tensors} <= {torch.float32, torch.int64, torch.uint8}
        sizes = [rows(batch[-1]) for batch in loader]
        assert max(sizes) <= 15
        assert sum(sizes) == len(data.sample_ids(split))


def _module(name: str) -> str:
    """Where it is registered."""
    (point,) = (
        point for point in _entry_points(group="i2moe_plugin.datasets") if point.name == name
    )
    return point.module


@each
def test_equal_seeds_give_equal_batches_and_epochs_differ(name, written):
    data = open_dataset(name, written(name)).prepare(frozen=False)

    def epochs(seed: int) -> list[list[Any]]:
        loader = data.loader("train", batch_size=4, seed=seed, shuffle=True)
        return [list(islice(loader, 4)) for _ in range(2)]

    torch.manual_seed(1)
    one = epochs(3)
    torch.manual_seed(2)  # nothing global matters
    two = epochs(3)
    assert same(one, two)
    assert not same(one[0], one[1])
    assert not same(one[0], epochs(4)[0])


@each
def test_what_workers_are_given_is_small_and_gives_the_same(name, written):
    """As where processes are started anew: a split travels as bytes, files by their paths."""
    data = open_dataset(name, written(name))
    for frozen_too in (False, True):
        dataset = data.prepare(frozen=frozen_too).loader("train", batch_size=4).dataset
        expected = dataset.__getitems__([0, 2, 1])
        assert same(pickle.loads(pickle.dumps(dataset)).__getitems__([0, 2, 1]), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@each
def test_batches_are_the_same_with_workers(name, written):
    data = open_dataset(name, written(name)).prepare(frozen=False)
    options = {"batch_size": 4, "seed": 1, "shuffle": True}
    passes = [
        list(islice(data.loader("train", num_workers=workers, **options), 12)) for workers in (0, 2)
    ]
    assert same(*passes)


# Encoders, features


@each
@pytest.mark.parametrize("latents", ["vector", "tokens"])
def test_encoders_encode_samples_as_if_they_came_alone(name, latents, written):
    """A batch is padded to its longest sample, and nothing of that reaches the others."""
    prepared = open_dataset(name, written(name)).prepare()
    encoders = prepared.encoders(EncoderSettings(latents=latents, dim=6, hidden=5, patches=3))
    (together,) = islice(prepared.loader("test", batch_size=5), 1)
    for m, encoder in enumerate(encoders):
        with torch.no_grad():
            found, mask = encode_one(encoder.eval(), together[m])
            for row, sample in enumerate(islice(prepared.loader("test", batch_size=1), 5)):
                alone, own = encode_one(encoder, sample[m])
                kept, single = found[row], alone[0]
                if mask is not None:
                    kept, single = kept[~mask[row]], single[~own[0]]
                torch.testing.assert_close(kept, single, rtol=1e-3, atol=1e-4)


@each
@pytest.mark.parametrize("latents", ["vector", "tokens"])
def test_encoders_give_finite_latents(name, latents, written):
    data = open_dataset(name, written(name))
    for frozen_too, hidden, size in ((False, 5, 4), (True, 0, 4), (True, 5, 1)):
        settings = EncoderSettings(latents=latents, dim=6, hidden=hidden, patches=3)
        prepared = data.prepare(frozen=frozen_too)
        *inputs, _ = next(iter(prepared.loader("train", batch_size=size)))
        encoders = prepared.encoders(settings)
        for encoder, x in zip(encoders, inputs, strict=True):
            latent, mask = encode_one(encoder.train(size == 1), x)  # an epoch may end in one row
            assert latent.shape[0] == size
            assert latent.shape[-1] == 6
            assert latent.ndim == (2 if latents == "vector" else 3)
            assert mask is None or mask.shape == latent.shape[:2]
            assert torch.isfinite(latent).all()


@each
def test_what_takes_long_is_computed_once(name, written, monkeypatch):
    before = list(open_dataset(name, written(name)).prepare().loader("test", batch_size=16))

    def compute(*args: Any) -> None:
        raise AssertionError("features are computed a second time")

    monkeypatch.setattr(frozen, "_compute", compute)
    again = open_dataset(name, written(name)).prepare()
    assert same(before, list(again.loader("test", batch_size=16)))


@pytest.mark.parametrize("name", [name for name, e in ENTRIES.items() if not e.card.extra])
def test_frozen_features_are_what_the_network_makes_of_the_inputs(name, written, thumbnails):
    """And a data set without a network is the same, frozen or not; test_icons has its own."""
    data = open_dataset(name, written(name))
    *inputs, target = next(iter(data.prepare(frozen=False).loader("valid", batch_size=4)))
    *kept, same_target = next(iter(data.prepare().loader("valid", batch_size=4)))
    assert torch.equal(target, same_target)
    for x, found in zip(inputs, kept, strict=True):
        if thumbnails and x.shape != found.shape:
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, thumbnails[0](x), rtol=1e-3, atol=1e-3)
        else:
            assert same(x, found)
    assert len(thumbnails) <= 1, "one network is built for all modalities, once"


@pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if "weights" in e.settings])
def test_published_files_are_not_read_with_random_weights_unasked(name, written, sample):
    """A drawn sample is, and says so."""
    assert any("random weights" in note for note in open_dataset(name, written(name)).notes)
    folder = sample(name)
    (folder / MARKER).unlink()
    status = ENTRIES[name].status(folder)
    assert not status.ready
    assert any("ImageNet weights" in problem for problem in status.problems)
    with pytest.raises(DatasetError, match=r"--weights none") as error:
        open_dataset(name, folder)
    assert ENTRIES[name].card.how_to_get not in str(error.value), "the data is there"
    notes = open_dataset(name, folder, weights="none").notes
    assert any("random weights" in note for note in notes)


@each
def test_plain_features_fit_the_linear_baseline(name, written):
    data = open_dataset(name, written(name))
    found = [data.features(split) for split in SPLITS]
    if any(part is None for part in found):
        assert all(part is None for part in found)
        return
    assert all(part.ndim == 2 for part in found)
    assert len({part.shape[1] for part in found}) == 1
    assert [len(part) for part in found] == [len(data.sample_ids(split)) for split in SPLITS]
    train, _, test = (data.labels(split) for split in SPLITS)
    if train.ndim == 1:  # classes: what the features say of them is better than their shares
        model = LogisticRegression(C=0.001, max_iter=500).fit(found[0], train)
        shares = np.bincount(train)[np.unique(train)] / len(train)
        said = model.predict_proba(found[2])
        assert log_loss(test, said) < 0.99 * log_loss(test, np.tile(shares, (len(test), 1)))


# A run


@pytest.mark.slow
@pytest.mark.timeout(300)
@each
def test_a_run(name, written):
    told = "--fusion concat --seeds 1 --epochs 1 --jobs 1 --device cpu --set latent_dim=4"
    told += " --set encoder_hidden=4 --set batch_size=256"
    places = ["--dataset", name, "--data-root", str(written(name)), *QUICK.get(name, ())]
    done = CliRunner().invoke(main, ["run", *told.split(), *places, "--json"])
    assert done.exit_code == 0, done.output
    data = open_dataset(name, written(name))
    for method in json.loads(done.stdout)["methods"].values():
        assert np.isfinite(method["metrics"][data.metric]["mean"])


# The fingerprint


@each
def test_the_fingerprint_is_the_datas(name, written, sample, damage):
    first = open_dataset(name, written(name)).fingerprint()
    copy = sample(name)
    assert open_dataset(name, copy).fingerprint() == first  # elsewhere, with other times
    read = []
    for file in ENTRIES[name].folder(copy).card.files:
        for path in file.found(copy)[:1]:
            damage.replace(path, path.read_bytes() + b"\n")
            try:
                changed = open_dataset(name, copy).fingerprint()
            except DatasetError:
                pass
            else:
                read.append(path)
                assert changed != first, f"{path.name} has changed, and the hash has not"
            sample(name)  # as it was
    assert read, "no file could be changed"
    assert open_dataset(name, copy).fingerprint() == first


@each
def test_a_setting_that_changes_the_data_changes_the_fingerprint(name, written):
    plain = open_dataset(name, written(name))

    def first(data: OpenedDataset) -> Any:
        return next(iter(data.prepare(frozen=False).loader("train", batch_size=8)))

    def ids(data: OpenedDataset) -> Any:
        return [data.sample_ids(split) for split in SPLITS]

    hints = get_type_hints(ENTRIES[name].read, include_extras=True)
    for key, parameter in ENTRIES[name].settings.items():
        value = _another(parameter.default, hints[key])
        if value is not None:
            try:
                data = open_dataset(name, written(name), **{key: value})
            except DatasetError:
                continue  # such as a size that no patches fit
            changed = ids(plain) != ids(data) or not same(first(plain), first(data))
            assert data.fingerprint() != plain.fingerprint() or not changed, f"data.{key}={value}"


def _another(default: Any, hint: Any) -> Any:
    """A value that the setting may have beside its default; None where only the data tells."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default - 1
    choices = [one for one in get_args(hint) if isinstance(one, str) and one != default]
    return choices[0] if choices else None


# Missing and broken files


@each_of_files
def test_no_folder_is_said_with_the_ways_out(name, tmp_path):
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(DatasetError) as error:
            open_dataset(name, root)
        assert f"i2moe-bench data sample {name}" in str(error.value)
        assert ENTRIES[name].card.how_to_get in str(error.value)
        status = ENTRIES[name].status(root)
        assert not status.ready
        assert status.problems
    (tmp_path / "a file").touch()
    with pytest.raises(DatasetError):
        open_dataset(name, tmp_path / "a file")


@each
def test_every_missing_file_is_named(name, sample):
    required = [f for f in ENTRIES[name].folder(sample(name)).card.files if not f.optional]
    for file in required:
        folder = sample(name)
        _remove(file, folder)
        with pytest.raises(DatasetError) as error:
            open_dataset(name, folder)
        assert Path(file.path).parts[0].split("{")[0] in str(error.value)
        assert not ENTRIES[name].status(folder).ready
        assert ENTRIES[name].verify(folder)
    for file in required:
        _remove(file, folder)
    with pytest.raises(DatasetError) as error:
        open_dataset(name, folder)
    for file in required:
        assert Path(file.path).parts[0].split("{")[0] in str(error.value)


def _remove(file: File, folder: Path) -> None:
    for path in file.found(folder):
        path.unlink()


@dataclass(frozen=True)
class Broken:
    """A way to break a file, and whether the data set may still work."""

    how: Callable[[Any, Path], None]
    may_work: bool = True


def _flips(count: int, kept: float = 1.0) -> Callable[[Any, Path], None]:
    """Flip some bits of so many bytes, and keep a part; what, is the file's and the number's."""

    def break_(damage: Any, path: Path) -> None:
        dice = random.Random(f"{count} {kept} {path.name}")
        # Half of them early, where headers are.
        places = [dice.random() * (0.02 if turn % 2 else 1.0) for turn in range(count)]
        damage.truncate(path, kept)
        damage.flip(path, *places, mask=dice.randrange(1, 256))

    return break_


DAMAGES = {
    "half": Broken(lambda damage, path: damage.truncate(path), may_work=False),
    "no content": Broken(lambda damage, path: damage.empty(path), may_work=False),
    "last byte": Broken(lambda damage, path: damage.truncate(path, 1 - 1e-9)),
    "noise": Broken(
        lambda damage, path: damage.replace(path, random.Random(4).randbytes(5000)), False
    ),
    **{f"{count} flips": Broken(_flips(count)) for count in (1, 2, 3, 5, 8, 40)},
    "a flip and a cut": Broken(_flips(1, kept=0.9)),
}


@each
@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", DAMAGES)
def test_a_broken_file_is_a_data_set_error_or_no_matter(name, how, sample, damage):
    """On opening, when prepared or when read; never anything else, never a hang, never NaN."""
    entry = ENTRIES[name]
    for file in entry.folder(sample(name)).card.files:
        for as_hdf5 in (False, True) if file.is_pickle else (False,):
            folder = sample(name)
            found = file.found(folder)
            if not found:
                continue
            path = found[len(found) // 2]
            if as_hdf5:
                path = path.with_suffix(".h5")
                convert(found[0], path)
                found[0].unlink()
            DAMAGES[how].how(damage, path)
            problem = _use(name, folder)
            if problem is None:
                assert DAMAGES[how].may_work or _is_text(path), f"{path.name} is broken and is read"
            else:
                assert path.stem in problem, "the file is not named"
            if as_hdf5:
                path.unlink(missing_ok=True)


WRONG: dict[str, Callable[[Any], Any]] = {
    "absent": lambda values: None,
    "another rank": lambda values: values[..., None],
    "a row less": lambda values: values[:-1],
    "no rows": lambda values: values[:0],
    "no real numbers": lambda values: values.astype("c8"),
    "not finite": lambda values: np.full(values.shape, np.inf),
    "huge": lambda values: np.full(values.shape, 1e300),
}


@each
@pytest.mark.parametrize("what", WRONG)
def test_an_array_that_is_not_as_declared_is_a_data_set_error(name, what, sample, damage):
    """Or, where it is of the right form, of no effect on what is finite."""
    for file in ENTRIES[name].folder(sample(name)).card.files:
        for key in file.keys:
            suffix = Path(file.path).suffix
            if key.optional or key.shape is None or suffix not in CHANGE:
                continue
            if (what == "absent" and not key.name) or (
                key.dtype == "text" and what not in ("absent", "a row less")
            ):
                continue
            folder = sample(name)
            found = file.found(folder)
            path = found[len(found) // 2]
            damage.replace(path, path.read_bytes())  # a file of its own, not a link
            CHANGE[suffix](path, key.name, WRONG[what])
            problem = _use(name, folder)
            if problem is not None:
                assert path.stem in problem, f"{key.name}: the file is not named"
            else:
                assert what in ("not finite", "huge"), f"{path.name}: {key.name} is {what}"


def _change_hdf5(path: Path, key: str, change: Callable[[Any], Any]) -> None:
    with h5py.File(path, "a") as file:
        values = change(file[key][()])
        del file[key]
        if values is not None:
            file[key] = values


def _change_npy(path: Path, key: str, change: Callable[[Any], Any]) -> None:
    np.save(path, change(np.load(path)))


def _change_tensor(path: Path, key: str, change: Callable[[Any], Any]) -> None:
    torch.save(torch.from_numpy(change(torch.load(path).numpy())), path)


def _change_pickle(path: Path, key: str, change: Callable[[Any], Any]) -> None:
    content = part = pickle.loads(path.read_bytes())
    *way, last = key.split("/")
    for step in way:
        part = part[step]
    part[last] = change(np.asarray(part[last]))
    if part[last] is None:
        del part[last]
    path.write_bytes(pickle.dumps(content))


CHANGE = {
    ".h5": _change_hdf5,
    ".hdf5": _change_hdf5,
    ".npy": _change_npy,
    ".pt": _change_tensor,
    ".pkl": _change_pickle,
    ".pk": _change_pickle,
}


def _use(name: str, folder: Path) -> str | None:
    """Read all there is; the DatasetError's message, if there was one."""
    try:
        data: OpenedDataset = open_dataset(name, folder)
        data.fingerprint()
        for split in SPLITS:
            for *inputs, target in data.prepare().loader(split, batch_size=64):
                data.task.prepare(target)
                for part in (part for column in inputs for part in parts(column)):
                    assert np.isfinite(part.numpy()).all()
    except DatasetError as error:
        return str(error)
    return None


def _is_text(path: Path) -> bool:
    """Half of a csv may be a whole csv."""
    return path.suffix in (".csv", ".txt")


# Splits drawn anew


@each
def test_splits_can_be_drawn_anew_or_say_why_not(name, written):
    own = open_dataset(name, written(name))
    try:
        drawn = open_dataset(name, written(name), split="1")
    except ConfigError as error:
        assert "cannot be drawn anew: " in str(error)  # noqa: PT017
        assert name == "stocks"
        return
    every = [{one for split in SPLITS for one in data.sample_ids(split)} for data in (own, drawn)]
    assert every[0] == every[1]
    assert own.sample_ids("test") != drawn.sample_ids("test")
    assert own.content_hash() == drawn.content_hash()
    assert any("drawn anew" in note for note in drawn.notes)
    for split in SPLITS:
        groups = drawn.groups(split)
        assert groups is None or len(groups) == len(drawn.sample_ids(split))
    if drawn.groups("test") is not None:
        inside = [set(drawn.groups(split).tolist()) for split in SPLITS]
        assert sum(map(len, inside)) == len(set.union(*inside))
    if drawn.labels("train").ndim == 1 and drawn.labels("train").dtype.kind == "i":
        assert any("stratified by class" in note for note in drawn.notes)
