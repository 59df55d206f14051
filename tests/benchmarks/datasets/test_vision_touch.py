"""Vision & Touch: runs go whole into a split, MultiBench's inputs and targets; bad files."""

import random
import shutil
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.vision_touch import (
    get_dataloader,
    run_of,
    split_runs,
)
from i2moe_plugin.benchmarks.encoders.robotics import CausalCNN, DepthFilter, StridedCNN
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification, Regression

NAME = "vision-touch"
SIZES = {"runs": 6}
opened = partial(open_dataset, NAME)


def raw(folder, sample_id):
    """A sample's file as arrays, and its time step."""
    stem, step = sample_id.rsplit("/", 1)
    with h5py.File(folder / f"{stem}.h5") as file:
        return {key: value[()] for key, value in file.items()}, int(step)


# Splits


def test_a_run_is_in_one_split_and_test_is_not_validation(drawn):
    """MultiBench tests on its validation samples, and neighbouring parts of a run are in both."""
    data = opened(drawn)
    runs = {
        name: {run_of(Path(f"{one.rsplit('/', 1)[0]}.h5")) for one in data.sample_ids(name)}
        for name in SPLITS
    }
    assert [len(part) for part in runs.values()] == [4, 1, 1]
    assert not runs["train"] & runs["valid"]
    assert not runs["test"] & (runs["valid"] | runs["train"])
    assert sum(len(data.sample_ids(name)) for name in SPLITS) == 6 * 2 * (6 - 1)


def test_the_published_number_of_runs_is_dealt_out_alike_everywhere(tmp_path):
    runs = [f"run{number:03}" for number in range(150)]
    found = split_runs(runs, tmp_path)
    sizes = {name: sum(part == name for part in found.values()) for name in SPLITS}
    assert sizes == {"train": 90, "valid": 30, "test": 30}
    order = list(runs)
    random.Random(0).shuffle(order)
    assert [run for run in order if found[run] == "test"] == order[:30]
    assert split_runs(runs, tmp_path) == found


def test_names_of_files_are_the_published_ones():
    path = Path("20190408_183047_triangle_0_journal_0_19_1000.h5")
    assert run_of(path) == "20190408_183047_triangle_0_journal_0"
    for name in ("x.h5", "a_1.h5", "run_x_1000.h5", "_3_1000.h5x"):
        with pytest.raises(DatasetError, match="RUN_PART_1000"):
            run_of(Path(name))


def test_the_archive_may_be_unpacked_in_place(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "triangle_real_data")
    assert opened(tmp_path).split_hash() == opened(drawn).split_hash()
    assert datasets.get("vision-touch").verify(tmp_path) == []
    assert datasets.get("vision-touch").status(tmp_path).ready


# Inputs and targets


def test_batches_are_multibenchs(drawn):
    data = opened(drawn)
    for name, loader in zip(SPLITS, get_dataloader(drawn, train_shuffle=False), strict=True):
        columns = [torch.cat(column) for column in zip(*loader, strict=True)]
        shapes = [(128, 128, 3), (6, 32), (8,), (1, 128, 128), (4,), ()]
        assert [tuple(column.shape[1:]) for column in columns] == shapes
        assert all(column.dtype == torch.float32 for column in columns[:-1])
        for row, sample_id in enumerate(data.sample_ids(name)):
            arrays, step = raw(drawn, sample_id)
            image, force, proprio, depth, action, target = (column[row] for column in columns)
            np.testing.assert_allclose(image, arrays["image"][step])
            wanted = np.tanh(arrays["ee_forces_continuous"][step][-32:]).T
            np.testing.assert_allclose(force, wanted, atol=1e-6)
            np.testing.assert_allclose(proprio, arrays["proprio"][step], rtol=1e-6)
            np.testing.assert_allclose(depth[0], arrays["depth_data"][step, :, :, 0])
            np.testing.assert_allclose(action, arrays["action"][step + 1], rtol=1e-6)
            assert int(target) == int(arrays["contact"][step + 1].sum() > 0)


