"""Files that attack: what would start a program, leave the folder or take all memory is refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import time
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.formats import arrays, tables
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array, H5Files
from i2moe_plugin.benchmarks.formats.inspection import READERS, inspect_file
from i2moe_plugin.benchmarks.formats.pictures import OWN_FORMATS, read_image, read_picture
from i2moe_plugin.benchmarks.formats.reading import LARGEST_TEXT
from i2moe_plugin.benchmarks.formats.tables import read_csv, read_json, read_lines, read_parquet
from i2moe_plugin.errors import DatasetError

# Pictures

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def picture(format: str, size=(20, 10), frames=1) -> bytes:
    stream = io.BytesIO()
    images = [Image.new("RGB", size, (shade * 60, 0, 0)) for shade in range(frames)]
    more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(stream, format, **more)
    return stream.getvalue()


@pytest.mark.parametrize("read", [lambda p: read_image(p, (4, 4)), read_picture])
@pytest.mark.parametrize(
    "content", [EPS, picture("PDF"), picture("ICO"), picture("TGA"), b"", b"P6"]
)
def test_other_formats_are_not_opened_whatever_their_name(tmp_path, monkeypatch, read, content):
    monkeypatch.setattr(subprocess, "Popen", None)  # Ghostscript would be started by it
    monkeypatch.setattr(subprocess, "check_call", None)
    (tmp_path / "1.jpg").write_bytes(content)
    with pytest.raises(DatasetError, match=r"1\.jpg: (not a readable|expected an) image"):
        read(tmp_path / "1.jpg")


@pytest.mark.parametrize("format", OWN_FORMATS)
def test_a_users_own_pictures_may_be_of_more_formats(tmp_path, format):
    (tmp_path / "1.jpg").write_bytes(picture(format))
    assert read_image(tmp_path / "1.jpg", (4, 6), formats=OWN_FORMATS).shape == (3, 4, 6)


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF", "WEBP"])
def test_several_frames_are_no_picture(tmp_path, format):
    (tmp_path / "1.png").write_bytes(picture(format, frames=3))
    with pytest.raises(DatasetError, match="several frames"):
        read_image(tmp_path / "1.png", (4, 4), formats=OWN_FORMATS)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize(
    "size", [(1, 80_000_000), (80_000_000, 1), (20_000, 20_000), (2**31 - 1,) * 2]
)
def test_pixels_are_bounded_before_they_are_read(tmp_path, size):
    (tmp_path / "1.png").write_bytes(png_that_claims(*size))
    start = time.process_time()
    with pytest.raises(DatasetError, match=r"pixels; at most|not a readable image"):
        read_image(tmp_path / "1.png", (4, 4))
    assert time.process_time() - start < 1


# HDF5


@pytest.fixture
def outside(tmp_path) -> Path:
    path = tmp_path / "outside" / "secret.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["secret"] = np.full((5, 2), 7.0)
    (path.parent / "secret.bin").write_bytes(np.full(10, 7.0).tobytes())
    return path


def linked(file, outside):
    file["x"] = h5py.ExternalLink(str(outside), "/secret")


def linked_by_a_group(file, outside):
    file["group"] = h5py.ExternalLink(str(outside), "/")
    file["x"] = h5py.SoftLink("/group/secret")


def linked_beside(file, outside):
    file["x"] = np.zeros((5, 2))
    file.create_group("deep/er")["z"] = h5py.ExternalLink(str(outside), "/secret")


def linked_in_a_subgroup(file, outside):
    file.create_group("g")["y"] = h5py.ExternalLink(str(outside), "/secret")
    file["x"] = h5py.SoftLink("/g/y")


def stored_outside(file, outside):
    place = str(outside.with_suffix(".bin"))
    file.create_dataset("x", (5, 2), "f8", external=[(place, 0, 80)])


def virtual(file, outside):
    layout = h5py.VirtualLayout((5, 2), "f8")
    layout[:] = h5py.VirtualSource(str(outside), "secret", (5, 2))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    "make",
    [linked, linked_by_a_group, linked_beside, linked_in_a_subgroup, stored_outside, virtual],
)
def test_hdf5_does_not_lead_out_of_its_file(tmp_path, outside, make):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        make(file, outside)
    for read in (lambda: H5Array(path, "x")[:], lambda: H5Files().read(path, "x")):
        with pytest.raises(DatasetError, match=r"points to (an)?other files?; that is not read"):
            read()


def test_links_within_a_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("a")["real"] = np.arange(6.0).reshape(3, 2)
        file["x"], file["hard"] = h5py.SoftLink("/a/real"), file["a/real"]
    for key in ("x", "hard"):
        np.testing.assert_array_equal(
            H5Array(tmp_path / "x.h5", key)[:], np.arange(6.0).reshape(3, 2)
        )


def test_links_in_a_circle_end(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"], file["y"] = h5py.SoftLink("/y"), h5py.SoftLink("/x")
        file["loop"] = file["/"]
    with pytest.raises(DatasetError):
        H5Array(tmp_path / "x.h5", "x")


def test_huge_chunks_are_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset(
            "x", (5, 2), "f8", maxshape=(None, 2), chunks=(20_000_000, 2), compression="gzip"
        )
        file["x"][:] = 1.0
    with pytest.raises(DatasetError, match="pieces of 320000000 bytes"):
        H5Array(tmp_path / "x.h5", "x")


# Tables and arrays


def test_a_header_of_many_columns_takes_linear_time(tmp_path):
    names = [f"gene{n}" for n in range(60_000)]
    (tmp_path / "x.csv").write_text(f"{','.join(names)}\n{','.join(['1'] * len(names))}\n")
    start = time.process_time()
    assert list(read_csv(tmp_path / "x.csv")) == names
    assert time.process_time() - start < 3


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    return path


@pytest.mark.parametrize(
    "read", [read_csv, read_json, lambda p: read_lines(p, "list"), read_parquet, tables.read_yaml]
)
def test_files_of_gigabytes_are_not_read_into_memory(tmp_path, read):
    path = sparse(tmp_path / "x.csv")
    with pytest.raises(DatasetError, match="is not read"):
        read(path)
    os.truncate(path, 900_000)
    with pytest.raises(DatasetError):
        read(path)


def test_a_picture_of_gigabytes_is_not_read(tmp_path):
    with pytest.raises(DatasetError, match="is not read"):
        read_image(sparse(tmp_path / "1.jpg"), (4, 4))


@pytest.mark.parametrize("ending", sorted(READERS))
@pytest.mark.parametrize("make", ["pipe", "folder", "circle", "nowhere", "device", "long"])
def test_what_is_no_file_is_said(tmp_path, ending, make):
    path = tmp_path / f"x{ending}"
    if make == "pipe":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    elif make == "circle":
        path.symlink_to(path)
    elif make == "nowhere":
        path.symlink_to(tmp_path / "nothing")
    elif make == "device":
        path.symlink_to("/dev/zero")
    else:
        path = tmp_path / ("x" * 5000 + ending)
    with pytest.raises(DatasetError) as caught:
        inspect_file(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["enrico", "mosi", "mmhs150k", "push", "adni"])
@pytest.mark.parametrize("root", ["x" * 5000, "circle"])
def test_a_root_that_cannot_be_is_said(tmp_path, name, root):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert not datasets.get(name).status(tmp_path / root).ready


def npz(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def test_archives_that_unpack_to_gigabytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "FREELY_UNPACKED", 1_000_000)
    stream = io.BytesIO()
    np.save(stream, np.zeros(1_000_000))
    path = npz(tmp_path / "x.npz", {"x.npy": stream.getvalue()})
    with pytest.raises(DatasetError, match="bytes that unpack to 8000128; refused"):
        arrays.read_npz(path, ("x",))


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "claim",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (9,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "[" * 5000,
    ],
)
def test_headers_that_claim_too_much(tmp_path, claim):
    (tmp_path / "x.npy").write_bytes(header(claim) + bytes(80))
    path = npz(tmp_path / "x.npz", {"x.npy": header(claim) + bytes(80)})
    for read in (lambda: arrays.read_npy(tmp_path / "x.npy"), lambda: arrays.read_npz(path)):
        with pytest.raises(DatasetError):
            read()


def test_a_parquet_file_of_many_rows_in_few_bytes(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"x": np.zeros(100_000, np.int8)})
    parquet.write_table(table, tmp_path / "x.parquet")
    assert len(read_parquet(tmp_path / "x.parquet")["x"]) == 100_000
    monkeypatch.setattr(tables, "MOST_CELLS", 99_999)
    with pytest.raises(DatasetError, match="100000 cells"):
        read_parquet(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "text", ["a: &a [1, 2]\nb: [*a, *a]\n", "[" * 20_000, "{a: " * 5000, "&a [*a]"]
)
def test_yaml_that_grows_or_nests(tmp_path, text):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DatasetError):
        tables.read_yaml(tmp_path / "dataset.yaml")
