"""ENRICO: MultiBench's split and batches, features in a run, the sample, and every bad input."""

import random
import re
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn
from torchvision import transforms

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.source import MARKER
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.enrico import TOPICS, augmented, get_dataloader, split_rows
from i2moe_plugin.benchmarks.datasets.samples import enrico as enrico_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, vgg
from i2moe_plugin.errors import ConfigError, DatasetError

NAME = "enrico"
SIZES = {"per_topic": 2}  # 40 screens: 26 train, 6 valid, 8 test
opened = partial(open_dataset, NAME)


@pytest.fixture
def published(sample) -> Path:
    """The same files without what marks them as a sample."""
    (sample / MARKER).unlink()
    return sample


def table(folder):
    return (folder / "design_topics.csv").read_text().splitlines()


def rewrite(folder, lines):
    (folder / "design_topics.csv").write_text("\n".join(lines) + "\n")


# Split, labels, images


@pytest.mark.parametrize("count", [7, 40, 100, 1458])
def test_the_split_is_multibenchs(count):
    """The oracle restates its algorithm: shuffle positions, then cut at 65 and 80 per cent."""
    keys = list(range(count))
    random.Random(42).shuffle(keys)
    train = [key for place, key in enumerate(keys) if place < int(count * 0.65)]
    test = [key for place, key in enumerate(keys) if place >= int(count * (0.65 + 0.15))]
    valid = [key for key in keys if key not in train and key not in test]
    found = {name: rows.tolist() for name, rows in split_rows(count).items()}
    assert found == {"train": train, "valid": valid, "test": test}


def test_the_published_data_is_cut_as_in_the_paper():
    rows = split_rows(1460 - 2)
    assert [len(rows[name]) for name in SPLITS] == [947, 219, 292]
    assert rows["train"][:5].tolist() == [1317, 214, 578, 1384, 1237]
    assert rows["test"][-5:].tolist() == [501, 563, 51, 228, 1309]


def test_labels_are_places_in_the_sorted_topics(drawn, whole):
    assert len(TOPICS) == 20
    assert sorted(set(TOPICS)) == TOPICS == list(enrico_sample.LAYOUTS)
    data = opened(drawn)
    topic = dict(line.split(",") for line in table(drawn)[1:])
    order = sorted(set(topic.values()))
    for name in SPLITS:
        ids, labels = data.sample_ids(name), data.labels(name)
        assert ids == [list(topic)[row] for row in split_rows(40)[name]]
        assert [order.index(topic[screen]) for screen in ids] == labels.tolist()
        assert whole(data, name)[2][:3].tolist() == labels[:3].tolist()
    assert data.class_names == tuple(order)
    assert data.task.num_outputs == 20


def test_the_two_screens_without_wireframe_are_dropped_before_the_split(sample):
    before = opened(sample)
    lines = table(sample)
    rewrite(sample, [lines[0], "50105,list", *lines[1:9], "50109,login", *lines[9:]])
    after = opened(sample)
    assert [after.sample_ids(n) for n in SPLITS] == [before.sample_ids(n) for n in SPLITS]


def test_other_columns_and_a_byte_order_mark_do_not_matter(sample):
    lines = [line.split(",") for line in table(sample)]
    text = "\r\n".join(f"{topic},x,{screen}" for screen, topic in lines)
    (sample / "design_topics.csv").write_text(text + "\r\n", encoding="utf-8-sig")
    text = (sample / "design_topics.csv").read_text(encoding="utf-8-sig")
    assert text.startswith("topic,x,screen_id")
    assert opened(sample).sample_ids("test")


