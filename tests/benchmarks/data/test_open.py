"""The one door for data: nothing behind it changes, and whatever trains goes through it."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.multibench import CheckoutBatches
from i2moe_plugin.benchmarks.data.open import PreparedDataset, open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import ConfigError, DatasetError

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_nobody_can_assign_to_what_was_opened(small_htad):
    data = open_dataset("htad", small_htad)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.notes = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.prepare().loader = None


def test_preparing_changes_nothing_but_what_it_gives(tmp_path):
    datasets.get("mmimdb").write_sample(tmp_path / "mmimdb", films=12)
    data = open_dataset("mmimdb", tmp_path / "mmimdb", image="images")
    before = [item.value for item in data.preview("test", 0)]
    facts = data.fingerprint(), data.split_hash(), data.notes
    prepared = data.prepare()
    assert data.prepare() is prepared
    assert (data.fingerprint(), data.split_hash(), data.notes) == facts
    for one, two in zip(before, data.preview("test", 0), strict=True):
        np.testing.assert_array_equal(one, two.value)


def test_options_are_checked_with_close_matches():
    with pytest.raises(ConfigError, match="Did you mean 'word_vectors'"):
        open_dataset("emoji", word_vector=3)


def test_a_sample_is_drawn_where_the_files_are_not_here(tmp_path):
    with pytest.raises(DatasetError, match="data sample mimic"):
        open_dataset("mimic")
    drawn = open_dataset("mimic", sample=True)
    assert drawn.is_sample
    assert drawn.root == tmp_path / "cache" / "samples" / "mimic"
    assert open_dataset("mimic", sample=True).fingerprint() == drawn.fingerprint()
    datasets.get("mimic").write_sample(Path("data/mimic"), seed=1, count=60)
    assert open_dataset("mimic", sample=True).root == Path("data/mimic")
    assert open_dataset("htad", sample=True).root is None


# Whatever trains

SETTINGS = {"epochs": 1, "device": "cpu", "latent_dim": 4, "encoder_hidden": 4}
SUITE = {
    "datasets": [{"name": "mosi", "root": "mosi"}],
    "fusions": ["concat"],
    "methods": ["vanilla"],
    "settings": {**SETTINGS, "loader": "multibench"},
    "seeds": 1,
}
ONE_RUN = "--dataset mosi --data-root mosi --fusion concat --seeds 1 --epochs 1 --device cpu"
SMALL = "--jobs 1 --set latent_dim=4 --set encoder_hidden=4 --set loader=multibench"
#: How each command that trains is told whose loader to take.
COMMANDS = {
    "run": f"run {ONE_RUN} {SMALL}",
    "parity": f"parity {ONE_RUN} {SMALL}",
    "suite": "suite suite.yaml",
    "regress": "regress --baseline gate.json --update --reason first --suite suite.yaml --no-time",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("checkout", "mosi")
def test_whatever_trains_takes_the_loader_of_its_settings(command, monkeypatch):
    Path("suite.yaml").write_text(yaml.safe_dump(SUITE))
    given = []
    loader = PreparedDataset.loader

    def spy(self, split, **options):
        batches = loader(self, split, **options)
        given.append((split, type(batches)))
        return batches

    monkeypatch.setattr(PreparedDataset, "loader", spy)
    # They read data of their own.
    monkeypatch.setattr("i2moe_plugin.benchmarks.regression.probes.measure_probes", lambda *_: [])
    done = CliRunner().invoke(main, COMMANDS[command].split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert {split for split, _ in given} == set(SPLITS)
    assert {kind for _, kind in given} == {CheckoutBatches}
    runs = list(RunStore("runs"))
    assert len(runs) == {"run": 2, "suite": 1}.get(command, len(runs))
    for run in runs:  # the stand-in leaves a sample out
        assert len({len(column) for column in run.outputs().values()}) == 1
        assert any("their ids are their places" in note for note in run.result["notes"])


def calls(path: Path, name: str) -> list[ast.Call]:
    """The calls of a function or a method of that name in a file."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    ]


def test_nothing_opens_data_without_saying_whose_loader_it_wants():
    """But for what shows data and trains nothing; a new command that trains is found here."""
    shows_alone = {"run/collect.py", "terminal/data.py"}
    silent = set()
    for path in BENCHMARKS.rglob("*.py"):
        place = path.relative_to(BENCHMARKS)
        if place.parts[0] in ("data", "datasets"):  # MultiBench's own call, which is no command
            continue
        for call in calls(path, "open_dataset"):
            if "loader" not in {keyword.arg for keyword in call.keywords}:
                silent.add(place.as_posix())
    assert silent == shows_alone
