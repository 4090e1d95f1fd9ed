# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The forms in which samples lie in a folder, each read in windows of a few samples.

- `*.npz`: one array for each input; members are streamed, compressed or not, and their checksums
  hold to the end of the file.
- `<input>.npy` for each input, in the folder or in folders of it: memory-mapped, window by window.

A third form, a generator, is that of stages/lib/sample_scripts.py.
Memory holds a window, never a file.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Headers = dict[str, tuple[tuple[int, ...], str]]

# What numpy and zipfile raise on a damaged file; RuntimeError for encryption and compressions
# that a flipped bit claims.
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, OSError)


class Source(Protocol):
    """Some samples that lie together: all arrays have the same length."""

    path: Path

    def headers(self) -> Headers:
        """Shape and dtype of each array, without reading the data.

        Raises:
            SamplesError: it cannot be read.
        """
        ...

    def windows(self, names: list[str], step: int) -> Iterator[Arrays]:
        """Yield these arrays in windows of at most `step` samples.

        Raises:
            SamplesError: it cannot be read.
        """
        ...


def sources(folder: Path) -> list[Source]:
    """All samples of a folder but those of a generator, in order of name."""
    packed: list[Source] = [Npz(path) for path in folder.glob("*.npz")]
    loose = {path.parent for path in (*folder.glob("*.npy"), *folder.glob("*/*.npy"))}
    return sorted(
        [*packed, *(Npy(one) for one in loose)], key=lambda source: source.path.as_posix()
    )


class Npz:
    """One .npz file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def headers(self) -> Headers:
        """See `Source`."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = {}
                for member in archive.namelist():
                    with archive.open(member) as stream:
                        shape, _, dtype = _header(stream)
                    found[member.removesuffix(".npy")] = (shape, str(dtype))
                return found
        except _DAMAGE as error:
            raise _damaged(self.path, error) from None

    def windows(self, names: list[str], step: int) -> Iterator[Arrays]:
        """See `Source`."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                readers = {name: _rows(archive, name, step) for name in names}
                while True:
                    window = {name: next(rows, None) for name, rows in readers.items()}
                    arrays = {name: array for name, array in window.items() if array is not None}
                    if len(arrays) < len(names):
                        return
                    yield arrays
        except _DAMAGE as error:
            raise _damaged(self.path, error) from None


class Npy:
    """One .npy file for each array, in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def headers(self) -> Headers:
        """See `Source`."""
        files = sorted(self.path.glob("*.npy"))
        return {
            file.stem: (shape, str(dtype)) for file in files for shape, _, dtype, _ in [_npy(file)]
        }

    def windows(self, names: list[str], step: int) -> Iterator[Arrays]:
        """See `Source`."""
        found = {name: _npy(self.path / f"{name}.npy") for name in names}
        length = min((shape[0] for shape, *_ in found.values()), default=0)
        for start in range(0, length, step):
            yield {
                name: _map(self.path / f"{name}.npy", header, start, min(step, length - start))
                for name, header in found.items()
            }


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype; the stream is left at the data."""
    version = np.lib.format.read_magic(stream)
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    return read(stream)


def _rows(archive: zipfile.ZipFile, name: str, step: int) -> Iterator[Array]:
    """Windows of one member."""
    with archive.open(f"{name}.npy") as stream:
        shape, fortran, dtype = _plain(_header(stream))
        if fortran:  # not in order of samples: it has to be whole
            data = stream.read()
            whole = np.frombuffer(data, dtype).reshape(shape, order="F")
            yield from (whole[start : start + step] for start in range(0, shape[0], step))
            return
        row = math.prod(shape[1:]) * dtype.itemsize
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            data = stream.read(count * row)
            if len(data) != count * row:
                raise EOFError(f"{name} ends within sample {start + len(data) // max(row, 1)}")
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
        stream.read(1)  # its checksum is compared at the end alone


def _npy(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, dtype and place of the data."""
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = _header(stream)
            place = stream.tell()
            size = stream.seek(0, io.SEEK_END)
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    if not dtype.hasobject and size < place + math.prod(shape) * dtype.itemsize:
        raise _damaged(path, EOFError("it ends before its data does"))
    return shape, fortran, dtype, place


def _map(
    path: Path, header: tuple[tuple[int, ...], bool, np.dtype[Any], int], start: int, count: int
) -> Array:
    shape, fortran, dtype, place = header
    try:
        _plain((shape, fortran, dtype))
        if fortran:
            whole = np.memmap(path, dtype, "r", place, shape, order="F")
            return np.array(whole[start : start + count])
        offset = place + start * math.prod(shape[1:]) * dtype.itemsize
        # One map for each window: pages of a map of the whole file would add up.
        return np.memmap(path, dtype, "r", offset, (count, *shape[1:]))
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _plain(
    header: tuple[tuple[int, ...], bool, np.dtype[Any]],
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    if header[2].hasobject:
        msg = "Object arrays cannot be loaded when allow_pickle=False"
        raise ValueError(msg)
    return header


def _damaged(path: Path, error: Exception) -> errors.SamplesError:
    msg = f"{path} is not a readable {path.suffix} file: {error}"
    how = "numpy.save" if path.suffix == ".npy" else "numpy.savez_compressed"
    return errors.SamplesError(msg, mend=f"write {path} again with {how}")