def test_the_other_output_is_the_next_pose(drawn):
    data = opened(drawn, output="ee_yaw_next")
    assert data.task == Regression(4, criterion="mse")
    assert data.metric == "mse"
    for row, sample_id in enumerate(data.sample_ids("test")):
        arrays, step = raw(drawn, sample_id)
        wanted = arrays["proprio"][step + 1][:4]
        np.testing.assert_allclose(data.labels("test")[row], wanted, rtol=1e-6)
    plain = opened(drawn)
    assert plain.task == Classification(2)
    assert plain.metric == "accuracy"
    assert plain.fingerprint() != data.fingerprint()
    assert plain.split_hash() == data.split_hash()


def test_results_say_that_the_split_is_not_multibenchs(sample, drawn):
    (sample / "SAMPLE.txt").unlink()
    (note,) = opened(sample).notes
    assert "MultiBench" in note


def test_shown_is_what_a_camera_sees(drawn):
    shown = {item.modality: item for item in opened(drawn).preview("test", 0)}
    arrays, step = raw(drawn, opened(drawn).sample_ids("test")[0])
    assert np.array_equal(shown["image"].value, arrays["image"][step])
    assert shown["force"].names[:4] == ("force x", "force y", "force z", "torque x")
    assert shown["force"].value.shape == (32, 6)


# Encoders, recipe, sample, a run


def test_networks_have_multibenchs_sizes():
    picture = StridedCNN(3, ((16, 7), (32, 5), (64, 5), (64, 3), (128, 3), (128, 3)))
    linear = list(picture.modules())[-1]
    assert (linear.in_features, linear.out_features) == (512, 256)
    assert picture(torch.rand(2, 3, 128, 128)).shape == (2, 256)
    depth = StridedCNN(1, ((32, 3), (64, 3), (64, 4), (64, 3), (128, 3), (128, 3)))
    assert depth(torch.rand(2, 1, 128, 128)).shape == (2, 256)
    assert CausalCNN(6, (16, 32, 64, 128, 256))(torch.rand(2, 6, 32)).shape == (2, 256)


def test_causal_convolutions_never_look_ahead():
    layer = CausalCNN(2, (3,))
    x = torch.rand(1, 2, 8)
    later = x.clone()
    later[..., 5:] += 1
    before, after = (layer(v).view(3, 4) for v in (x, later))
    assert torch.equal(before[:, :3], after[:, :3])  # output 2 sees steps 3 and 4
    assert not torch.equal(before[:, 3], after[:, 3])


def test_distances_that_are_no_measurement_are_left_out():
    x = torch.tensor([0.0, 1e-9, 0.5, 1.999, 2.0, 70.0, -1.0])
    assert DepthFilter()(x).tolist() == pytest.approx([0, 0, 0.5, 1.999, 0, 0, 0])


def test_the_recipe_is_multibenchs_low_rank_fusion():
    plain, _ = resolve("vision-touch", "lrtf", {})
    assert (plain.epochs, plain.batch_size, plain.lr) == (15, 64, 0.0005)
    assert plain.fusion_settings["rank"] == 40


def test_a_sample_can_be_learned(tmp_path, whole):
    """Contact now says something of contact next; the height and the action say more."""
    datasets.get("vision-touch").write_sample(tmp_path / "sample", runs=40)
    data = opened(tmp_path / "sample")
    parts = {}
    for name in ("train", "test"):
        _, force, _, depth, action, y = whole(data, name)
        touch = force[:, 2].mean(1)
        next_height = (1.2 - depth.mean((1, 2, 3))) / 10 + action[:, 2]
        parts[name] = (torch.stack([touch, next_height * 20], 1).numpy(), y.numpy())
    model = LogisticRegression().fit(*parts["train"])
    chance = max(parts["test"][1].mean(), 1 - parts["test"][1].mean())
    assert model.score(*parts["test"]) > chance + 0.1


# Bad settings and files


def test_fewer_than_three_runs(sample):
    for path in sorted(sample.glob("*.h5"))[4:]:
        path.unlink()
    with pytest.raises(DatasetError, match="has 2 runs; a split needs at least 3"):
        opened(sample)


def test_a_file_of_another_name(sample):
    (sample / "extra_1000.h5").write_bytes(b"")
    with pytest.raises(DatasetError, match="RUN_PART_1000"):
        opened(sample)


def test_what_is_not_used_may_be_absent(sample):
    with h5py.File(sorted(sample.glob("*.h5"))[3], "a") as file:
        del file["optical_flow"]
    assert datasets.get("vision-touch").verify(sample) == []
