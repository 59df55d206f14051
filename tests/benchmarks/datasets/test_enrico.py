"""ENRICO: MultiBench's split and batches, features in a run, the sample, and every bad input."""

from __future__ import annotations

import random
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision import transforms

from i2moe_plugin.benchmarks.data import samples
from i2moe_plugin.benchmarks.data.base import SPLITS
from i2moe_plugin.benchmarks.data.images import augmented
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.datasets.enrico import TOPICS, Enrico, get_dataloader, split_rows
from i2moe_plugin.benchmarks.datasets.samples import enrico as enrico_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, vgg
from i2moe_plugin.errors import ConfigError, DatasetError

PER_TOPIC = 2  # 40 screens: 26 train, 6 valid, 8 test


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("enrico") / "sample"
    Enrico.write_sample(folder, per_topic=PER_TOPIC)
    return folder


@pytest.fixture
def sample(drawn, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / "enrico"))


@pytest.fixture
def published(sample) -> Path:
    """The same files without what marks them as a sample."""
    (sample / samples.MARKER).unlink()
    return sample


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)


class Thumbnail(nn.Module):
    """Stands for VGG11 where its features do not matter."""

    def forward(self, x):
        return F.pad(F.adaptive_avg_pool2d(x, (16, 8)).flatten(1), (0, 25088 - 384))


@pytest.fixture
def thumbnails(monkeypatch):
    """Features that cost nothing; gives the list of extractors that were built."""
    built = []

    def build(weights):
        built.append(weights)
        return Thumbnail()

    monkeypatch.setattr(vgg, "vgg11_features", build)
    return built


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
    assert split_rows(count) == {"train": train, "valid": valid, "test": test}


def test_the_published_data_is_cut_as_in_the_paper():
    rows = split_rows(1460 - 2)
    assert [len(rows[name]) for name in SPLITS] == [947, 219, 292]
    assert rows["train"][:5] == [1317, 214, 578, 1384, 1237]
    assert rows["test"][-5:] == [501, 563, 51, 228, 1309]


def test_labels_are_places_in_the_sorted_topics(drawn):
    assert len(TOPICS) == 20
    assert sorted(set(TOPICS)) == TOPICS == list(enrico_sample.LAYOUTS)
    data = Enrico(drawn)
    topic = dict(line.split(",") for line in table(drawn)[1:])
    order = sorted(set(topic.values()))
    for name in SPLITS:
        ids, labels = data.sample_ids(name), data.labels(name)
        assert [order.index(topic[screen]) for screen in ids] == labels.tolist()
        assert [data.split(name)[i][2] for i in range(3)] == labels[:3].tolist()
    assert data.class_names == order
    assert data.task.num_outputs == 20


def test_splits_are_disjoint_and_follow_the_csvs_order(drawn):
    data = Enrico(drawn)
    listed = [line.split(",")[0] for line in table(drawn)[1:]]
    ids = {name: data.sample_ids(name) for name in SPLITS}
    assert sorted(screen for part in ids.values() for screen in part) == sorted(listed)
    assert ids["test"] == [listed[row] for row in split_rows(40)["test"]]


def test_the_two_screens_without_wireframe_are_dropped_before_the_split(sample):
    before = Enrico(sample)
    lines = table(sample)
    rewrite(sample, [lines[0], "50105,list", *lines[1:9], "50109,login", *lines[9:]])
    after = Enrico(sample)
    assert [after.sample_ids(n) for n in SPLITS] == [before.sample_ids(n) for n in SPLITS]


def test_other_columns_and_a_byte_order_mark_do_not_matter(sample):
    lines = [line.split(",") for line in table(sample)]
    text = "\r\n".join(f"{topic},x,{screen}" for screen, topic in lines)
    (sample / "design_topics.csv").write_text(text + "\r\n", encoding="utf-8-sig")
    text = (sample / "design_topics.csv").read_text(encoding="utf-8-sig")
    assert text.startswith("topic,x,screen_id")
    assert Enrico(sample).sample_ids("test")


