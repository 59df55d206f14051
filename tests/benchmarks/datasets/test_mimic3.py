"""MIMIC-III: MultiBench's labels, split and batches, without its normalisation's defects."""

import pickle
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.mimic3 import get_dataloader, split_rows
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import ConfigError, DatasetError

opened = partial(open_dataset, "mimic3")

COUNT = 60


@pytest.fixture
def content():
    draw = np.random.default_rng(0)
    return {
        "ep_tdata": draw.normal(3, 2, (COUNT, 24, 12)),
        "adm_features_all": draw.normal(50, 20, (COUNT, 5)),
        "adm_labels_all": (draw.random((COUNT, 7)) < 0.3).astype(float),
        "y_icd9": (draw.random((COUNT, 20)) < 0.5).astype(float),
    }


@pytest.fixture
def write(tmp_path):
    def write(content) -> Path:
        folder = tmp_path / "mimic3"
        folder.mkdir(exist_ok=True)
        (folder / "im.pk").write_bytes(pickle.dumps(content))
        return folder

    return write


@given(count=st.integers(10, 500))
def test_the_split_is_multibenchs(count):
    """The oracle restates it: seed 10, shuffle the samples, cut off two tenths."""
    samples = [f"sample {row}" for row in range(count)]
    random.Random(10).shuffle(samples)
    parts = [samples[count // 5 :], samples[: count // 10], samples[count // 10 : count // 5]]
    found = split_rows(count)
    assert [[f"sample {row}" for row in found[name]] for name in SPLITS] == parts


@pytest.mark.parametrize("count", [32_615, 32_624])
def test_as_many_are_tested_as_multibenchs_figures_say(count):
    """Its published test accuracies are multiples of 1 / 3262."""
    assert len(split_rows(count)["test"]) == 3262
    accuracy = 0.7835683629675047  # eval_scripts/robustness.py: LF on mortality
    assert accuracy == pytest.approx(2556 / 3262, abs=1e-15)


def test_labels_are_multibenchs(content, write):
    data = opened(write(content))
    for name in SPLITS:
        for row, label in zip(data.sample_ids(name), data.labels(name), strict=True):
            spans = content["adm_labels_all"][int(row), 1:6]
            assert label == next((k for k in range(1, 6) if spans[k - 1] > 0), 0)
    for group in (0, 7, 19):
        data = opened(write(content), task=group)
        rows = [int(row) for row in data.sample_ids("test")]
        assert data.labels("test").tolist() == content["y_icd9"][rows, group].tolist()
        assert data.task.num_outputs == 2
    assert opened(write(content), task=-1).task == opened(write(content)).task
    assert data.task.metric_names == ("accuracy", "macro_f1", "auroc", "auprc")


@pytest.mark.parametrize("task", [20, -2, "deaths"])
def test_there_are_no_other_tasks(task, content, write):
    with pytest.raises(ConfigError, match=r"data\.task=.* cannot be used"):
        opened(write(content), task=task)


def test_columns_are_standardised_on_training_rows(content, write, whole):
    data = opened(write(content))
    train = split_rows(COUNT)["train"]
    static, series, _ = whole(data, "test")
    rows = split_rows(COUNT)["test"]
    for x, key, axes in ((static, "adm_features_all", 0), (series, "ep_tdata", (0, 1))):
        fit = content[key][train]
        expected = (content[key][rows] - fit.mean(axes)) / fit.std(axes)
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_constant_columns_and_missing_values_give_no_nan(content, write, whole):
    """M9: in MultiBench a constant column is NaN in every batch."""
    content["adm_features_all"][:, 3] = 7.0
    content["ep_tdata"][:, :, 2] = -1.0
    content["ep_tdata"][0, 0, :4] = [np.nan, np.inf, -np.inf, np.nan]
    data = opened(write(content))
    for name in SPLITS:
        static, series, _ = whole(data, name)
        assert static.isfinite().all()
        assert series.isfinite().all()
        assert (static[:, 3] == 0).all()


def test_multibenchs_call(content, write):
    path = write(content) / "im.pk"
    train, valid, test = get_dataloader(7, imputed_path=path)
    static, series, label = next(iter(train))
    assert (tuple(static.shape), tuple(series.shape)) == ((40, 5), (40, 24, 12))
    assert (label.shape, label.dtype) == ((40,), torch.int64)
    assert [len(loader.dataset) for loader in (train, valid, test)] == [48, 6, 6]
    _, series, _ = next(iter(get_dataloader(-1, 4, imputed_path=path, flatten_time_series=True)[2]))
    assert series.shape == (4, 288)
    _, shaped, _ = next(iter(get_dataloader(path.parent, 4, task=-1)[2]))
    assert torch.equal(series, shaped.flatten(1))
    with pytest.raises(ConfigError, match="noise on test rows is not offered"):
        get_dataloader(7, imputed_path=path, tabular_robust=True)
    with pytest.raises(ConfigError, match=r"called im\.pk"):
        get_dataloader(7, imputed_path=path.with_name("other.pk"))


def test_flattened_series_have_an_encoder_of_their_own(content, write):
    data = opened(write(content), flatten_time_series=True).prepare()
    _, series, _ = next(iter(data.loader("train", batch_size=3)))
    for latents, shape in (("vector", (3, 6)), ("tokens", (3, 4, 6))):
        encoders = data.encoders(EncoderSettings(latents=latents, dim=6, hidden=8, patches=4))
        assert encoders[1](series).shape == shape


def test_token_backbones_get_a_token_an_hour(content, write):
    data = opened(write(content)).prepare()
    _, series, _ = next(iter(data.loader("train", batch_size=3)))
    encoder = data.encoders(EncoderSettings(latents="tokens", dim=6))[1]
    assert encoder(series).shape == (3, 24, 6)


def broken(content):
    """(change, reason) for each way that the arrays may be wrong."""
    labels = np.array(content["adm_labels_all"])
    labels[3, 2] = np.nan
    yield (
        {"ep_tdata": content["ep_tdata"][:, :, :11]},
        r"ep_tdata is .*; expected numbers \[N, 24, 12\]",
    )
    yield {"adm_labels_all": content["adm_labels_all"][:, :5]}, "has 5 columns; expected 6 or more"
    yield {"adm_labels_all": labels}, "adm_labels_all holds 1 NaN"
    yield {key: value[:0] for key, value in content.items()}, "has no rows"
    yield {key: value[:5] for key, value in content.items()}, "split is empty"
    yield {"ep_tdata": content["ep_tdata"] * 1e306}, "NaN or infinite"


@pytest.mark.parametrize("number", range(6))
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_arrays_that_are_not_multibenchs(number, content, write):
    change, reason = list(broken(content))[number]
    folder = write(content | change)
    with pytest.raises(DatasetError, match=reason) as error:
        opened(folder)
    assert str(folder) in str(error.value) or "im-" in str(error.value)


def test_a_group_that_is_neither_0_nor_1(content, write):
    content["y_icd9"][:, 5] = 2
    with pytest.raises(DatasetError, match="column 5 is not"):
        opened(write(content), task=5)
    assert opened(write(content), task=4)
