"""MuJoCo Push: MultiBench's subsequences and normalisation; pictures from disk; bad files."""

import pickle
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.push import FILES, get_dataloader, starts
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.formats.hdf5 import H5Files
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import ConfigError, DatasetError

NAME = "push"
SIZES = {"train": 3, "valid": 1, "test": 2}
opened = partial(open_dataset, NAME)


def restated_pieces(x, length):
    """An array cut into whole pieces from its start, then from half a piece later."""
    pieces = []
    for offset in (0, length // 2):
        rest = x[offset:]
        whole = len(rest) // length
        if whole:
            pieces += np.split(rest[: whole * length], whole)
    return pieces


#: MultiBench's constants: what is subtracted, then what it is divided by.
PUBLISHED = {
    "gripper_pos": "0.46806443 -0.0017836 0.88028437 / 0.02410769 0.02341035 0.04018243",
    "gripper_sensors": "4.9182904e-01 4.5039989e-02 -3.2791464e00 -3.3874984e-03 1.1552566e-02 "
    "-8.4817986e-04 2.1303751e-01 / "
    "1.6152629 1.666905 1.9186896 0.14219016 0.14232528 0.01675198 0.40950698",
    "control": "4.6594709e-01 -2.5247163e-03 8.8094306e-01 1.2939950e-04 -5.4364675e-05 "
    "-6.1112235e-04 2.2041667e-01 / "
    "0.02239027 0.02356066 0.0405312 0.00054858 0.0005754 0.00046352 0.41451886",
    "states": "0.4970164 -0.00916641 / 0.0572766 0.06118315",
}


def normalised(name, values):
    mean, deviation = (np.array(part.split(), dtype=float) for part in PUBLISHED[name].split("/"))
    return (values - mean) / deviation


def restated(folder, name, length=16):
    """MultiBench's subsequences of a split, read plainly."""
    samples = []
    with h5py.File(folder / FILES[name]) as file:
        for number in range(len(file)):
            raw = {key: value[()] for key, value in file[f"trajectory{number}"].items()}
            raw = {key: value.astype(float) for key, value in raw.items()}
            before = np.roll(raw["eef_pos"], 1, axis=0)
            before[0] = raw["eef_pos"][0]
            contact = raw["contact"][:, np.newaxis]
            columns = [
                normalised("gripper_pos", raw["eef_pos"]),
                normalised("gripper_sensors", np.hstack([raw["force"], contact])),
                raw["image"],
                normalised("control", np.hstack([before, raw["eef_pos"] - before, contact])),
                normalised("states", raw["Cylinder0_pos"][:, :2]),
            ]
            samples += zip(*(restated_pieces(column, length) for column in columns), strict=True)
    return samples


# Subsequences, splits, batches


@given(steps=st.integers(1, 300), length=st.integers(2, 40))
@settings(max_examples=60)
def test_subsequences_start_where_multibench_cuts(steps, length):
    pieces = restated_pieces(np.arange(steps), length)
    assert starts(steps, length) == [int(piece[0]) for piece in pieces]


def test_the_published_trajectories_make_the_published_number_of_samples():
    """37,990 of 16 steps, as MultiBench's paper counts them."""
    assert {len(starts(steps, 16)) for steps in range(240, 248)} == {29}
    assert 29 * (1000 + 10 + 300) == 37_990


@pytest.mark.parametrize("length", [16, 7])
def test_batches_are_multibenchs(length, drawn):
    loaders = get_dataloader(drawn, train_shuffle=False, subsequence_length=length)
    for name, loader in zip(SPLITS, loaders, strict=True):
        expected = restated(drawn, name, length)
        columns = [torch.cat(column) for column in zip(*loader, strict=True)]
        assert [tuple(c.shape) for c in columns] == [
            (len(expected), length, *shape) for shape in ((3,), (7,), (32, 32), (7,), (2,))
        ]
        for found, wanted in zip(columns, zip(*expected, strict=True), strict=True):
            assert found.dtype == torch.float32
            np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-4, atol=2e-3)


def test_modalities_come_as_asked(drawn):
    every = next(iter(get_dataloader(drawn)[2]))
    some = next(iter(get_dataloader(drawn, modalities=["control", "image"])[2]))
    assert len(some) == 3
    for found, number in zip(some, (3, 2, 4), strict=True):
        assert torch.equal(found, every[number])
    with pytest.raises(ConfigError, match=r"no modality 'controls'\. Did you mean 'control'"):
        get_dataloader(drawn, modalities=["controls"])


def test_a_trajectory_is_in_one_split_and_a_step_in_at_most_two_samples(drawn):
    data = opened(drawn)
    for name in SPLITS:
        ids = [one.rsplit("/", 2) for one in data.sample_ids(name)]
        assert {file for file, *_ in ids} == {Path(FILES[name]).stem}
        assert len(ids) == SIZES[name] * len(starts(80, 16))


