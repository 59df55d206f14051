"""The published format of a data set, as facts: files, keys, shapes, types; and checking them.

Nothing here imports torch, so that ``data list`` and ``data describe`` answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2moe_plugin.errors import DatasetError

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Key:
    """One array of a file.

    Attributes:
        name: path in an HDF5 file or a pickle (``train/vision``), array of an npz, column of a csv,
            field of a json; empty for an npy file.
        shape: a number is that size; a word stands for a size, the same in every file of the data
            set; None where it is not looked at.
        dtype: ``f4``, ``i8``, ...; a kind alone for any width of it: ``f``, ``i`` (also unsigned),
            ``number`` (either, or bool), ``text``.
        what: its meaning, with its unit.
        optional: may be absent.
    """

    name: str
    shape: Shape | None = None
    dtype: str = ""
    what: str = ""
    optional: bool = False


@dataclass(frozen=True)
class File:
    """One file, or the files of one pattern, under a data set's folder.

    Attributes:
        path: relative to the folder; ``{id}`` stands for a sample's id.
        what: what it holds.
        keys: its arrays.
        sha256: of the published file, where it is known.
        optional: may be absent.
    """

    path: str
    what: str
    keys: tuple[Key, ...] = ()
    sha256: str = ""
    optional: bool = False

    @property
    def pattern(self) -> str | None:
        """What to glob for, if this is not one file."""
        return self.path.replace("{id}", "*") if "{id}" in self.path else None

    @property
    def is_pickle(self) -> bool:
        """Whether it is published as a pickle."""
        return self.path.endswith((".pkl", ".pk"))

    def found(self, folder: Path) -> list[Path]:
        """The files that are there."""
        if self.pattern:
            return sorted(path for path in folder.glob(self.pattern) if path.is_file())
        path = folder / self.path
        if self.is_pickle and not path.is_file():
            path = path.with_suffix(".h5")  # what was made from it does as well
        return [path] if path.is_file() else []


@dataclass(frozen=True)
class Download:
    """A public address of a data set's file.

    Attributes:
        url: http or https.
        path: where it goes, relative to the folder.
        sha256: of the content; empty where it is not known.
        size: bytes, about; 0 where not known.
        unpack: of a zip or tar archive, the folder it is unpacked into, relative.
    """

    url: str
    path: str
    sha256: str = ""
    size: int = 0
    unpack: str | None = None


@dataclass(frozen=True)
class Card:
    """A data set's facts, for people and for checking.

    Attributes:
        title: its full name.
        source: where it comes from, with its paper.
        licence: what it may be used for.
        files: what lies under the root folder; empty where the data is packaged.
        how_to_get: what to do to have it.
        embedded: it ships in the package.
        splits: how it is split, with the numbers of samples.
        citation: of the data set's paper, in one line.
        sizes: the published sizes of the words in shapes; not compared on a drawn sample.
        downloads: public addresses.
        access: ``public``, ``agreement`` (sign or register first) or ``request``.
        extra: of this package, without which its encoders cannot be built.
    """

    title: str
    source: str
    licence: str
    files: tuple[File, ...] = ()
    how_to_get: str = ""
    embedded: bool = False
    splits: str = ""
    citation: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    downloads: tuple[Download, ...] = ()
    access: str = "public"
    extra: str = ""


@dataclass
class Found:
    """An array as a file has it: shape and dtype, without its values."""

    shape: tuple[int, ...]
    dtype: str


def missing_files(card: Card, folder: Path) -> list[str]:
    """What is not there, one sentence each; looks at names alone."""
    if not folder.is_dir():
        parts = ", ".join(file.path for file in card.files if not file.optional)
        return [f"no such folder; it should hold {parts}"]
    return [
        f"{file.path} is missing ({file.what})"
        for file in card.files
        if not file.optional and not file.found(folder)
    ]


def differences(card: Card, folder: Path, sample: bool = False) -> list[str]:
    """How the files differ from the published format; all problems, one sentence each.

    Names, keys, shapes and types are compared; and, unless it is a drawn sample, the published
    sizes and checksums.
    """
    problems = missing_files(card, folder)
    if not folder.is_dir():
        return problems
    published = {} if sample else dict(card.sizes)
    sizes = {word: (size, "as published") for word, size in published.items()}
    for file in card.files:
        paths = file.found(folder)
        for path in paths:
            if path.stat().st_size == 0:
                problems.append(f"{path.relative_to(folder)} is empty")
        if not paths or file.pattern:
            continue
        if file.keys:
            try:
                contents = inspect_file(paths[0])
            except DatasetError as error:
                problems.append(str(error))
                continue
            problems += _compare(file, contents, sizes)
        if file.sha256 and not sample:
            from i2moe_plugin.benchmarks.data.files import digest

            if digest(paths[0]) != file.sha256:
                problems.append(
                    f"{file.path}: its sha256 is not the published one: another version, or damage"
                )
    return problems


def inspect_file(path: Path) -> dict[str, Found]:
    """The arrays of a file by their names, by its ending.

    Raises:
        DatasetError: damaged, or of a kind that is not known.
    """
    from i2moe_plugin.benchmarks.formats import readers
    from i2moe_plugin.benchmarks.formats import word_vectors as words

    kinds = {
        ".h5": readers.inspect_hdf5,
        ".hdf5": readers.inspect_hdf5,
        ".h5ad": readers.inspect_hdf5,
        ".npy": readers.inspect_npy,
        ".npz": readers.inspect_npz,
        ".csv": readers.inspect_csv,
        ".json": readers.inspect_json,
        ".pkl": readers.inspect_pickle,
        ".pk": readers.inspect_pickle,
        ".pt": readers.inspect_torch,
        ".bin": words.inspect_vectors,
    }
    reader = kinds.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(f"{path}: {path.suffix or 'no ending'} is not a kind of file read here.")
    return {name: Found(tuple(shape), dtype) for name, (shape, dtype) in reader(path).items()}


def _compare(
    file: File, contents: dict[str, Found], sizes: dict[str, tuple[int, str]]
) -> Iterator[str]:
    for key in file.keys:
        where = f"{file.path}: {key.name}" if key.name else file.path
        found = contents.get(key.name)
        if found is None:
            if not key.optional:
                names = ", ".join(list(contents)[:12])
                yield f"{where} is missing; the file has {names or 'nothing'}"
            continue
        if key.dtype and not matches(found.dtype, key.dtype):
            yield f"{where} has type {found.dtype}; expected {key.dtype}"
        if key.shape is None:
            continue
        expected = "[" + ", ".join(map(str, key.shape)) + "]"
        if len(found.shape) != len(key.shape):
            yield f"{where} has shape {list(found.shape)}; expected {expected}"
            continue
        for size, wanted in zip(found.shape, key.shape, strict=True):
            if isinstance(wanted, int):
                if size != wanted:
                    yield f"{where} has shape {list(found.shape)}; expected {expected}"
                    break
                continue
            known, by = sizes.setdefault(wanted, (size, f"in {where}"))
            if size != known:
                yield f"{where}: {wanted} is {size}, but {known} {by}"


def matches(dtype: str, wanted: str) -> bool:
    """Whether a numpy type's name (``float32``, ``int64``, ``text``) is of the wanted kind.

    >>> matches("float32", "f4"), matches("uint8", "i"), matches("text", "number")
    (True, True, False)
    """
    import numpy as np

    if dtype == "text" or wanted == "text":
        return dtype == wanted
    kind: Any = np.dtype(dtype).kind
    if wanted == "number":
        return kind in "fiub"
    if wanted in ("f", "i"):
        return kind in {"f": "f", "i": "iu"}[wanted]
    return np.dtype(dtype) == np.dtype(wanted)
