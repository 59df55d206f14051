"""Icons: what each task promises, held to exactly; and every way the file can be broken."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin.backbones.latents import encode_one
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED
from i2moe_plugin.benchmarks.datasets.icons import build
from i2moe_plugin.benchmarks.datasets.icons.collection import ARRAYS, read_collection
from i2moe_plugin.benchmarks.datasets.icons.tasks import TASKS, by_copy
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.encoders.pretrained import folders
from i2moe_plugin.errors import ConfigError, DatasetError

PACKAGED = EMBEDDED / "icons.npz"
each_task = pytest.mark.parametrize("task", TASKS)


@pytest.fixture(scope="module")
def collections():
    """The packaged icons, read once; not to be changed."""
    return {name: read_collection(PACKAGED, name) for name in ("material", "tabler")}


@pytest.fixture(scope="module")
def samples(collections):
    """The samples of every task, made once; not to be changed."""
    return {task: make(collections[name]) for task, (name, make) in TASKS.items()}


# What the tasks promise


@each_task
def test_samples_fit_together(task, samples):
    made = samples[task]
    count = len(made.label)
    assert len(made.ids) == len(set(made.ids)) == count
    assert {len(made.text_of), len(made.picture_of), len(made.split)} == {count}
    assert set(made.label.tolist()) == set(range(len(made.class_names)))
    assert set(made.text_of.tolist()) == set(range(len(made.texts)))
    assert set(made.picture_of.tolist()) == set(range(len(made.pictures)))
    assert len(made.spans) == len(made.texts)
    for split in range(3):
        assert set(made.label[made.split == split].tolist()) == set(range(len(made.class_names)))


@each_task
def test_no_base_name_no_text_and_no_picture_is_in_two_splits(task, samples, collections):
    made, icons = samples[task], collections[TASKS[task][0]]
    where = defaultdict(set)
    for text, picture, split in zip(made.text_of, made.picture_of, made.split, strict=True):
        one = made.pictures[picture]
        where["text", made.texts[text]].add(int(split))
        where["base", icons.base[one.row]].add(int(split))
        if one.word < 0:
            where["drawing", icons.drawing[one.row]].add(int(split))
    assert {len(splits) for splits in where.values()} == {1}


def test_match_neither_modality_alone_says_anything(samples):
    """Exactly, in each split: every text and every picture is as often in either class."""
    made = samples["match"]
    for split in range(3):
        there = made.split == split
        assert there.sum() > 300
        for modality in (made.text_of, made.picture_of):
            seen = Counter(zip(modality[there].tolist(), made.label[there].tolist(), strict=True))
            assert set(seen.values()) == {1}
            assert {n for n, _ in seen if (n, 0) not in seen or (n, 1) not in seen} == set()


def test_match_exchanges_within_a_category_and_never_with_itself(samples, collections):
    made, icons = samples["match"], collections["tabler"]
    rows = [made.pictures[p].row for p in made.picture_of]
    own = {text: row for text, row, y in zip(made.text_of, rows, made.label, strict=True) if y}
    for text, row, label in zip(made.text_of.tolist(), rows, made.label, strict=True):
        assert (own[text] == row) == bool(label)
        assert icons.category[own[text]] == icons.category[row]
        assert made.texts[text] == icons.text[own[text]]
        if not label:
            assert icons.drawing[own[text]] != icons.drawing[row]


def test_style_text_alone_says_nothing(samples):
    """Exactly: every text stands once with each style."""
    made = samples["style"]
    seen = Counter(zip(made.text_of.tolist(), made.label.tolist(), strict=True))
    assert len(made.class_names) == 6
    assert len(seen) == 6 * len(made.texts)
    assert set(seen.values()) == {1}


def test_copy_either_modality_alone_says_everything(samples, collections):
    made, icons = samples["copy"], collections["tabler"]
    words = {word.lower() for word in icons.words}
    for text, span, picture, label in zip(
        made.texts, made.spans, made.pictures, made.label.tolist(), strict=True
    ):
        assert span is not None
        assert text[slice(*span)] == icons.words[label] == icons.words[picture.word]
        found = set("".join(c if c.isalpha() else " " for c in text.lower()).split())
        assert found & words == {icons.words[label].lower()}, "no other class word"


def test_copy_places_and_words_are_drawn_evenly_and_apart_from_the_icon(samples, collections):
    made, icons = samples["copy"], collections["tabler"]
    for split in range(3):
        there = np.flatnonzero(made.split == split)
        assert np.ptp(np.bincount(made.label[there])) <= 1
        last = [made.spans[i][0] > 0 for i in there]
        below = [made.pictures[i].below for i in there]
        table = Counter(zip(made.label[there].tolist(), last, below, strict=True))
        assert len(table) == 8 * 4
        assert max(table.values()) - min(table.values()) <= 1
    category = icons.category[[p.row for p in made.pictures]]
    together = Counter(zip(category.tolist(), made.label.tolist(), strict=True))
    expected = np.bincount(category) / 8
    from scipy.stats import chisquare

    common = [c for c in np.unique(category) if expected[c] >= 5]
    found = np.array([[together[c, y] for y in range(8)] for c in common])
    assert chisquare(found, expected[common][:, None] * np.ones(8), axis=1).pvalue.min() > 1e-4


def test_category_has_one_picture_of_each_icon(samples, collections):
    made, icons = samples["category"], collections["material"]
    bases = [icons.base[p.row] for p in made.pictures]
    assert sorted(bases) == sorted(set(icons.base))
    for label, picture in zip(made.label, made.pictures, strict=True):
        assert made.class_names[label] == icons.category_names[icons.category[picture.row]]


def test_styles_need_a_collection_with_styles(collections):
    with pytest.raises(ConfigError, match="material has six"):
        TASKS["style"][1](collections["tabler"])


# The data set


@pytest.fixture
def small(tmp_path, write_icons):
    """A folder with a few of the packaged icons."""
    return write_icons(tmp_path / "small")


@pytest.fixture
def models(tiny_models):
    """Tiny models in the place of the large ones."""
    return {"text_model": str(tiny_models / "text"), "picture_model": str(tiny_models / "picture")}


@each_task
def test_tokens_go_through_encoders(task, small, models):
    data = open_dataset("icons", small, task=task, **models)
    ready = data.prepare()
    batch = next(iter(ready.loader("train", batch_size=5)))
    (text, lengths), patches, label = batch
    longest = max(b[0][0].shape[1] for b in ready.loader("valid", batch_size=5))
    assert text.shape == (5, longest, 8), "every batch has the same number of tokens"
    assert lengths.max() <= longest
    assert patches.shape == (5, 64, 8)
    assert label.dtype == torch.int64
    for kind, rank in (("tokens", 3), ("vector", 2)):
        encoders = ready.encoders(EncoderSettings(kind, dim=6, hidden=0))
        for encoder, x in zip(encoders, ((text, lengths), patches), strict=True):
            latent, mask = encode_one(encoder, x)
            assert (latent.ndim, latent.shape[-1]) == (rank, 6)
            assert (mask is not None) == (rank == 3 and isinstance(x, tuple))


def test_live_encoders_give_what_kept_states_give(small, models):
    data = open_dataset("icons", small, task="copy", **models)
    ready, live = data.prepare(), data.prepare(frozen=False)
    settings = EncoderSettings("tokens", dim=6, hidden=0)
    for number in range(2):
        behind, before = live.encoders(settings)[number], ready.encoders(settings)[number]
        behind.projection.load_state_dict(before.state_dict())
        found, expected = (
            encode_one(encoder, next(iter(door.loader("test", batch_size=4)))[number])[0]
            for encoder, door in ((behind.train(), live), (before, ready))
        )
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=5e-3)


def test_states_are_computed_once(small, models, monkeypatch):
    data = open_dataset("icons", small, task="match", **models)
    first = data.prepare().loader("valid", batch_size=4)
    monkeypatch.setattr(
        "transformers.AutoModel.from_pretrained", lambda *_, **__: pytest.fail("loaded again")
    )
    again = open_dataset("icons", small, task="match", **models).prepare()
    for one, two in zip(first, again.loader("valid", batch_size=4), strict=True):
        assert torch.equal(one[0][0], two[0][0])
        assert torch.equal(one[1], two[1])


def test_previews_are_the_words_and_the_picture(small, models):
    data = open_dataset("icons", small, task="copy", **models)
    text, picture = data.preview("train", 0)
    name = data.class_names[data.labels("train")[0]]
    assert name in text.value
    assert picture.value.shape == (112, 112, 3)
    assert picture.value.dtype == np.uint8


def test_the_truth_of_copy_is_where_the_word_is(small, models):
    data = open_dataset("icons", small, task="copy", **models)
    made = by_copy(read_collection(small / "icons.npz", "tabler"))
    for index in range(12):
        text, image = data.layouts("train", index)
        row = made.ids.index(data.sample_ids("train")[index])
        word = data.class_names[data.labels("train")[index]]
        spans = [text.text.spans[n] for n, true in enumerate(text.truth) if true]
        assert "".join(text.text.text[a:b] for a, b in spans) == word
        assert not (np.array(text.truth) & ~text.candidates).any()
        below = made.pictures[row].below
        patches = np.array(image.truth).reshape(image.grid)
        assert patches[6:].any() == below
        assert patches[:2].any() != below
        assert not patches[2:6].any()


@pytest.mark.parametrize("task", ["category", "style", "match"])
def test_where_no_token_is_known_to_matter(task, small, models):
    text, image = open_dataset("icons", small, task=task, **models).layouts("test", 0)
    assert text.truth is None
    assert image.truth is None
    assert image.grid == (8, 8)
    assert image.candidates.all()
    assert text.candidates.tolist() == [False, *[True] * (len(text.text.ids) - 2), False]


def test_texts_that_are_cut_are_noted(small, models):
    data = open_dataset("icons", small, task="match", max_tokens=20, **models)
    (note,) = data.notes
    shown = {
        data.layouts(split, n)[0].text
        for split in SPLITS
        for n in range(len(data.sample_ids(split)))
    }
    cut = sum(text.left_out > 0 for text in shown)
    assert note == f"{cut} of {len(shown)} texts were cut at 20 tokens."
    assert cut
    assert open_dataset("icons", small, task="match", max_tokens=400, **models).notes == ()


def test_equal_settings_equal_fingerprint(small, models):
    def fingerprint(**told):
        return open_dataset("icons", small, **{**models, **told}).fingerprint()

    first = fingerprint()
    assert fingerprint() == first
    others = [fingerprint(task="match"), fingerprint(picture_size=56), fingerprint(max_tokens=99)]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"task": "stile"}, "should be 'category', 'style', 'match' or 'copy'"),
        ({"collection": "brands"}, "'material' or 'tabler'"),
        ({"picture_size": 0}, "picture_size"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
    ],
)
def test_settings_that_make_no_sense(told, message):
    with pytest.raises(ConfigError, match=message):
        open_dataset("icons", **told)


def test_all_settings_problems_at_once():
    with pytest.raises(ConfigError) as raised:
        open_dataset("icons", task="x", collection="y", picture_size=-1)
    assert len(raised.value.problems) == 3


def test_a_size_that_does_not_fit_patches(small, models):
    with pytest.raises(DatasetError, match="multiple of 14"):
        open_dataset("icons", small, **{**models, "picture_size": 100})


def damaged_picture(data):
    data["image_webp"] = np.zeros_like(data["image_webp"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "lacks text"),
        ({"split": np.zeros(3, np.uint8)}, "split should be integers"),
        ({"image_offset": np.arange(5)}, "does not cut image_webp"),
        ({"word_offset": np.arange(9)[::-1]}, "does not cut word_webp"),
        ({"style_names": np.array(["one"])}, "style holds numbers outside 0 to 0"),
        ({"category_names": np.array(["one"])}, "category holds numbers outside"),
    ],
)
def test_broken_files(changes, message, tmp_path, models, write_icons):
    folder = write_icons(tmp_path / "broken", **changes)
    with pytest.raises(DatasetError, match=message):
        open_dataset("icons", folder, **models)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip"])
def test_files_that_are_no_npz(content, tmp_path, models):
    (tmp_path / "icons.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"icons\.npz"):
        open_dataset("icons", tmp_path, **models)


def webp(picture):
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "WEBP", lossless=True)
    return np.frombuffer(content.getvalue(), np.uint8)


@pytest.mark.parametrize("size", [(8, 8), (300, 300)])
def test_pictures_of_another_size(size, tmp_path, models, write_icons):
    folder = write_icons(tmp_path / "sizes")
    with np.load(folder / "icons.npz") as archive:
        data = dict(archive)
    count = len(data["base"])
    one = webp(np.zeros(size, np.uint8))
    data |= {"image_webp": np.tile(one, count), "image_offset": np.arange(count + 1) * len(one)}
    np.savez(folder / "icons.npz", **data)
    with pytest.raises(DatasetError, match=r"the picture of .* (has|is unreadable)"):
        open_dataset("icons", folder, **models).preview("train", 0)


def test_a_damaged_picture_is_named(tmp_path, models, write_icons):
    folder = write_icons(tmp_path / "pictures")
    with np.load(folder / "icons.npz") as archive:
        data = dict(archive)
    data["image_webp"] = np.zeros_like(data["image_webp"])
    np.savez(folder / "icons.npz", **data)
    with pytest.raises(DatasetError, match="is unreadable"):
        open_dataset("icons", folder, **models).prepare()


def test_a_split_without_samples(tmp_path, models, write_icons):
    with np.load(PACKAGED) as archive:
        split = archive["split"]
    kept = np.unique(np.load(PACKAGED)["base"], return_inverse=True)[1] % 12 == 0
    folder = write_icons(tmp_path / "empty", split=np.zeros_like(split[kept]))
    with pytest.raises(DatasetError, match="the valid split is empty"):
        open_dataset("icons", folder, **models)


def test_without_the_models(monkeypatch):
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: None)
    status = datasets.get("icons").status()
    assert not status.ready
    assert len(status.problems) == 2
    with pytest.raises(DatasetError, match=r"i2moe-plugin\[pretrained\]"):
        open_dataset("icons")


def test_a_folder_without_the_file(tmp_path):
    with pytest.raises(DatasetError, match="data fetch icons"):
        open_dataset("icons", tmp_path)
    (tmp_path / "tabler").mkdir()
    (tmp_path / "material-symbols").mkdir()
    with pytest.raises(DatasetError, match=r"make it with: python -m .*icons\.build"):
        open_dataset("icons", tmp_path)


def test_the_packaged_file_is_small_and_needs_no_pickle():
    assert PACKAGED.stat().st_size < 3_000_000
    assert datasets.get("icons").card.embedded
    with np.load(PACKAGED, allow_pickle=False) as archive:
        assert set(archive.files) == set(ARRAYS)
        assert "Brand" not in archive["category_names"]


# The script


def square(size):
    return f'<path fill="currentColor" d="M2 2h{size}v{size}H2z"/>'


@pytest.fixture
def sources(tmp_path):
    """Icon sets of the published form, small."""
    material, tabler = tmp_path / "material-symbols", tmp_path / "tabler"
    (tabler / "icons" / "outline").mkdir(parents=True)
    material.mkdir()
    names = [f"icon-{n}" for n in range(60)]
    ends = ["", "-outline", "-outline-sharp"]
    icons = {
        f"{name}{end}": {"body": square(1 + number / 10 + style)}
        for number, name in enumerate(names)
        for style, end in zip((0.01, 0.02, 0.03), ends, strict=True)
    }
    icons["icon-1"] = icons["icon-0"]  # a drawing that two have
    icons["loose"] = {"body": square(3)}
    groups = {"Shapes": names[:30], "Things": names[30:58], "Few": names[58:]}
    (material / "icons.json").write_text(json.dumps({"icons": icons}))
    (material / "metadata.json").write_text(
        json.dumps(
            {
                "suffixes": {"": "Regular", "outline": "Outline", "outline-sharp": "Sharp"},
                "categories": {
                    g: [f"{n}{e}" for n in ns for e in ends] for g, ns in groups.items()
                },
            }
        )
    )
    facts = {}
    for n in range(25):
        kind = "Brand" if n == 0 else "Signs"
        facts[f"sign-{n}"] = {"category": kind, "tags": ["road", n], "styles": {"outline": {}}}
        (tabler / "icons" / "outline" / f"sign-{n}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">{square(n + 1)}</svg>'
        )
    (tabler / "icons.json").write_text(json.dumps(facts))
    return tmp_path


def test_the_script_makes_a_file_that_opens(sources, models):
    done = subprocess.run(
        [sys.executable, "-m", build.__name__, str(sources)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    icons = read_collection(sources / "icons.npz", "material")
    assert set(icons.style_names) == {"regular", "outline", "outline-sharp"}
    assert len(icons.base) == 58 * 3, "a category of two base names is left out"
    assert set(icons.category_names) == {"Shapes", "Things", "Signs"}, "and so are brands"
    first, second = (icons.split[icons.base.index(f"icon-{n}")] for n in (0, 1))
    assert first == second, "they share a drawing"
    assert (icons.picture(0) < 128).any()
    tabler = read_collection(sources / "icons.npz", "tabler")
    assert tabler.text[0] == "sign 1: road, 1"
    for task in ("style", "category"):
        assert open_dataset("icons", sources, task=task, **models).class_names


def test_the_script_gives_the_same_bytes_again(sources):
    icons = build.select(build.read_material(sources / "material-symbols"), whole=True)
    for name in ("one.npz", "two.npz"):
        build.write(sources / name, icons[:20])
    assert (sources / "one.npz").read_bytes() == (sources / "two.npz").read_bytes()


def test_a_part_of_the_icons_is_chosen_by_name_alone(sources, monkeypatch):
    monkeypatch.setattr(build, "STYLED", 22)
    monkeypatch.setattr(build, "MATERIAL", 50)
    icons = build.read_material(sources / "material-symbols")
    chosen = build.select(icons, whole=False)
    assert chosen == build.select(icons[::-1], whole=False)
    styles = Counter(Counter(icon.base for icon in chosen).values())
    assert styles[3] <= 22
    assert set(styles) == {1, 3}


@pytest.mark.parametrize("name", ["material-symbols/icons.json", "tabler/icons.json"])
@pytest.mark.parametrize("content", [None, "{", "[]", '{"icons": 3}'])
def test_sources_of_another_form(name, content, sources):
    path = sources / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(build.main, [str(sources)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert isinstance(done.exception, SystemExit)


# Splits drawn anew


@pytest.mark.parametrize("task", TASKS)
def test_icons_of_one_name_or_drawing_stay_together(task, tiny_pretrained):
    """And texts are exchanged, and words drawn, within the new splits."""
    data = open_dataset("icons", task=task, split="1")
    collection = read_collection(PACKAGED, TASKS[task][0])
    drawing = defaultdict(set)
    for base, picture in zip(collection.base, collection.drawing, strict=True):
        drawing[base].add(picture)
    seen: dict[bytes, str] = {}
    names: dict[str, str] = {}
    for split in SPLITS:
        for one in data.sample_ids(split):
            for base in one.split("/")[1].split("~"):
                assert names.setdefault(base, split) == split
                assert all(seen.setdefault(picture, split) == split for picture in drawing[base])
    if task in ("match", "copy"):
        for split in SPLITS:
            shares = np.bincount(data.labels(split)) / len(data.labels(split))
            assert shares.max() - shares.min() < 0.02
