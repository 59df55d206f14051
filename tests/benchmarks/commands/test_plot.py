"""Pictures of runs: every kind, of every kind of task, in every format."""

from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin import interpretation as interpret
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.commands.plot import WHAT
from i2moe_plugin.benchmarks.experiments import run
from i2moe_plugin.benchmarks.report.drawing import ENDINGS
from i2moe_plugin.benchmarks.report.pictures import PICTURES

SETTINGS = {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, htad):
    """The runs of a method each on classes, and of two on real values."""
    place = tmp_path_factory.mktemp("plot")
    random = np.random.default_rng(0)
    folder = place / "own"
    folder.mkdir()
    value = random.normal(size=60)
    np.savez(folder / "x.npz", one=value[:, None] + random.normal(size=(60, 2)), value=value,
             two=random.normal(size=(60, 2)),
             split=np.array(["train", "train", "valid", "test"] * 15))  # fmt: skip
    spec = {
        "name": "own",
        "modalities": {
            key: {"file": "x.npz", "key": key, "kind": "features"} for key in ("one", "two")
        },
        "target": {"file": "x.npz", "key": "value"},
        "task": "regression",
        "classes": ["cost in $"],
        "split": {"file": "x.npz", "key": "split"},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec))
    common = {"settings": SETTINGS, "out": place / "runs", "jobs": 1, "progress": False}
    found = run("htad", "concat", ["vanilla", "i2moe", "evidence"], 1,
                root=htad(place / "htad"), **common).runs  # fmt: skip
    found += run(str(folder), "concat", ["vanilla", "i2moe"], 1, **common).runs
    return {(one.settings["dataset"], one.method): one for one in found}


def invoke(*arguments):
    return CliRunner().invoke(main, ["plot", *map(str, arguments)])


#: What is to be drawn of which run.
OF = {"residuals": ("folder:own", "i2moe"), "parts": ("htad", "evidence")}


def test_help_names_every_picture():
    assert tuple(PICTURES) == WHAT


@pytest.mark.parametrize("what", WHAT)
def test_every_picture_in_every_format(runs, tmp_path, what):
    one = runs[OF.get(what, ("htad", "i2moe"))]
    for ending in ENDINGS:
        done = invoke(one.path, "--what", what, "-o", tmp_path / f"picture.{ending}")
        assert done.exit_code == 0, done.output
        assert "wrote " in done.output
        again = tmp_path / f"again.{ending}"
        assert invoke(one.path, "--what", what, "-o", again).exit_code == 0
        assert again.read_bytes() == (tmp_path / f"picture.{ending}").read_bytes()
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 300
        assert picture.info["Description"] == done.output.splitlines()[0]
    words = "".join(ElementTree.parse(tmp_path / "picture.svg").getroot().itertext())
    assert "concat on" in words
    assert "seed 0" in words


def test_figures_in_words_are_those_of_the_run(runs, tmp_path):
    one = runs["htad", "vanilla"]
    outputs, said = one.interpretable(), {}
    for what in ("confusion", "calibration", "roc"):
        said[what] = invoke(one.path, "--what", what, "-o", tmp_path / "x.svg").output
    assert f"{outputs.correct.sum()} of {len(outputs)} decisions are right" in said["confusion"]
    error = interpret.calibration_error(interpret.calibration(outputs))
    assert f"expected calibration error {error:.3f}" in said["calibration"]
    assert f"mean {one.result['test']['auroc']:.3f}." in said["roc"]


def test_several_runs_have_a_row_each(runs, tmp_path):
    paths = [one.path for (dataset, _), one in runs.items() if dataset == "htad"]
    done = invoke(*paths, "--what", "roc", "-o", tmp_path / "several.png")
    assert done.exit_code == 0, done.output
    assert invoke(paths[0], "--what", "roc", "-o", tmp_path / "one.png").exit_code == 0
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "several.png") as several:
        assert several.size == (one.size[0], 3 * one.size[1])


@pytest.mark.parametrize(
    ("key", "what", "name", "said"),
    [
        (("folder:own", "i2moe"), "confusion", "x.svg", "a confusion matrix is of classes"),
        (("folder:own", "i2moe"), "roc", "x.svg", "real values, which have no classes"),
        (("htad", "vanilla"), "weights", "x.svg", "vanilla has no experts"),
        (("htad", "i2moe"), "parts", "x.svg", "only a run of method evidence"),
        (("htad", "i2moe"), "residuals", "x.svg", "residuals are of real values"),
        (("htad", "i2moe"), "roc", "x.jpg", "must end in .svg, .png, .pdf"),
        (("htad", "i2moe"), "roc", "none/x.svg", "cannot write"),
    ],
)
def test_what_cannot_be_drawn(runs, tmp_path, key, what, name, said):
    done = invoke(runs[key].path, "--what", what, "-o", tmp_path / name)
    assert done.exit_code == 1
    assert said in done.output
    assert not (tmp_path / name).exists()