def test_images_are_multibenchs(drawn, sample_of):
    """Resize to 256 high and 128 wide, then ToTensor; no normalisation."""
    data = opened(drawn)
    oracle = transforms.Compose([transforms.Resize((256, 128)), transforms.ToTensor()])
    for index in range(3):
        screen = data.sample_ids("test")[index]
        screenshot, wireframe, _ = sample_of(data, "test", index)
        for x, path in (
            (screenshot, f"screenshots/{screen}.jpg"),
            (wireframe, f"wireframes/{screen}.png"),
        ):
            assert x.shape == (3, 256, 128)
            torch.testing.assert_close(
                x, oracle(Image.open(drawn / path).convert("RGB")), rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_read(mode, sample, sample_of):
    data = opened(sample)
    screen = data.sample_ids("test")[0]
    path = sample / "wireframes" / f"{screen}.png"
    Image.new("RGB", (54, 96), "red").convert(mode).save(path, "JPEG" if mode == "CMYK" else "PNG")
    assert sample_of(data, "test", 0)[1].shape == (3, 256, 128)


def test_get_dataloader_gives_multibenchs_batches_and_needs_no_weights(published):
    loaders = get_dataloader(published, batch_size=5, num_workers=0, train_shuffle=True)
    for loader, size in zip(loaders, (26, 6, 8), strict=True):
        x_1, x_2, y = next(iter(loader))
        assert len(loader.dataset) == size
        assert x_1.shape == x_2.shape == (5, 3, 256, 128)
        assert y.shape == (5,)
        assert 0 <= x_1.min() <= x_1.max() <= 1
    train, valid, _ = loaders
    assert not torch.equal(next(iter(train))[2], next(iter(train))[2])
    assert torch.equal(next(iter(valid))[2], next(iter(valid))[2])
    assert train.dataset[0][2] == opened(published, weights="none").labels("train")[0]


# Augmentation


def pixels(loader):
    """All images of a pass, by sample in the split's order."""
    images = torch.cat([torch.cat([a, b], 1) for a, b, _ in loader])
    labels = torch.cat([y for *_, y in loader])
    return images, labels


def test_augmentation_is_drawn_anew_each_epoch_on_training_images_only(drawn):
    plain = get_dataloader(drawn, train_shuffle=False)
    train, valid, test = get_dataloader(drawn, train_shuffle=False, augment=True)
    for loader, unchanged in ((valid, plain[1]), (test, plain[2])):
        assert torch.equal(next(iter(loader))[0], next(iter(unchanged))[0])
    original = next(iter(plain[0]))
    first, second = next(iter(train)), next(iter(train))
    for modality in (0, 1):
        assert not torch.equal(first[modality], original[modality])
        assert not torch.equal(first[modality], second[modality])
    assert torch.equal(first[2], original[2])
    flips = [(first[m] - original[m]).abs().flatten(1).mean(1) for m in (0, 1)]
    assert not torch.allclose(flips[0] > 0.02, flips[1] > 0.02)  # each modality has its own


def test_augmentation_depends_on_seed_epoch_and_row_alone(drawn):
    data = opened(drawn, augment=True).prepare()

    def epoch(number, seed=3, **options):
        loader = data.loader("train", batch_size=8, seed=seed, shuffle=True, **options)
        loader.sampler.set_epoch(number)
        return next(iter(loader))[0]

    assert torch.equal(epoch(2), epoch(2))
    assert not torch.equal(epoch(2), epoch(1))
    assert not torch.equal(epoch(2), epoch(2, seed=4))
    torch.manual_seed(99)  # nothing global matters
    assert torch.equal(epoch(2), epoch(2))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_augmentation_is_the_same_with_workers(drawn):
    data = opened(drawn, augment=True).prepare()
    passes = []
    for workers in (0, 2):
        loader = data.loader("train", batch_size=8, seed=1, shuffle=True, num_workers=workers)
        passes.append([batch for _ in range(2) for batch in loader])  # two epochs
    assert len(passes[0]) == len(passes[1]) == 8
    for one, two in zip(*passes, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_training_loop_and_the_order_see_one_epoch_number(drawn):
    """The shuffled order is the same with and without augmentation."""
    orders = []
    for augment in (False, True):
        data = opened(drawn, augment=augment).prepare(frozen=False)
        loader = data.loader("train", batch_size=8, seed=5, shuffle=True)
        orders.append(torch.cat([y for *_, y in loader]))
    assert torch.equal(*orders)


def test_augmentation_flips_each_way_half_the_time_and_blurs():
    image = torch.rand(3, 16, 8)
    found = [augmented(image, seed) for seed in range(200)]
    blurred = 0
    flips = {(h, v): 0 for h in (False, True) for v in (False, True)}
    for x in found:
        errors = {
            (h, v): float((x - image.flip([d for d, on in ((2, h), (1, v)) if on])).abs().mean())
            for h, v in flips
        }
        flips[min(errors, key=errors.get)] += 1
        blurred += min(errors.values()) > 0.001
    assert blurred > 150  # the smallest sigmas change nothing
    assert all(30 < count < 70 for count in flips.values())


# Features, encoders


def test_a_changed_image_is_not_given_the_old_features(sample, thumbnails):
    opened(sample).prepare()
    path = next((sample / "wireframes").iterdir())
    Image.new("RGB", (54, 96), "red").save(path)
    opened(sample).prepare()
    assert len(thumbnails) == 2


def test_one_linear_layer_is_multibenchs_encoder(drawn, thumbnails):
    data = opened(drawn).prepare()
    layers = list(data.encoders(EncoderSettings(dim=16, hidden=0))[0].modules())
    (linear,) = [m for m in layers if isinstance(m, nn.Linear)]
    assert (linear.in_features, linear.out_features) == (25088, 16)


def test_with_augmentation_images_stay_images_and_are_checked(sample, thumbnails):
    data = opened(sample, augment=True)
    prepared = data.prepare()
    assert thumbnails == []
    assert next(iter(prepared.loader("train", batch_size=2)))[0].shape == (2, 3, 256, 128)
    path = sample / "wireframes" / f"{data.sample_ids('test')[0]}.png"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match=path.name):
        opened(sample, augment=True).prepare()


# Weights, notes, fingerprint, status


def test_a_file_with_weights_is_used(published, tmp_path):
    state = vgg.frozen(vgg.VGG11, None).state_dict()
    path = tmp_path / "weights.pth"
    torch.save({key: value * 2 for key, value in state.items()}, path)
    data = opened(published, weights=path)
    assert data.notes == ()
    prepared = data.prepare(frozen=False)
    frozen = prepared.encoders(EncoderSettings(dim=2, hidden=0))[0][0].module
    assert torch.equal(frozen.features[0].weight, state["features.0.weight"] * 2)
    assert data.fingerprint() != opened(published, weights="none").fingerprint()


# Bad input


def test_missing_pictures_are_named(sample):
    names = sorted(path.name for path in (sample / "wireframes").iterdir())
    for name in names[:12]:
        (sample / "wireframes" / name).unlink()
    (sample / "wireframes" / names[12]).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"13 of 80 files named in design_topics\.csv .*3 more"):
        opened(sample)
    assert not datasets.get("enrico").status(sample).ready


