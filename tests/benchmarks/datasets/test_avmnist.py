"""AV-MNIST: MultiBench's split and batches from any type of file, by memory map; bad files."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numpy.lib import format as npy
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.avmnist import get_dataloader
from i2moe_plugin.benchmarks.encoders import LeNet
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import ConfigError, DatasetError

NAME = "avmnist"
SIZES = {"train": 60, "test": 20}
opened = partial(open_dataset, NAME)

FILES = [file.path for file in datasets.get("avmnist").card.files]


def restated(folder):
    """The first 55,000 of 60,000 rows train; the rest of them valid; then the test file."""
    parts = {
        part: [
            np.load(folder / "image" / f"{part}_data.npy").astype(float).reshape(-1, 1, 28, 28),
            np.load(folder / "audio" / f"{part}_data.npy").astype(float)[:, None],
            np.load(folder / f"{part}_labels.npy"),
        ]
        for part in ("train", "test")
    }
    cut = round(len(parts["train"][2]) * 55 / 60)
    return {
        "train": [column[:cut] for column in parts["train"]],
        "valid": [column[cut:] for column in parts["train"]],
        "test": parts["test"],
    }


def hollow(path, shape):
    """An npy file of zeros that takes no room on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        npy.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
        )
        file.truncate(file.tell() + int(np.prod(shape)))


# Split and batches


def test_files_of_the_published_size_are_cut_as_published_and_stay_on_disk(tmp_path):
    for part, count in (("train", 60000), ("test", 10000)):
        hollow(tmp_path / "image" / f"{part}_data.npy", (count, 784))
        hollow(tmp_path / "audio" / f"{part}_data.npy", (count, 112, 112))
        np.save(tmp_path / f"{part}_labels.npy", np.arange(count) % 10)
    data = opened(tmp_path)
    ids = {name: data.sample_ids(name) for name in SPLITS}
    assert [len(part) for part in ids.values()] == [55000, 5000, 10000]
    assert (ids["valid"][0], ids["valid"][-1]) == ("train/55000", "train/59999")
    assert data.labels("valid")[:3].tolist() == [0, 1, 2]
    assert data.notes == ()
    prepared = data.prepare()
    image, audio, label = prepared.loader("test", batch_size=1).dataset[9999]
    assert (image.shape, audio.shape, int(label)) == ((1, 28, 28), (1, 112, 112), 9)
    train = prepared.loader("train", batch_size=1).dataset
    assert len(pickle.dumps(train)) < 2e6  # a worker gets the path, not the rows


def test_batches_are_multibenchs(drawn):
    expected = restated(drawn)
    for name, loader in zip(SPLITS, get_dataloader(drawn, train_shuffle=False), strict=True):
        assert loader.batch_size == 40
        for number, column in enumerate(zip(*loader, strict=True)):
            found = torch.cat(column)
            wanted = torch.from_numpy(expected[name][number])
            if number == 2:
                assert torch.equal(found, wanted)
            else:
                assert found.dtype == torch.float32
                torch.testing.assert_close(found, (wanted / 255).float())


@pytest.mark.parametrize("dtype", ["u1", "u2", "i8", "f2", "f4", ">f4", "f8"])
def test_m10_files_of_any_type_give_the_same_batches(dtype, sample):
    for path in FILES:
        array = np.load(sample / path)
        np.save(sample / path, np.floor(array))
    first = next(iter(get_dataloader(sample, train_shuffle=False)[0]))
    for path in FILES:
        np.save(sample / path, np.load(sample / path).astype(dtype))
    second = next(iter(get_dataloader(sample, train_shuffle=False)[0]))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert datasets.get("avmnist").verify(sample) == []


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({"flatten_audio": True}, [(1, 28, 28), (1, 12544)]),
        ({"flatten_image": True}, [(1, 784), (1, 112, 112)]),
        ({"unsqueeze_channel": False}, [(28, 28), (112, 112)]),
        ({"flatten_audio": True, "unsqueeze_channel": False}, [(28, 28), (12544,)]),
    ],
)
def test_multibenchs_options_give_its_shapes(options, shapes, drawn):
    plain = next(iter(get_dataloader(drawn, batch_size=3)[2]))
    found = next(iter(get_dataloader(drawn, batch_size=3, **options)[2]))
    assert [tuple(x.shape[1:]) for x in found[:2]] == shapes
    assert all(torch.equal(a.flatten(), b.flatten()) for a, b in zip(plain, found, strict=True))


def test_multibenchs_normalisation_may_be_left_out(drawn):
    plain = next(iter(get_dataloader(drawn)[2]))
    raw = next(iter(get_dataloader(drawn, normalize_image=False, normalize_audio=False)[2]))
    torch.testing.assert_close(raw[0], 255 * plain[0])
    torch.testing.assert_close(raw[1], 255 * plain[1])
    with pytest.raises(ConfigError, match="generate_sample"):
        get_dataloader(drawn, generate_sample=True)


# Encoders, recipe, a run


def test_the_networks_have_multibenchs_widths():
    """Four layers of 6 channels end in 48 features (8 x 6), six in 192 (32 x 6)."""
    for layers, size, features in ((4, (28, 28), 48), (6, (112, 112), 192)):
        network = LeNet(6, layers, size)
        assert network.width == features
        assert network(torch.rand(2, 1, *size)).shape == (2, features)
        convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
        assert [m.out_channels for m in convolutions] == [6 * 2**i for i in range(layers)]
        assert [m.kernel_size[0] for m in convolutions] == [5] + [3] * (layers - 1)
        assert all(m.bias is None for m in convolutions)


def test_the_recipe_is_multibenchs_low_rank_fusion():
    settings, sources = resolve("avmnist", "lrtf", {})
    assert (settings.epochs, settings.batch_size) == (30, 40)
    assert settings.fusion_settings["rank"] == 40
    assert "avmnist_low_rank_tensor.py" in sources["fusion.rank"]


def test_a_sample_needs_both_modalities(tmp_path):
    """Either leaves two digits open; what two linear models say together tells more."""
    datasets.get("avmnist").write_sample(tmp_path / "sample", train=480, test=150)
    parts = restated(tmp_path / "sample")

    def features(name, modality):
        x = torch.from_numpy(parts[name][modality])
        if modality == 0:  # where the figure stands does not matter
            corners = [[int(torch.where(i[0] > 100)[d].min()) for d in (0, 1)] for i in x]
            x = torch.stack(
                [i.roll((-top, -left), (1, 2)) for i, (top, left) in zip(x, corners, strict=True)]
            )
        return (F.avg_pool2d(x, 2 + 5 * modality).flatten(1) / 255).numpy()

    said, alone, label = 0, [], parts["test"][2]
    for modality in (0, 1):
        model = LogisticRegression(max_iter=200).fit(features("train", modality), parts["train"][2])
        said = said + model.predict_log_proba(features("test", modality))
        alone.append(model.score(features("test", modality), label))
    assert 0.5 < min(alone) <= max(alone) < 0.8
    assert (said.argmax(1) == label).mean() > max(alone) + 0.05


# Bad files


@pytest.mark.parametrize("label", [-1, 10, 0.5, np.nan])
def test_labels_that_are_no_digits(label, sample):
    path = sample / "test_labels.npy"
    labels = np.load(path).astype(float)
    labels[3] = label
    np.save(path, labels)
    with pytest.raises(DatasetError, match=r"test_labels\.npy"):
        opened(sample)
