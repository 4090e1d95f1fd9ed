# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Sample folders: .npz files with one array per model input, the first axis counting samples.

Files are read in order of name, one at a time, and checked against the inputs that params.yaml
declares. Labels, where a task metric needs them, are one more array of the same length.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Arrays = dict[str, "np.ndarray[Any, Any]"]

# What numpy and zipfile raise on a damaged file; RuntimeError for encryption and compressions
# that a flipped bit claims.
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, OSError)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a model's samples.

    Attributes:
        folder: folder of .npz files.
        inputs: by input name, {"dtype": str, "shape": list of int (fixed) or str (symbolic)};
            the first dimension of each input is the batch.
        labels: name of the array of labels, or None.
    """

    folder: Path
    inputs: Mapping[str, Any]
    labels: str | None = None

    def feeds(self, size: int) -> Iterator[Arrays]:
        """Yield the inputs alone, as a runner takes them; see `batches`."""
        for batch in self.batches(size):
            yield {name: batch[name] for name in self.inputs}

    def batches(self, size: int) -> Iterator[Arrays]:
        """Yield inputs and labels in batches of at most `size` samples; never across two files.

        A model with a fixed batch gets that batch, whatever `size` says.

        Raises:
            SamplesError: a file does not hold what `inputs` declares, or holds NaN or infinity.
        """
        step = self.batch(size)
        for file in self._files():
            arrays = self._read(file)
            for start in range(0, len(next(iter(arrays.values()))), step):
                yield {name: array[start : start + step] for name, array in arrays.items()}

    def batch(self, size: int) -> int:
        """The model's fixed batch if it has one, else `size`."""
        first = (spec["shape"][0] for spec in self.inputs.values())
        return next((dimension for dimension in first if isinstance(dimension, int)), size)

    def count(self) -> int:
        """Number of samples, read from the headers alone.

        Raises:
            SamplesError: as for `check_headers`.
        """
        first, total = next(iter(self.inputs)), 0
        for file, headers in self.headers():
            self._check(file, headers)
            total += headers[first][0][0]
        return total

    def headers(self) -> Iterator[tuple[Path, dict[str, tuple[tuple[int, ...], str]]]]:
        """Shape and dtype of each array of each file, without reading the data."""
        for file in self._files():
            yield file, _headers(file)

    def check_headers(self) -> None:
        """Check names, dtypes and shapes of all files without reading the data.

        Raises:
            SamplesError: as for `batches`, save for NaN and infinity.
        """
        for file, headers in self.headers():
            self._check(file, headers)

    def _wanted(self) -> list[str]:
        return [*self.inputs, *([self.labels] if self.labels else [])]

    def _files(self) -> list[Path]:
        files = sorted(self.folder.glob("*.npz"))
        if not files:
            msg = f"{self.folder} holds no .npz file: there are no samples"
            raise self._error(msg)
        return files

    def _read(self, file: Path) -> Arrays:
        self._check(file, _headers(file))
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in self._wanted()}
        except _DAMAGE as error:
            raise _damaged(file, error) from None
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                sample = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
                raise self._error(f"{file}: {name!r} holds NaN or infinity in sample {sample}")
        return arrays

    def _check(self, file: Path, headers: dict[str, tuple[tuple[int, ...], str]]) -> None:
        wanted = self._wanted()
        if missing := [name for name in wanted if name not in headers]:
            names = ", ".join(sorted(headers)) or "nothing"
            raise self._error(f"{file} lacks the array {missing[0]!r}; it holds: {names}")
        symbols: dict[str, int] = {}
        for name, spec in self.inputs.items():
            shape, dtype = headers[name]
            if dtype != spec["dtype"]:
                raise self._error(f"{file}: {name!r} is {dtype}, params.yaml says {spec['dtype']}")
            if not _fits(shape, spec["shape"], symbols):
                text = f"{file}: {name!r} has shape {list(shape)}, params.yaml says {spec['shape']}"
                raise self._error(text)
        lengths = {name: headers[name][0][:1] for name in wanted}
        if len(set(lengths.values())) != 1 or lengths[wanted[0]] == (0,):
            counts = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
            raise self._error(
                f"{file}: arrays must hold the same number of samples, at least one; {counts}"
            )

    def _error(self, what: str) -> errors.SamplesError:
        mend = (
            f"write {self.folder}/000.npz with numpy.savez_compressed, one array for each of "
            + ", ".join(
                f"{name} ({spec['dtype']} {spec['shape']})" for name, spec in self.inputs.items()
            )
            + (f" and {self.labels} (labels)" if self.labels else "")
        )
        return errors.SamplesError(what, mend=mend)


def _fits(shape: tuple[int, ...], spec: list[int | str], symbols: dict[str, int]) -> bool:
    """Whether an array fits its declared shape; one symbol has one size in all inputs of a file."""
    if len(shape) != len(spec):
        return False
    # The first axis counts samples: a fixed batch divides them, a symbolic one takes any number.
    if isinstance(spec[0], int) and shape[0] % spec[0]:
        return False
    pairs = list(zip(shape, spec, strict=True))[1:]
    return all(
        size == (wanted if isinstance(wanted, int) else symbols.setdefault(wanted, size))
        for size, wanted in pairs
    )


def _headers(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    try:
        with zipfile.ZipFile(file) as archive:
            found = {}
            for member in archive.namelist():
                with archive.open(member) as stream:
                    version = np.lib.format.read_magic(stream)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(stream)
                found[member.removesuffix(".npy")] = (shape, str(dtype))
            return found
    except _DAMAGE as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> errors.SamplesError:
    msg = f"{file} is not a readable .npz file: {error}"
    return errors.SamplesError(msg, mend=f"write {file} again with numpy.savez_compressed")
