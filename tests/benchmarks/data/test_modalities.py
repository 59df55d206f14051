"""Some of a data set's modalities: the same columns as in the whole, in its own order."""

import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import ConfigError, DatasetError


def test_batches_are_the_columns_of_the_whole():
    whole, some = open_dataset("brca"), open_dataset("brca", modalities=["mirna", "rna"])
    assert some.modalities == ("rna", "mirna")
    every, chosen = (
        next(iter(data.prepare().loader("test", batch_size=9))) for data in (whole, some)
    )
    for ours, place in zip(chosen, (0, 2, -1), strict=True):
        assert torch.equal(ours, every[place])
    assert some.features("test").shape[1] < whole.features("test").shape[1]
    assert some.split_hash() == whole.split_hash()
    assert [one.modality for one in some.preview("test", 0)] == ["rna", "mirna"]


def test_other_modalities_are_other_data_and_all_of_them_are_the_whole():
    names = open_dataset("brca").modalities
    prints = {
        open_dataset("brca", modalities=chosen).fingerprint()
        for chosen in (names[:2], names[1:3], names[:3])
    }
    assert len(prints) == 3
    assert open_dataset("brca", modalities=names).fingerprint() not in prints
    same = open_dataset("brca", modalities=names[::-1])
    assert same.fingerprint() == open_dataset("brca").fingerprint()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (["rna"], "at least two modalities"),
        (["rna", "rna"], "at least two modalities"),
        (["rna", "mrna"], "no modality 'mrna'. Did you mean 'mirna' or 'rna'?"),
        ("rna,mirna", "a list of names"),
        (7, "a list of names"),
    ],
)
def test_what_is_not_there_is_refused(chosen, said):
    with pytest.raises(ConfigError, match=said):
        open_dataset("brca", modalities=chosen)


def test_another_loader_gives_all(tmp_path, small_htad):
    with pytest.raises((ConfigError, DatasetError)):
        open_dataset("htad", small_htad, loader="multibench", modalities=["audio", "x"])


def test_a_run_without_the_setting_keeps_its_identity():
    settings, _ = resolve("htad", "lrtf", {})
    assert "modalities" not in settings.data_settings
    with pytest.raises(ConfigError, match=r"data.modalities='rna' cannot be used: give a list"):
        resolve("brca", "lrtf", {"data.modalities": "rna"})


def test_the_command_takes_them_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr("i2moe_plugin.benchmarks.grid.runner.fit_baselines", lambda *_: [])

    def run(names):
        result = CliRunner().invoke(
            main,
            f"run --dataset brca --modalities {names} --seeds 1 --epochs 1 --fusion concat "
            f"--out {tmp_path} --jobs 1 --json".split(),
        )
        assert result.exit_code == 0, result.output
        return sorted(path.name for path in tmp_path.glob("brca*"))

    assert run("rna,clinical") == run("clinical,rna")
    assert len(run("rna,mirna")) == 4


@pytest.mark.parametrize("given", ["rna,,mirna", "rna,rna", ""])
def test_a_list_that_is_none_is_a_mistake_of_the_command_line(given):
    result = CliRunner().invoke(main, ["run", "--modalities", given])
    assert result.exit_code == 2
    assert "distinct names" in result.output