def test_outputs_are_named_in_the_order_of_the_target(drawn):
    data = opened(drawn, subsequence_length=4)
    assert data.class_names[:3] == ("x at step 1", "y at step 1", "x at step 2")
    target = torch.from_numpy(data.labels("test"))
    assert torch.equal(data.task.prepare(target)[:, 1], target[:, 0, 1])
    assert data.task.criterion == "mse"


def test_shown_columns_have_names(drawn):
    shown = {item.modality: item for item in opened(drawn).preview("test", 0)}
    assert shown["gripper_pos"].names == ("x", "y", "z")
    for name in ("gripper_sensors", "control"):
        assert len(shown[name].names) == shown[name].value.shape[1] == 7
    assert shown["image"].value.shape == (32, 32, 3)


# Encoders, recipe, sample, a run


def test_tokens_are_the_steps(drawn):
    data = opened(drawn, subsequence_length=5)
    *inputs, _ = next(iter(data.prepare().loader("test", batch_size=2)))
    for latents, shape in (("tokens", (2, 5, 6)), ("vector", (2, 6))):
        encoders = data.prepare().encoders(EncoderSettings(latents=latents, dim=6, hidden=0))
        found = [encoder.eval()(x) for encoder, x in zip(encoders, inputs, strict=True)]
        assert [tuple(x.shape) for x in found] == [shape] * 4
    first = encoders[0][0].network[0]
    assert (first.in_features, first.out_features) == (3, 64)  # MultiBench's width


def test_the_recipe_is_multibenchs_late_fusion():
    plain, _ = resolve("push", "concat", {})
    assert (plain.epochs, plain.batch_size, plain.lr) == (20, 32, 1e-5)
    assert (plain.latent_dim, plain.encoder_hidden) == (256, 64)


def test_a_sample_needs_picture_and_forces(tmp_path, whole):
    """Which of two blobs is the cylinder is in the forces: their product predicts y."""
    datasets.get("push").write_sample(tmp_path / "sample", train=12, valid=1, test=6)
    data = opened(tmp_path / "sample")

    def error(build):
        parts = {}
        for name in ("train", "test"):
            _, sensors, image, _, y = whole(data, name)
            away = (image.sum(2) * (torch.arange(32) - 16).abs()).sum(2) / image.sum((2, 3))
            side = sensors[..., 1].mean(1, keepdim=True).expand_as(away)
            parts[name] = (build(away, side).numpy(), y[..., 1].numpy())
        model = Ridge(1e-3).fit(*parts["train"])
        return ((model.predict(parts["test"][0]) - parts["test"][1]) ** 2).mean()

    alone = min(error(lambda away, side: away), error(lambda away, side: side))
    assert error(lambda away, side: away * side.sign()) < 0.5 * alone


# Open files


def test_a_few_files_are_open_at_a_time(drawn):
    files = H5Files(limit=2)
    for _ in range(2):
        for path in FILES.values():
            files.read(drawn / path, "trajectory0/force", slice(0, 2))
            assert len(files._open) <= 2
    copy = pickle.loads(pickle.dumps(files))
    assert not copy._open
    row = copy.read(drawn / path, "trajectory0/force", 1)
    assert np.array_equal(row, files.read(drawn / path, "trajectory0/force")[1])


# Bad settings and files


def test_a_trajectory_shorter_than_a_subsequence(drawn):
    with pytest.raises(DatasetError, match="trajectory0 has 80 time steps; a subsequence has 81"):
        opened(drawn, subsequence_length=81)


def test_trajectories_with_a_gap_or_none(sample):
    with h5py.File(sample / FILES["train"], "a") as file:
        file.move("trajectory1", "trajectory7")
    with pytest.raises(DatasetError, match=r"without a gap; it holds trajectory0, trajectory2"):
        opened(sample)
    with h5py.File(sample / FILES["train"], "w"):
        pass
    with pytest.raises(DatasetError, match="it holds nothing"):
        opened(sample)


def test_a_name_that_is_not_text(sample):
    with h5py.File(sample / FILES["train"], "a") as file:
        file[b"trajectory\xff0"] = np.zeros(3)
    assert datasets.get("push").verify(sample) == []  # other things in a file do not matter
    with h5py.File(sample / FILES["train"], "a") as file:
        del file["trajectory0"]
    with pytest.raises(DatasetError, match="without a gap"):
        opened(sample)
    assert datasets.get("push").verify(sample)


def test_a_trajectory_that_is_no_group(sample):
    with h5py.File(sample / FILES["test"], "a") as file:
        del file["trajectory1"]
        file["trajectory1"] = np.zeros(3)
    with pytest.raises(DatasetError, match=r"gentle_push_300\.hdf5"):
        opened(sample)