def test_images_are_multibenchs(drawn):
    """Resize to 256 high and 128 wide, then ToTensor; no normalisation."""
    data = Enrico(drawn)
    oracle = transforms.Compose([transforms.Resize((256, 128)), transforms.ToTensor()])
    for index in range(3):
        screen = data.sample_ids("test")[index]
        screenshot, wireframe, _ = data.split("test")[index]
        for x, path in (
            (screenshot, f"screenshots/{screen}.jpg"),
            (wireframe, f"wireframes/{screen}.png"),
        ):
            assert x.shape == (3, 256, 128)
            torch.testing.assert_close(
                x, oracle(Image.open(drawn / path).convert("RGB")), rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_read(mode, sample):
    data = Enrico(sample)
    screen = data.sample_ids("test")[0]
    path = sample / "wireframes" / f"{screen}.png"
    Image.new("RGB", (54, 96), "red").convert(mode).save(path, "JPEG" if mode == "CMYK" else "PNG")
    assert data.split("test")[0][1].shape == (3, 256, 128)


def test_get_dataloader_gives_multibenchs_batches_and_needs_no_weights(published):
    loaders = get_dataloader(published, batch_size=5, num_workers=0, train_shuffle=True)
    for loader, size in zip(loaders, (26, 6, 8), strict=True):
        batches = list(loader)
        assert sum(len(y) for *_, y in batches) == size
        for x_1, x_2, y in batches[:1]:
            assert x_1.shape == x_2.shape == (5, 3, 256, 128)
            assert x_1.dtype == x_2.dtype == torch.float32
            assert y.shape == (5,)
            assert y.dtype == torch.int64
            assert 0 <= x_1.min() <= x_1.max() <= 1
    train, valid, _ = loaders
    assert not torch.equal(next(iter(train))[2], next(iter(train))[2])
    assert torch.equal(next(iter(valid))[2], next(iter(valid))[2])
    assert train.dataset[(0)][2] == Enrico(published, weights="none").labels("train")[0]


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
    data = Enrico(drawn, augment=True)

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
    data = Enrico(drawn, augment=True)
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
        loader = Enrico(drawn, augment=augment).loader("train", batch_size=8, seed=5, shuffle=True)
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


def test_a_run_reads_features_that_are_computed_once(drawn, thumbnails):
    data = Enrico(drawn)
    data.prepare()
    assert len(thumbnails) == 1
    images, labels = pixels(Enrico(drawn).loader("test", batch_size=8))
    x_1, x_2, y = next(iter(data.loader("test", batch_size=8)))
    assert x_1.shape == x_2.shape == (8, 25088)
    assert x_1.dtype == torch.float32
    assert torch.equal(y, labels)
    for x, image in ((x_1, images[:, :3]), (x_2, images[:, 3:])):
        torch.testing.assert_close(x, Thumbnail()(image), rtol=1e-3, atol=1e-3)
    again = Enrico(drawn)
    again.prepare()
    data.prepare()
    assert len(thumbnails) == 1  # the second time they come from disk
    assert torch.equal(again.split("test")[0][0], data.split("test")[0][0])
    assert again.fingerprint() == Enrico(drawn).fingerprint()


def test_a_changed_image_is_not_given_the_old_features(sample, thumbnails):
    Enrico(sample).prepare()
    path = next((sample / "wireframes").iterdir())
    Image.new("RGB", (54, 96), "red").save(path)
    Enrico(sample).prepare()
    assert len(thumbnails) == 2


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (EncoderSettings(dim=6, hidden=0), (2, 6)),
        (EncoderSettings(dim=6, hidden=4), (2, 6)),
        (EncoderSettings(latents="tokens", dim=6, hidden=8, patches=4), (2, 4, 6)),
        (EncoderSettings(latents="tokens", dim=6, hidden=0, patches=5), (2, 5, 6)),
    ],
)
def test_encoders_take_what_the_splits_hold(drawn, thumbnails, settings, shape):
    data = Enrico(drawn)
    for _ in ("images", "features"):
        *inputs, _ = next(iter(data.loader("train", batch_size=2)))
        encoders = data.encoders(settings)
        assert [tuple(e(x).shape) for e, x in zip(encoders, inputs, strict=True)] == [shape] * 2
        data.prepare()


def test_one_linear_layer_is_multibenchs_encoder(drawn, thumbnails):
    data = Enrico(drawn)
    data.prepare()
    layers = list(data.encoders(EncoderSettings(dim=16, hidden=0))[0].modules())
    (linear,) = [m for m in layers if isinstance(m, nn.Linear)]
    assert (linear.in_features, linear.out_features) == (25088, 16)


