"""A data set written as a class, as the guide taught before, goes on working."""

import importlib

import numpy as np
import pytest
import torch

from i2moe_plugin.benchmarks.datasets import Card, datasets, open_dataset, register_dataset
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import DatasetError, RegistrationError

GESTURES = '''
import h5py
import numpy as np
import torch

from i2moe_plugin import Classification
from i2moe_plugin.benchmarks.datasets import Card, File, FileDataset, Key, LazySplit
from i2moe_plugin.benchmarks.datasets import register_dataset
from i2moe_plugin.benchmarks.datasets.readers import H5Array, same_length
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.samples import writing_sample
from i2moe_plugin.benchmarks.encoders import feature_encoder

KEYS = ("motion", "muscle", "label", "split")


@register_dataset("gestures")
class Gestures(FileDataset):
    """Four gestures from motion and muscle activity."""

    keys = (Key("motion", ("N", 12), "f4"), Key("muscle", ("N", 8), "f4"), Key("split", ("N",)))
    card = Card("Gestures", "my lab", "CC BY 4.0", files=(File("gestures.h5", "rows", keys),))
    modalities = ("motion", "muscle")

    def __init__(self, root=None):
        super().__init__(root)
        path = self.folder / "gestures.h5"
        self.arrays = {key: H5Array(path, key) for key in KEYS}  # rows are read when asked for
        count = same_length(path, self.arrays)
        self.target = torch.from_numpy(self.arrays["label"][:].astype(np.int64))
        code = self.arrays["split"][:]
        rows = {name: np.flatnonzero(code == i) for i, name in enumerate(SPLITS)}
        self._set_splits(rows, [f"gesture {row}" for row in range(count)])

    @property
    def task(self):
        return Classification(4)

    @property
    def class_names(self):
        return ["fist", "wave", "point", "rest"]

    def split(self, name):
        inputs = [self.arrays[key] for key in self.modalities]
        return LazySplit(inputs, self.target, self._rows[name])

    def encoders(self, settings):
        return [feature_encoder(self.arrays[key].shape[1], settings) for key in self.modalities]

    @classmethod
    def write_sample(cls, folder, seed=0):
        random = np.random.default_rng(seed)
        label = np.arange(80) % 4
        with writing_sample(folder, "Gestures", seed) as aside:
            with h5py.File(aside / "gestures.h5", "w") as file:
                for key, width in (("motion", 12), ("muscle", 8)):
                    values = random.normal(size=(80, width)) + 0.5 * label[:, None]
                    file[key] = values.astype(np.float32)
                file["label"] = label
                file["split"] = np.arange(80) // 4 % 5 % 3


get_dataloader = Gestures.get_dataloader
'''


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    """Somebody's own module."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "gestures_as_before.py").write_text(GESTURES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        with pytest.warns(DeprecationWarning, match="the class Gestures as a data set"):
            yield importlib.import_module("gestures_as_before")
    datasets._entries.pop("gestures")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_opened_and_read_like_any_other(gestures, tmp_path):
    entry = datasets.get("gestures")
    entry.write_sample(tmp_path / "drawn")
    assert entry.verify(tmp_path / "drawn") == []
    data = open_dataset("gestures", tmp_path / "drawn")
    assert data.is_sample
    assert data.class_names == ("fist", "wave", "point", "rest")
    assert [item.value.shape for item in data.preview("test", 0)] == [(12,), (8,)]
    prepared = data.prepare()
    motion, muscle, label = next(iter(prepared.loader("train", batch_size=4)))
    assert torch.is_tensor(motion)
    assert (motion.shape, muscle.shape, label.shape) == ((4, 12), (4, 8), (4,))
    np.testing.assert_array_equal(label, data.labels("train")[:4])
    assert len(prepared.encoders(EncoderSettings())) == 2
    told = next(iter(gestures.get_dataloader(tmp_path / "drawn", 4, train_shuffle=False)[0]))
    torch.testing.assert_close(told, [motion, muscle, label], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_its_files_are_asked_for(gestures, tmp_path):
    with pytest.raises(DatasetError, match=r"gestures\.h5"):
        open_dataset("gestures", tmp_path)


def read_rooted(folder, root=""):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("facts", "said"),
    [({}, "has no card"), ({"card": Card("A", "s", "own")}, "a setting 'root'")],
)
def test_what_cannot_be_a_data_set_is_refused(facts, said):
    with pytest.raises(RegistrationError, match=said):
        register_dataset("refused", **facts)(read_rooted)
    assert "refused" not in datasets.names()
