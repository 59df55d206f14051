"""MM-IMDb: published splits and batches, memory that does not grow, and every bad input."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.mmimdb import (
    GENRES,
    HDF5,
    get_dataloader,
    read_film,
    split_rows,
)
from i2moe_plugin.benchmarks.datasets.mmimdb_raw import VECTORS
from i2moe_plugin.benchmarks.datasets.samples import mmimdb as mmimdb_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import DatasetError

opened, opened_raw = (partial(open_dataset, name) for name in ("mmimdb", "mmimdb-raw"))
NAME = "mmimdb"
FILMS = 40
SIZES = {"films": FILMS}


@pytest.fixture(scope="module")
def drawn_raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mmimdb") / "raw"
    datasets.get("mmimdb-raw").write_sample(folder, films=FILMS)
    return folder


@pytest.fixture
def raw(drawn_raw, tmp_path) -> Path:
    return Path(shutil.copytree(drawn_raw, tmp_path / "raw"))


def rewrite(folder, key, values=None, **attributes):
    """Put other values in an array's place; None drops it."""
    with h5py.File(folder / HDF5, "r+") as file:
        del file[key]
        if values is not None:
            file[key] = values
            file[key].attrs.update(attributes)


# Published facts


def test_the_published_split():
    rows = split_rows(25959)
    assert [len(rows[name]) for name in SPLITS] == [15552, 2608, 7799]
    assert rows["train"][[0, -1]].tolist() == [0, 15551]
    assert rows["valid"][[0, -1]].tolist() == [15552, 18159]
    assert rows["test"][[0, -1]].tolist() == [18160, 25958]


@given(count=st.integers(10, 30000))
def test_any_split_takes_each_row_once_in_order(count):
    rows = split_rows(count)
    assert np.array_equal(np.concatenate([rows[name] for name in SPLITS]), np.arange(count))


def test_genres_are_the_published_ones():
    assert len(GENRES) == len(set(GENRES)) == 23
    assert GENRES[:3] == ["Drama", "Comedy", "Romance"]
    assert GENRES[-1] == "Film-Noir"
    assert list(mmimdb_sample.VOCABULARY) == GENRES


# The published features


def test_batches_are_the_files_rows(drawn):
    data = opened(drawn)
    with h5py.File(drawn / HDF5) as file:
        arrays = {key: file[key][()] for key in file}
    rows = split_rows(FILMS)
    for name in SPLITS:
        loader = data.prepare().loader(name, batch_size=7)
        text, image, target = (torch.cat(column) for column in zip(*loader, strict=True))
        np.testing.assert_array_equal(text, arrays["features"][rows[name]])
        np.testing.assert_array_equal(image, arrays["vgg_features"][rows[name]])
        np.testing.assert_array_equal(target, arrays["genres"][rows[name]])
        np.testing.assert_array_equal(data.labels(name), arrays["genres"][rows[name]])
        assert data.sample_ids(name) == [one.decode() for one in arrays["imdb_ids"][rows[name]]]
    assert data.class_names == tuple(GENRES)
    assert data.task.metric_names[:2] == ("micro_f1", "macro_f1")


def test_multibenchs_call(drawn):
    for path in (drawn, drawn / HDF5):
        train, valid, test = get_dataloader(
            path, "somewhere", vgg=True, batch_size=8, num_workers=0, no_robust=True
        )
        text, image, label = next(iter(train))
        assert (text.shape, image.shape, label.shape) == ((8, 300), (8, 4096), (8, 23))
        assert text.dtype == image.dtype == torch.float32
        assert sum(len(y) for *_, y in valid) == len(split_rows(FILMS)["valid"])
        assert sum(len(y) for *_, y in test) == len(split_rows(FILMS)["test"])
    (_, image, _) = next(iter(get_dataloader(drawn, num_workers=0)[0]))
    assert image.shape[1:] == (3, 256, 160)