CSV = {
    "empty": ("", "is empty; its first line should name the columns"),
    "header only": ("screen_id,topic\n", "lists no screens"),
    "other columns": ("id,topic\n1,list\n", "lacks the column screen_id; it has id, topic"),
    "not a number": ("screen_id,topic\n../1,list\n", r"row 1: screen_id: '\.\./1' is not a number"),
    "no id": ("screen_id,topic\n,list\n", "row 1: screen_id: '' is not a number"),
    "twice": ("screen_id,topic\n1,list\n2,list\n1,list\n", "1 ids are listed twice: 1"),
    "unknown topic": (
        "screen_id,topic\n1,logn\n",
        r"row 1: topic 'logn' is none of ENRICO's 20\. Did you mean 'login'",
    ),
    "no topic": ("screen_id,topic\n1\n", "1 cells; the header has 2"),
    "open quote": (
        'screen_id,topic\n"1,list\n',
        "not a readable csv file|columns? is called|cells; the header",
    ),
    "not UTF-8": (
        b"screen_id,topic\n1,caf\xe9\n",
        "not a readable csv file|columns? is called|cells; the header",
    ),
    "binary": (
        bytes(range(256)),
        "no UTF-8 text|not a readable csv file|columns? is called|cells; the header",
    ),
}


@pytest.mark.parametrize("name", CSV)
def test_bad_csv(name, sample):
    content, reason = CSV[name]
    content = content.encode() if isinstance(content, str) else content
    (sample / "design_topics.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"design_topics.csv(.|\n)*({reason})"):
        opened(sample)


def test_many_problems_are_counted_and_not_all_shown(sample):
    rewrite(sample, ["screen_id,topic", *(f"{i},nothing" for i in range(50))])
    with pytest.raises(DatasetError, match="and 40 more") as error:
        opened(sample)
    assert len(str(error.value).splitlines()) < 15


def test_a_topic_without_training_sample(sample):
    rewrite(sample, [re.sub("maps|chat", "list", line) for line in table(sample)])
    with pytest.raises(DatasetError, match="no training sample of chat, maps"):
        opened(sample)


def png_of(width, height):
    """A PNG that claims this size."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def half(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle:])


IMAGES = {
    "text": lambda content: b"no image",
    "zeros": lambda content: bytes(len(content)),
    "header": lambda content: content[:10],
    "truncated": half,
    "corrupt": flipped,
    "bomb": lambda content: png_of(50000, 50000),
    "large": lambda content: png_of(10000, 10000),
    "zero width": lambda content: png_of(0, 10),
    "no pixels": lambda content: png_of(100, 100),
}


@pytest.mark.parametrize("name", IMAGES)
def test_damaged_images_are_named(name, sample, thumbnails, sample_of):
    """By the item that needs one, and all at once before training."""
    data = opened(sample)
    paths = [
        sample / "wireframes" / f"{data.sample_ids('test')[0]}.png",
        sample / "wireframes" / f"{data.sample_ids('train')[0]}.png",
    ]
    for path in paths:
        path.write_bytes(IMAGES[name](path.read_bytes()))
    with pytest.raises(DatasetError, match=re.escape(f"{paths[0]}: not a readable image (")):
        sample_of(data, "test", 0)
    with pytest.raises(DatasetError) as error:
        data.prepare()
    assert all(str(path) in str(error.value) for path in paths)


# The sample


@pytest.mark.parametrize("per_topic", [2, 3, 8])
def test_every_topic_of_a_sample_is_trained_on(per_topic, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda self, path, **options: path.touch())
    datasets.get("enrico").write_sample(tmp_path / "sample", per_topic=per_topic)
    topics = [line.split(",")[1] for line in table(tmp_path / "sample")[1:]]
    assert len(topics) == 20 * per_topic
    rows = split_rows(len(topics))
    assert {topics[row] for row in rows["train"]} == set(TOPICS)
    assert {topics.count(topic) for topic in TOPICS} == {per_topic}
    with pytest.raises(ConfigError, match="at least 2"):
        datasets.get("enrico").write_sample(tmp_path / "new", per_topic=1)


def test_a_full_disk_leaves_no_half_sample(tmp_path, monkeypatch):
    def full(self, path, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DatasetError, match="No space left"):
        datasets.get("enrico").write_sample(tmp_path / "sample", per_topic=2)
    assert list(tmp_path.iterdir()) == []


def probe(whole, data, *modalities, width=384):
    """Test accuracy of a linear classifier on these modalities' features."""

    def columns(name):
        *inputs, y = whole(data, name, frozen=True)
        return np.concatenate([inputs[m][:, :width].numpy() for m in modalities], 1), y.numpy()

    classifier = LogisticRegression(max_iter=2000, tol=1e-2).fit(*columns("train"))
    return classifier.score(*columns("test"))


def test_both_modalities_of_a_sample_carry_signal_and_together_more(tmp_path, thumbnails, whole):
    datasets.get("enrico").write_sample(tmp_path / "sample", per_topic=8)
    data = opened(tmp_path / "sample")
    screenshots, wireframes, both = (probe(whole, data, *m) for m in ((0,), (1,), (0, 1)))
    assert min(screenshots, wireframes) > 0.2  # chance is 0.05
    assert both > max(screenshots, wireframes)