def test_the_frozen_network_stays_as_it_is_while_the_projection_learns(drawn):
    data = Enrico(drawn, augment=True)
    encoder = data.encoders(EncoderSettings(dim=4, hidden=0))[0].train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    trained = [p for p in encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(2):
        encoder(torch.rand(2, 3, 64, 32)).square().sum().backward()
        optimizer.step()
    changed = {k for k, v in encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert sum("running" in key for key in before) == 16
    assert changed == {"1.1.weight", "1.1.bias"}
    assert len(trained) == 2


def test_with_augmentation_images_stay_images_and_are_checked(sample, thumbnails):
    data = Enrico(sample, augment=True)
    data.prepare()
    assert thumbnails == []
    assert next(iter(data.loader("train", batch_size=2)))[0].shape == (2, 3, 256, 128)
    path = sample / "wireframes" / f"{data.sample_ids('test')[0]}.png"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match=path.name):
        data.prepare()


# Weights, notes, fingerprint, status


def test_results_of_a_sample_say_so(drawn, published):
    assert any("not ENRICO" in note for note in Enrico(drawn).notes)
    assert any("random weights" in note for note in Enrico(drawn).notes)
    (note,) = Enrico(published, weights="none").notes
    assert "random weights" in note


def test_a_file_with_weights_is_used(published, tmp_path):
    state = vgg.vgg11_features(None).state_dict()
    path = tmp_path / "weights.pth"
    torch.save({key: value * 2 for key, value in state.items()}, path)
    data = Enrico(published, weights=path)
    assert data.notes == []
    frozen = data.encoders(EncoderSettings(dim=2, hidden=0))[0][0].module
    assert torch.equal(frozen.features[0].weight, state["features.0.weight"] * 2)
    assert data.fingerprint() != Enrico(published, weights="none").fingerprint()


def test_without_weights_published_data_is_refused_with_the_ways_out(published):
    with pytest.raises(DatasetError) as error:
        Enrico(published)
    assert "vgg11_bn-6002323d.pth" in str(error.value)
    assert "--weights none" in str(error.value)
    assert "screenshots.zip" not in str(error.value)  # the data is there
    status = Enrico.status(published)
    assert not status.ready
    assert "ImageNet" in status.problems[0]


def test_the_fingerprint_is_of_the_data_and_the_options(drawn, sample):
    first = Enrico(drawn).fingerprint()
    assert Enrico(sample).fingerprint() == first  # elsewhere, with other times
    assert Enrico(sample, augment=True).fingerprint() != first
    path = next((sample / "screenshots").iterdir())
    content = bytearray(path.read_bytes())
    content[-10] ^= 1  # of the same size
    path.write_bytes(content)
    changed = Enrico(sample).fingerprint()
    assert changed != first
    lines = table(sample)
    one, two = (row + 1 for row in split_rows(40)["train"][:2])
    lines[one], lines[two] = lines[two], lines[one]
    rewrite(sample, lines)
    assert Enrico(sample).fingerprint() not in (first, changed)


def test_status(drawn, tmp_path):
    status = Enrico.status(drawn)
    assert status.ready
    assert status.problems == ()
    files = [path for path in drawn.rglob("*") if path.is_file() and path.suffix != ".txt"]
    assert status.size == sum(path.stat().st_size for path in files)
    missing = Enrico.status(None)
    assert not missing.ready
    assert "no such folder" in missing.problems[0]
    assert missing.where == "data/enrico"


def test_it_is_registered(drawn):
    assert open_dataset("enrico", drawn, augment=True).settings == {"augment": True}
    with pytest.raises(ConfigError, match=r"augmnt.*augment"):
        open_dataset("enrico", drawn, augmnt=True)
    with pytest.raises(ConfigError, match="true or false"):
        Enrico(drawn, augment="maybe")


# Bad input


def test_missing_data_says_what_and_where_to_get_it(tmp_path):
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(DatasetError) as error:
            Enrico(root)
        for part in (
            str(root or "data/enrico"),
            "design_topics.csv",
            "screenshots/",
            "wireframes/",
            "https://raw.githubusercontent.com/luileito/enrico/master/design_topics.csv",
            "http://userinterfaces.aalto.fi/enrico/resources/screenshots.zip",
            "i2moe-bench data sample enrico DIR",
        ):
            assert part in str(error.value)


def test_every_missing_part_is_named_at_once(sample):
    shutil.rmtree(sample / "screenshots")
    names = sorted(path.name for path in (sample / "wireframes").iterdir())
    for name in names[:12]:
        (sample / "wireframes" / name).unlink()
    (sample / "wireframes" / names[12]).write_bytes(b"")
    with pytest.raises(DatasetError) as error:
        Enrico(sample)
    message = str(error.value)
    assert "screenshots/ is missing" in message
    assert "wireframes/: 12 of 40 images missing" in message
    assert "and 2 more" in message
    assert f"wireframes/: 1 of 40 images empty: {names[12]}" in message
    assert "screenshots.zip" in message


CSV = {
    "empty": ("", "lacks the column screen_id and topic; it is empty"),
    "header only": ("screen_id,topic\n", "lists no screens"),
    "other columns": ("id,topic\n1,list\n", "lacks the column screen_id; it has id, topic"),
    "not a number": ("screen_id,topic\n../1,list\n", r"line 2: screen_id '\.\./1' is not a number"),
    "no id": ("screen_id,topic\n,list\n", "line 2: screen_id '' is not a number"),
    "twice": ("screen_id,topic\n1,list\n2,list\n1,list\n", "line 4: screen_id 1 is listed twice"),
    "unknown topic": (
        "screen_id,topic\n1,logn\n",
        r"line 2: topic 'logn' is none of ENRICO's 20\. Did you mean 'login'",
    ),
    "no topic": ("screen_id,topic\n1\n", "line 2: topic '' is none"),
    "open quote": ('screen_id,topic\n"1,list\n', "cannot be read as UTF-8 csv"),
    "not UTF-8": (b"screen_id,topic\n1,caf\xe9\n", "cannot be read as UTF-8 csv"),
    "binary": (bytes(range(256)), "cannot be read as UTF-8 csv"),
}


@pytest.mark.parametrize("name", CSV)
def test_bad_csv(name, sample):
    content, reason = CSV[name]
    content = content.encode() if isinstance(content, str) else content
    (sample / "design_topics.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=f"design_topics.csv.*{reason}"):
        Enrico(sample)


def test_a_missing_csv(sample):
    (sample / "design_topics.csv").unlink()
    with pytest.raises(DatasetError, match=r"design_topics\.csv is missing"):
        Enrico(sample)
    (sample / "design_topics.csv").mkdir()
    with pytest.raises(DatasetError, match=r"design_topics\.csv is missing"):
        Enrico(sample)


def test_many_problems_are_counted_and_not_all_shown(sample):
    rewrite(sample, ["screen_id,topic", *(f"{i},nothing" for i in range(50))])
    with pytest.raises(DatasetError, match="and 40 more") as error:
        Enrico(sample)
    assert len(str(error.value).splitlines()) < 15


def test_a_topic_without_training_sample(sample):
    rewrite(sample, [re.sub("maps|chat", "list", line) for line in table(sample)])
    with pytest.raises(DatasetError, match="no training sample of chat, maps"):
        Enrico(sample)


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
def test_damaged_images_are_named(name, sample, thumbnails):
    """By the item that needs one, and all at once before training."""
    data = Enrico(sample)
    paths = [
        sample / "wireframes" / f"{data.sample_ids('test')[0]}.png",
        sample / "wireframes" / f"{data.sample_ids('train')[0]}.png",
    ]
    for path in paths:
        path.write_bytes(IMAGES[name](path.read_bytes()))
    with pytest.raises(DatasetError, match=re.escape(f"{paths[0]}: not a readable image (")):
        data.split("test")[0]
    with pytest.raises(DatasetError) as error:
        data.prepare()
    assert all(str(path) in str(error.value) for path in paths)


def test_a_truncated_screenshot_is_named(sample):
    data = Enrico(sample)
    path = sample / "screenshots" / f"{data.sample_ids('valid')[0]}.jpg"
    path.write_bytes(half(path.read_bytes()))
    with pytest.raises(DatasetError, match=path.name):
        next(iter(data.loader("valid", batch_size=2)))


def test_an_image_that_goes_away(sample):
    data = Enrico(sample)
    path = sample / "screenshots" / f"{data.sample_ids('valid')[0]}.jpg"
    path.unlink()
    with pytest.raises(DatasetError, match=f"{path.name}.*No such file"):
        data.split("valid")[0]
    with pytest.raises(DatasetError, match=f"{path.name}.*No such file"):
        data.fingerprint()


# The sample


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_sample_is_the_published_format_and_always_the_same(drawn, tmp_path):
    Enrico.write_sample(tmp_path / "again", per_topic=PER_TOPIC)
    Enrico.write_sample(tmp_path / "other", seed=1, per_topic=PER_TOPIC)
    assert contents(tmp_path / "again") == contents(drawn)
    assert contents(tmp_path / "other") != contents(drawn)
    assert sorted(path.name for path in drawn.iterdir()) == [
        "SAMPLE.txt",
        "design_topics.csv",
        "screenshots",
        "wireframes",
    ]
    assert table(drawn)[0] == "screen_id,topic"
    screen = table(drawn)[1].split(",")[0]
    for path, kind in ((f"screenshots/{screen}.jpg", "JPEG"), (f"wireframes/{screen}.png", "PNG")):
        with Image.open(drawn / path) as image:
            assert (image.format, image.size) == (kind, (540, 960))


@pytest.mark.parametrize("per_topic", [2, 3, 8])
def test_every_topic_of_a_sample_is_trained_on(per_topic, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda self, path, **options: path.touch())
    Enrico.write_sample(tmp_path / "sample", per_topic=per_topic)
    topics = [line.split(",")[1] for line in table(tmp_path / "sample")[1:]]
    assert len(topics) == 20 * per_topic
    rows = split_rows(len(topics))
    assert {topics[row] for row in rows["train"]} == set(TOPICS)
    assert {topics.count(topic) for topic in TOPICS} == {per_topic}


def test_a_sample_goes_into_an_empty_folder_only(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(DatasetError, match="not an empty folder"):
        Enrico.write_sample(tmp_path / "full", per_topic=2)
    with pytest.raises(DatasetError, match="not an empty folder"):
        Enrico.write_sample(tmp_path / "full" / "file", per_topic=2)
    with pytest.raises(DatasetError, match="cannot be written"):
        Enrico.write_sample(tmp_path / "full" / "file" / "below", per_topic=2)
    with pytest.raises(ConfigError, match="at least 2"):
        Enrico.write_sample(tmp_path / "new", per_topic=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    Enrico.write_sample(Path("."), per_topic=2)
    assert Enrico.status(tmp_path / "empty").ready


def test_a_full_disk_leaves_no_half_sample(tmp_path, monkeypatch):
    def full(self, path, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DatasetError, match="No space left"):
        Enrico.write_sample(tmp_path / "sample", per_topic=2)
    assert list(tmp_path.iterdir()) == []


def probe(data, *modalities, width=25088):
    """Test accuracy of a linear classifier on these modalities' features."""
    from sklearn.linear_model import LogisticRegression

    def columns(name):
        split = data.split(name)
        *inputs, y = split.__getitems__(list(range(len(split))))
        return np.concatenate([inputs[m][:, :width].numpy() for m in modalities], 1), y.numpy()

    classifier = LogisticRegression(max_iter=2000, tol=1e-2).fit(*columns("train"))
    return classifier.score(*columns("test"))


def test_both_modalities_of_a_sample_carry_signal_and_together_more(tmp_path, thumbnails):
    Enrico.write_sample(tmp_path / "sample", per_topic=8)
    data = Enrico(tmp_path / "sample")
    data.prepare()
    screenshots, wireframes, both = (probe(data, *m, width=384) for m in ((0,), (1,), (0, 1)))
    assert min(screenshots, wireframes) > 0.2  # chance is 0.05
    assert both > max(screenshots, wireframes)


@pytest.mark.slow
def test_so_do_random_features(tmp_path):
    Enrico.write_sample(tmp_path / "sample")
    data = Enrico(tmp_path / "sample")
    data.prepare()
    screenshots, wireframes, both = probe(data, 0), probe(data, 1), probe(data, 0, 1)
    assert min(screenshots, wireframes) > 0.2
    assert both > max(screenshots, wireframes)