def test_equal_rows_whatever_the_files_layout(sample, tmp_path):
    def rows(frozen):
        prepared = opened(sample).prepare(frozen=frozen)
        return list(prepared.loader("train", batch_size=9, shuffle=True))

    before = rows(frozen=True)
    with h5py.File(sample / HDF5) as file:
        values = file["vgg_features"][()]
    with h5py.File(sample / HDF5, "r+") as file:
        del file["vgg_features"]
        file.create_dataset("vgg_features", data=values, chunks=(16, 512), compression="gzip")
    scattered, copied = rows(frozen=False), rows(frozen=True)
    assert [path.name[:19] for path in (tmp_path / "cache" / "features").iterdir()] == [
        "mmimdb-vgg_features"
    ]
    for one, two, three in zip(before, scattered, copied, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_a_file_in_one_piece_is_not_copied(sample, tmp_path):
    opened(sample).prepare()
    assert not (tmp_path / "cache" / "features").exists()


def test_published_widths(drawn):
    """I2MoE's Maxout networks: 300-512-512 and 4096-1024-512, each Maxout of two."""
    settings = EncoderSettings(dim=64, hidden=512, dropout=0.3)
    text, image = opened(drawn).prepare().encoders(settings)
    assert [tuple(p.shape) for p in text.parameters() if p.ndim == 2] == [
        (1024, 300),
        (1024, 512),
        (64, 512),
    ]
    assert [tuple(p.shape) for p in image.parameters() if p.ndim == 2] == [
        (2048, 4096),
        (1024, 1024),
        (64, 512),
    ]


def test_posters_and_plots_are_shown(sample):
    data = opened(sample)
    films = {film.id: film for film in mmimdb_sample.draw(0, FILMS)}
    film = films[data.sample_ids("test")[3]]
    text, image = data.preview("test", 3)
    assert text.kind == "features"
    assert image.kind == "image"
    difference = image.value.astype(int) - np.asarray(film.poster)
    assert abs(difference).max() <= 1  # the file rounds towards zero
    (sample / "dataset").mkdir()
    facts = json.dumps({"plot": ["short", f"{film.plot}\x1b[2J"], "genres": []})
    (sample / "dataset" / f"{film.id}.json").write_text(facts)
    text, _ = data.preview("test", 3)
    assert (text.kind, text.value) == ("text", f"{film.plot}\x1b[2J")


def test_features_alone_are_shown_where_there_is_no_more(sample):
    rewrite(sample, "images")
    assert [one.kind for one in opened(sample).preview("train", 0)] == ["features", "features"]


def test_ids_may_be_numbers_and_names_of_genres_the_files(sample):
    with h5py.File(sample / HDF5) as file:
        ids = [one.decode() for one in file["imdb_ids"][()]]
        genres = file["genres"][()]
    rewrite(sample, "imdb_ids", np.array([int(one) for one in ids]))
    turned = GENRES[::-1]
    rewrite(sample, "genres", genres, target_names=json.dumps(turned))
    data = opened(sample)
    assert data.sample_ids("train") == ids[: len(data.sample_ids("train"))]
    assert data.class_names == tuple(turned)
    rewrite(sample, "genres", genres, target_names="[1")
    assert opened(sample).class_names == tuple(GENRES)


def test_another_number_of_films_is_refused_in_a_real_file(sample):
    (sample / "SAMPLE.txt").unlink()
    with pytest.raises(DatasetError, match=r"40 films.*25959"):
        opened(sample)
    problems = datasets.get("mmimdb").verify(sample)
    assert any("N is 40, but 25959 as published" in problem for problem in problems)


def bad(key, change):
    def break_(folder):
        with h5py.File(folder / HDF5) as file:
            values = file[key][()]
        rewrite(folder, key, change(values))

    return break_


def one(values, value):
    values = values.copy()
    values[-1, 0] = value
    return values


@pytest.mark.parametrize(
    ("break_", "reason"),
    [
        (bad("features", lambda x: x[:, :299]), "expected numbers.*300"),
        (bad("genres", lambda x: one(x, 2)), "other than 0 and 1"),
        (bad("imdb_ids", lambda x: x[[0] * len(x)]), "twice"),
        (bad("imdb_ids", lambda x: np.array(["x"] * len(x), "S1")), HDF5),
        (bad("features", lambda x: one(x, np.nan)), "features holds 1 NaN"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(break_, reason, sample):
    break_(sample)
    with pytest.raises(DatasetError, match=reason) as error:
        list(opened(sample).prepare().loader("test", batch_size=50))
    assert HDF5 in str(error.value) or "twice" in str(error.value)
    assert datasets.get("mmimdb").verify(sample)


# The raw archive


def test_raw_batches(drawn_raw, thumbnails):
    data = opened_raw(drawn_raw)
    films = {film.id: film for film in mmimdb_sample.draw(0, FILMS)}
    split = json.loads((drawn_raw / "split.json").read_text())
    for name, theirs in zip(SPLITS, ("train", "dev", "test"), strict=True):
        assert data.sample_ids(name) == split[theirs]
        expected = np.zeros((len(split[theirs]), 23))
        for row, number in enumerate(split[theirs]):
            expected[row, films[number].genres] = 1
        np.testing.assert_array_equal(data.labels(name), expected)
    text, features, target = next(iter(data.prepare().loader("train", batch_size=4)))
    assert (text.shape, features.shape, target.shape) == ((4, 300), (4, 4096), (4, 23))
    vectors = mmimdb_sample._vectors(0)
    words = films[split["train"][0]].plot.lower()[:-1].split()
    np.testing.assert_allclose(text[0], np.mean([vectors[w] for w in words], 0), atol=1e-6)


def test_raw_films_are_shown(drawn_raw):
    data = opened_raw(drawn_raw)
    film = next(f for f in mmimdb_sample.draw(0, FILMS) if f.id == data.sample_ids("valid")[0])
    text, image = data.preview("valid", 0)
    assert (text.kind, text.value) == ("text", film.plot)
    assert image.value.shape == (256, 160, 3)
    assert abs(image.value.astype(int) - np.asarray(film.poster)).mean() < 5  # jpeg


def test_posters_are_cut_from_the_middle(raw, thumbnails, sample_of):
    number = json.loads((raw / "split.json").read_text())["train"][0]
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 255
    Image.fromarray(wide).save(raw / "dataset" / f"{number}.jpeg", quality=95)
    picture = sample_of(opened_raw(raw), "train", 0)[1]
    assert picture.shape == (3, 224, 224)
    assert picture[..., 2:-2].min() > 0.9, "what is left and right of the middle is cut"


def test_what_takes_long_is_done_once(raw, monkeypatch, sample_of):
    first = opened_raw(raw)
    text = sample_of(first, "train", 0)[0]
    for place in ("datasets.mmimdb_raw.read_film", "formats.word_vectors.read_vectors"):
        monkeypatch.setattr(
            f"i2moe_plugin.benchmarks.{place}", lambda path: pytest.fail(f"{path} is read again")
        )
    again = opened_raw(raw)
    assert torch.equal(sample_of(again, "train", 0)[0], text)
    np.testing.assert_array_equal(again.labels("train"), first.labels("train"))


def test_test_films_change_nothing_in_training(raw, whole):
    before = whole(opened_raw(raw), "train")
    number = json.loads((raw / "split.json").read_text())["test"][0]
    (raw / "dataset" / f"{number}.json").write_text(
        json.dumps({"plot": ["Something else entirely."], "genres": ["News", "Western"]})
    )
    data = opened_raw(raw)
    assert data.labels("test")[0].nonzero()[0].tolist() == [GENRES.index("Western")]
    for a, b in zip(before, whole(data, "train"), strict=True):
        assert torch.equal(a, b)


def test_word_vectors_from_elsewhere(raw, tmp_path, sample_of, damage):
    away = Path(shutil.move(raw / VECTORS, tmp_path / "mine.bin"))
    with pytest.raises(DatasetError, match=r"data\.words=FILE"):
        opened_raw(raw)
    with pytest.raises(DatasetError, match="nowhere"):
        opened_raw(raw, words="nowhere.bin")
    data = opened_raw(raw, words=away)
    assert sample_of(data, "train", 0)[0].any()
    first = data.fingerprint()
    damage.replace(away, away.read_bytes().replace(b"kiss", b"KISS"))
    assert opened_raw(raw, words=away).fingerprint() != first


@pytest.mark.parametrize(
    ("film", "reason"),
    [
        ([], "plot is not a list"),
        ({"genres": []}, "plot is not a list"),
        ({"plot": "one", "genres": []}, "plot is not a list"),
        ({"plot": [1], "genres": []}, "plot is not a list"),
        ({"plot": [], "genres": []}, "no plot"),
        ({"plot": ["x"]}, "genres is not a list"),
    ],
)
def test_films_without_plot_or_genres(film, reason, tmp_path):
    path = tmp_path / "1.json"
    path.write_text(json.dumps(film))
    with pytest.raises(DatasetError, match=f"1.json.*{reason}"):
        read_film(path)


def test_half_a_surrogate_pair_is_shown_as_a_question_mark(tmp_path):
    path = tmp_path / "1.json"
    path.write_text('{"plot": ["a \\ud800 b"], "genres": []}')
    assert read_film(path) == ("a ? b", [])


@pytest.mark.parametrize("number", ["../../etc/passwd", "", "12a", 7, None, "٣", "1" * 50])
def test_ids_that_are_no_numbers_name_no_file(number, raw):
    split = json.loads((raw / "split.json").read_text())
    split["dev"][0] = number
    (raw / "split.json").write_text(json.dumps(split))
    with pytest.raises(DatasetError, match=r"split\.json: dev: .*not a number"):
        opened_raw(raw)


# Runs, memory


@pytest.mark.slow
def test_no_cache_computes_features_again(drawn_raw, tmp_path, thumbnails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = "--dataset mmimdb-raw --fusion concat --seeds 1 --epochs 1 --jobs 1"
    command = ["run", *told.split(), "--data-root", str(drawn_raw), "--set", "encoder_hidden=16"]
    for options, built in ((), 1), (["--fresh"], 1), (["--fresh", "--no-cache"], 2):
        done = CliRunner().invoke(main, [*command, *options])
        assert done.exit_code == 0, done.output
        assert len(thumbnails) == built


LOADER = """
import sys
from i2moe_plugin.benchmarks.data.open import open_dataset

def memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

before = memory()
data = open_dataset("mmimdb", sys.argv[1]).prepare()
count = sum(len(y) for *_, y in data.loader("train", batch_size=32, shuffle=True))
print(count, before, memory())
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="reads memory as Linux tells it"
)
def test_memory_does_not_grow_with_the_file(tmp_path):
    grown = {}
    for count in (1000, 6000):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "SAMPLE.txt").touch()
        with h5py.File(folder / HDF5, "w") as file:
            file["features"] = np.ones((count, 300), "f4")
            file["vgg_features"] = np.ones((count, 4096), "f4")
            file["genres"] = np.zeros((count, 23), "i4")
            file["imdb_ids"] = np.array([f"{i:07d}" for i in range(count)], "S7")
        done = subprocess.run(
            [sys.executable, "-c", LOADER, str(folder)],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        loaded, before, peak = map(float, done.stdout.split())
        assert loaded == len(split_rows(count)["train"])
        assert peak < 1000, "MB"
        grown[count] = peak - before
        shutil.rmtree(folder)
    assert grown[6000] < grown[1000] + 30, "MB; the file has grown by 88"
