"""Runs of other people: a bad one is left out with its reason, and nothing else is read."""

import hashlib
import json
import os

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.store import MANIFEST


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    arguments = (
        "--fusion concat --dataset htad --seeds 1 --epochs 1 --device cpu --set latent_dim=8"
    )
    done = CliRunner().invoke(main, ["run", *arguments.split(), "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def seal(folder):
    files = {
        file.name: {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "size": file.stat().st_size,
        }
        for file in folder.iterdir()
        if file.name != MANIFEST and file.is_file()
    }
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}))


def said(file, value, *place):
    """Put a value into a record."""

    def change(folder):
        record = json.loads((folder / file).read_text())
        held = record
        for key in place[:-1]:
            held = held[key]
        held[place[-1]] = value
        (folder / file).write_text(json.dumps(record).replace('"1e400"', "1e400"))

    return change


def written(file, text):
    return lambda folder: (folder / file).write_text(text)


def column(name, value):
    def change(folder):
        with h5py.File(folder / "outputs.h5", "r+") as file:
            old = file[name][:]
            del file[name]
            new = value(old, file)
            if new is not None:
                file[name] = new

    return change


def external(old, file):
    file["weights"] = h5py.ExternalLink("/nothing.h5", "weights")


def stored_outside(old, file):
    place = [("/etc/passwd", 0, old.nbytes)]
    file.create_dataset("weights", old.shape, old.dtype, external=place)


BAD = {
    "a path as data set": said("settings.json", "../../private", "dataset"),
    "a seed of text": said("settings.json", "one", "seed"),
    "an endless seed": said("settings.json", "1e400", "seed"),
    "hidden settings": said("settings.json", {}, "_fields_set"),
    "no settings": written("settings.json", "[]"),
    "nested settings": written("settings.json", '{"a":' * 10_000 + "1" + "}" * 10_000),
    "no number": said("result.json", "good", "test", "accuracy"),
    "NaN": written("result.json", '{"test": {"accuracy": NaN}}'),
    "names of another type": said("result.json", 3, "class_names"),
    "another task": said("result.json", "none", "task", "name"),
    "too many classes": said("result.json", 10**9, "task", "num_outputs"),
    "experts without names": said("result.json", {}, "expert_weights"),
    "a broken history": written("metrics.jsonl", "[]\n"),
    "another history": written("metrics.jsonl", '{"epoch": 1}\n'),
    "labels out of range": column("target", lambda old, _: np.full_like(old, 99)),
    "labels of text": column("target", lambda old, _: [b"a"] * len(old)),
    "NaN weights": column("weights", lambda old, _: old * np.nan),
    "weights above one": column("weights", lambda old, _: old + 1e30),
    "numbers as ids": column("sample_id", lambda old, _: np.arange(len(old))),
    "another shape": column("expert_outputs", lambda old, _: old[:, :1]),
    "a link outside": column("weights", external),
    "values outside": column("weights", stored_outside),
    "no HDF5": written("outputs.h5", "nothing"),
}


@pytest.fixture
def foreign(own, tmp_path):
    """Copy a run with experts and one without."""
    import shutil

    for folder in own.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            name = "bad" if "i2moe" in folder.name else "good"
            shutil.copytree(folder, tmp_path / "runs" / name)
    return tmp_path / "runs"


def call(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def check_left_out(runs):
    page = runs.parent / "page.html"
    assert call("report", runs, "-o", page, "--no-data").exit_code == 0
    assert 'class="problem' in page.read_text() or "bad" in page.read_text()
    done = call("report", runs / "bad", "-o", page, "--no-data")
    assert done.exit_code == 1
    assert "no run" in done.output or "no finished run" in done.output
    assert call("explain", runs / "bad", "--sample", "htad-31").exit_code == 1


@pytest.mark.parametrize("name", BAD)
def test_a_bad_run_is_left_out(foreign, name):
    BAD[name](foreign / "bad")
    seal(foreign / "bad")
    check_left_out(foreign)


@pytest.mark.parametrize("kind", ["link", "pipe", "other format", "wrong facts"])
def test_a_manifest_that_lies(foreign, kind):
    outputs, manifest = foreign / "bad" / "outputs.h5", foreign / "bad" / MANIFEST
    if kind == "link":
        outputs.rename(foreign.parent / "elsewhere.h5")
        outputs.symlink_to(foreign.parent / "elsewhere.h5")
    elif kind == "pipe":
        manifest.unlink()
        os.mkfifo(manifest)
    elif kind == "other format":
        said(MANIFEST, [2], "format")(foreign / "bad")
    else:
        said(MANIFEST, 5, "files", "outputs.h5")(foreign / "bad")
    check_left_out(foreign)
