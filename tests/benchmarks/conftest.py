"""Small data sets in real formats, so that whole runs take a second; ways to break their files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="session")
def _freed_memory_goes_back():
    """Runs let their process keep what it frees: one that goes on through all tests would grow."""
    from i2moe_plugin.benchmarks.run import execute

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "keep_freed_memory", lambda: False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _simple_models_fitted_once(tmp_path_factory):
    """The same data's simple models are kept for all tests, not in each test's folder of runs."""
    from i2moe_plugin.benchmarks.grid import baselines

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "FOLDER", str(tmp_path_factory.mktemp("simple")))
        yield


@pytest.fixture(scope="session")
def probes():
    """What the gate measures of single parts: the same numbers whenever it is measured."""
    from i2moe_plugin.benchmarks.regression.probes import measure_probes

    return measure_probes()


@pytest.fixture(scope="module")
def _probes_measured_once(probes):
    """For tests of what is done with them, which takes a tenth of the time to measure them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("i2moe_plugin.benchmarks.regression.probes.measure_probes", lambda: [*probes])
        yield


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """What is kept for the user is kept in the test's folder."""
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def write_htad(folder: Path, samples: int = 90, **changes) -> Path:
    """An ``htad.npz`` of three learnable classes; ``changes`` replace arrays, None drops one."""
    generator = np.random.default_rng(0)
    label = np.arange(samples) % 3
    arrays = {
        "audio": generator.normal(size=(samples, 5)) + 2 * np.eye(3, 5)[label],
        "accelerometer": generator.normal(size=(samples, 4)) + np.eye(3, 4)[label],
        "label": label.astype(np.uint8),
        "class_names": np.array(["a", "b", "c"]),
        "split": np.repeat([0, 1, 2], [samples - 30, 15, 15]).astype(np.uint8),
    }
    arrays["audio"] = arrays["audio"].astype(np.float32)
    arrays["accelerometer"] = arrays["accelerometer"].astype(np.float32)
    arrays |= changes
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "htad.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


@pytest.fixture
def small_htad(tmp_path) -> Path:
    return write_htad(tmp_path / "htad")


@pytest.fixture(scope="session")
def htad():
    """What writes such a data set into a folder."""
    return write_htad


class Damage:
    """Ways to break a file. The new content is in a new file: a hard link keeps its own."""

    @staticmethod
    def replace(path: Path, content: bytes) -> None:
        path.unlink()
        path.write_bytes(content)

    @classmethod
    def truncate(cls, path: Path, fraction: float = 0.5) -> None:
        """Keep only the first part."""
        content = path.read_bytes()
        cls.replace(path, content[: int(len(content) * fraction)])

    @classmethod
    def flip(cls, path: Path, *offsets: float, mask: int = 0xFF) -> None:
        """Flip bits of the bytes at these offsets; a fraction is of the file's length."""
        content = bytearray(path.read_bytes())
        for offset in offsets:
            place = int(offset * len(content)) if isinstance(offset, float) else offset
            if content:
                content[place % len(content)] ^= mask
        cls.replace(path, bytes(content))

    @classmethod
    def empty(cls, path: Path) -> None:
        cls.replace(path, b"")


@pytest.fixture(scope="session")
def damage() -> type[Damage]:
    return Damage


@pytest.fixture(scope="session")
def whole():
    """``whole(data, split)``: all of a split as one batch, as the files hold it."""

    def read(data: Any, split: str, frozen: bool = False) -> tuple[Any, ...]:
        loader = data.prepare(frozen=frozen).loader(split, batch_size=100_000)
        (batch,) = loader
        return batch

    return read


@pytest.fixture(scope="session")
def sample_of():
    """``sample_of(data, split, row)``: one sample of an opened data set, as the files hold it."""

    def read(data: Any, split: str, row: int, frozen: bool = False) -> tuple[Any, ...]:
        return data.prepare(frozen=frozen).loader(split, batch_size=1).dataset[row]

    return read
