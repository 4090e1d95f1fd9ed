# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Samples of a model: one array per input, the first axis counting samples.

They come from .npz files, .npy files or a generator (stages/lib/sample_files.py), in order of name,
and are checked against the inputs that params.yaml declares. Labels, where a task metric needs
them, are one more array of the same length. Memory does not depend on how many samples there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import errors, sample_files, sample_scripts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Arrays = sample_files.Arrays
Headers = sample_files.Headers


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a model's samples.

    Attributes:
        folder: folder of .npz files, .npy files, or a Python file with `load_data()`.
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

        What a generator yields at once counts as a file. A model with a fixed batch gets that
        batch, whatever `size` says.

        Raises:
            SamplesError: a file does not hold what `inputs` declares, or holds NaN or infinity.
        """
        step = self.batch(size)
        generator = self._generator()
        if generator is not None:
            yield from self._generated(generator, step)
            return
        for source in self._sources():
            self._check(source.path, source.headers())
            start = 0
            for arrays in source.windows(self._wanted(), step):
                self._finite(f"{source.path}:", arrays, start)
                yield arrays
                start += len(next(iter(arrays.values())))

    def batch(self, size: int) -> int:
        """The model's fixed batch if it has one, else `size`."""
        first = (spec["shape"][0] for spec in self.inputs.values())
        return next((dimension for dimension in first if isinstance(dimension, int)), size)

    def is_fixed(self) -> bool:
        """Whether the model has a fixed batch."""
        return any(isinstance(spec["shape"][0], int) for spec in self.inputs.values())

    def count(self) -> int:
        """Number of samples, read from the headers alone; a generator has to be run for it.

        Raises:
            SamplesError: as for `check_headers`.
        """
        generator = self._generator()
        first = next(iter(self.inputs))
        if generator is not None:
            return sum(
                len(batch[first]) for batch in self._generated(generator, self.batch(1 << 30))
            )
        total = 0
        for file, headers in self.headers():
            self._check(file, headers)
            total += headers[first][0][0]
        return total

    def estimate(self, size: int) -> int | None:
        """Number of batches of `size`; None where only a run of the generator would tell.

        Raises:
            SamplesError: as for `check_headers`.
        """
        if self._generator() is not None:
            return None
        first, step, total = next(iter(self.inputs)), self.batch(size), 0
        for file, headers in self.headers():
            self._check(file, headers)
            total += -(-headers[first][0][0] // step)
        return total

    def headers(self) -> Iterator[tuple[Path, Headers]]:
        """Shape and dtype of each array of each file, without reading the data.

        Of a generator, those of the first feed.
        """
        generator = self._generator()
        if generator is not None:
            feed = next(iter(sample_scripts.feeds(generator)), {})
            yield generator, {name: (a.shape, str(a.dtype)) for name, a in feed.items()}
            return
        for source in self._sources():
            yield source.path, source.headers()

    def check_headers(self) -> None:
        """Check names, dtypes and shapes of all files without reading the data.

        Of a generator, that it is there: it is not run.

        Raises:
            SamplesError: as for `batches`, save for NaN and infinity.
        """
        if self._generator() is not None:
            return
        for file, headers in self.headers():
            self._check(file, headers)

    def _wanted(self) -> list[str]:
        return [*self.inputs, *([self.labels] if self.labels else [])]

    def _sources(self) -> list[sample_files.Source]:
        found = sample_files.sources(self.folder)
        if not found:
            msg = f"{self.folder} holds no .npz, .npy or .py file: there are no samples"
            raise self._error(msg)
        return found

    def _generator(self) -> Path | None:
        found = sample_scripts.scripts(self.folder)
        if not found:
            return None
        if len(found) > 1 or sample_files.sources(self.folder):
            names = ", ".join(path.name for path in self.folder.iterdir() if path.suffix)
            msg = f"{self.folder} holds more than one .py file, or other samples beside it: {names}"
            raise errors.SamplesError(msg, mend="leave either one .py file, or the sample files")
        sample_scripts.check(found[0])
        return found[0]

    def _generated(self, path: Path, step: int) -> Iterator[Arrays]:
        seen = 0
        for number, feed in enumerate(sample_scripts.feeds(path)):
            where = f"{path} (feed {number})"
            self._check(where, {name: (a.shape, str(a.dtype)) for name, a in feed.items()})
            arrays = {name: feed[name] for name in self._wanted()}
            self._finite(f"{path}: of load_data()", arrays, seen)
            length = len(next(iter(arrays.values())))
            for start in range(0, length, step):
                yield {name: array[start : start + step] for name, array in arrays.items()}
            seen += length
        if not seen:
            msg = f"{path}: load_data() yields nothing: there are no samples"
            raise errors.SamplesError(msg, mend="let it yield at least one feed")

    def _finite(self, where: str, arrays: Arrays, start: int) -> None:
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
                sample = start + int(np.argmin(rows))
                raise self._error(f"{where} {name!r} holds NaN or infinity in sample {sample}")

    def _check(self, file: Path | str, headers: Headers) -> None:
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
        arrays = ", ".join(
            f"{name} ({spec['dtype']} {spec['shape']})" for name, spec in self.inputs.items()
        )
        mend = (
            f"write into {self.folder}, as .npz files, one .npy file for each array, or a .py file"
            f" with load_data(): {arrays}" + (f" and {self.labels} (labels)" if self.labels else "")
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
