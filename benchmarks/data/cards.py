"""The published format of a data set, as facts: files, keys, shapes, types, sources."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from i2moe_plugin.benchmarks.formats.reading import is_file

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
        foreign: arrays that show another project's file of the same name, and whose it is.
    """

    path: str
    what: str
    keys: tuple[Key, ...] = ()
    sha256: str = ""
    optional: bool = False
    foreign: tuple[tuple[str, str], ...] = ()

    @property
    def pattern(self) -> str | None:
        """What to glob for, if this is not one file."""
        return self.path.replace("{id}", "*") if "{id}" in self.path else None

    @property
    def is_pickle(self) -> bool:
        """Whether it is published as a pickle."""
        return self.path.endswith((".pkl", ".pk"))

    def whose(self, arrays: Container[str]) -> str:
        """Say whose file it is by the arrays it holds; empty where nothing shows another's."""
        return next((whose for name, whose in self.foreign if name in arrays), "")

    def found(self, folder: Path) -> list[Path]:
        """Return the files that are there."""
        if self.pattern:
            return sorted(path for path in folder.glob(self.pattern) if is_file(path))
        path = folder / self.path
        if self.is_pickle and not is_file(path):
            path = path.with_suffix(".h5")  # what was made from it does as well
        return [path] if is_file(path) else []


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
        access: ``public``, ``agreement`` (sign or register first), ``request``, or ``yours``.
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

    @property
    def short_title(self) -> str:
        """The title up to its colon."""
        return self.title.split(":")[0]

    def missing_files(self, folder: Path) -> list[str]:
        """Return what is not in the folder, one sentence each; looks at names alone."""
        if self.files and not folder.is_dir():
            parts = ", ".join(file.path for file in self.files if not file.optional)
            return [f"no such folder; it should hold {parts}"]
        return [
            f"{file.path} is missing" + (f" ({file.what})" if file.what else "")
            for file in self.files
            if not file.optional and not file.found(folder)
        ]
