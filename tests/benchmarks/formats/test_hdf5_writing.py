"""HDF5 on a disk that is full: an OSError, whatever room there was, and a process that lives on."""

import errno
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5

ARRAYS = {
    "numbers": np.random.default_rng(0).normal(size=(3000, 3)),
    "text": np.array([f"sample {row}" for row in range(3000)], dtype=object),
}


def write(path):
    with writing_hdf5(path) as file:
        file.create_dataset("numbers", data=ARRAYS["numbers"], chunks=(512, 3), compression="gzip")
        file.create_dataset("text", data=ARRAYS["text"], dtype=h5py.string_dtype())
        file.attrs["key"] = "value"


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["numbers"][:], ARRAYS["numbers"])
        assert file["text"].asstr()[:].tolist() == ARRAYS["text"].tolist()
        assert file.attrs["key"] == "value"


def test_what_goes_wrong_in_the_block_is_raised(tmp_path):
    with pytest.raises(ZeroDivisionError), writing_hdf5(tmp_path / "a.h5"):
        raise ZeroDivisionError


@pytest.mark.posix
@pytest.mark.parametrize("room", [0, 96, 2048, 16_384, 24_576, 57_344, 90_000])
def test_a_full_disk_is_an_error_at_any_room(tmp_path, room):
    """In a process of its own, whose end is looked at: HDF5 used to crash it there."""
    code = (
        "import pathlib, resource, runpy, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"namespace = runpy.run_path({str(__file__)!r})\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "try:\n"
        f"    namespace['write'](pathlib.Path({str(tmp_path / 'a.h5')!r}))\n"
        "except OSError as error:\n"
        f"    raise SystemExit(7 if error.errno == {errno.EFBIG} else 8)\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
