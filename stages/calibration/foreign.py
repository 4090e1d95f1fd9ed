# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""A calibration cache from elsewhere: does it fit the graph, and what of it is taken.

TensorRT's ONNX parser keeps the names of tensors, so a cache that it made of the same ONNX file has
them all. It fits when each activation that a quantized operator reads has a scale. Shortcuts of
residual Adds may lack one, as in caches of tools that leave these alone; they get none. Further
names, such as TensorRT's own `(Unnamed Layer* 3) [Constant]_output`, are counted and dropped.
"""

from __future__ import annotations

import codecs
import difflib
from typing import TYPE_CHECKING, Any

from stages.calibration import methods
from stages.lib import caches, errors, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from stages.calibration.ranges import Tensor

_SHOWN = 5


def read(path: Path) -> caches.Cache:
    """Parse the file; a byte-order mark, other line ends and empty last lines do no harm.

    Raises:
        CalibrationError: it is not there, or no calibration cache.
    """
    if not path.is_file():
        names = sorted(one.name for one in path.parent.glob("*") if one.name != ".gitkeep")
        msg = f"{path} is not there; {path.parent}/ holds: {', '.join(names) or 'nothing'}"
        raise errors.CalibrationError(
            msg, mend="put it there, or name another (or null) in models.<m>.calibrate.import"
        )
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").rstrip(b"\n")
    return caches.parse(data, path.as_posix(), mend="take the file anew from where it was made")


def fit(
    cache: caches.Cache, found: Sequence[Tensor], known: Iterable[str], path: Path
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scales to take, and what there is to say of the cache.

    Args:
        cache: as read.
        found: the activations that can be quantized.
        known: names of all float32 activations of the graph.
        path: of the cache.

    Returns:
        The scale by name for all of `found`, bit for bit that of the cache, 0 for a shortcut that
        has none; and for ranges.json, the file's digest, header and counts.

    Raises:
        CalibrationError: a needed activation has no scale.
    """
    names, wanted = set(known), [tensor.name for tensor in found if tensor.needed]
    missing = [name for name in wanted if name not in cache.scales]
    extra = [name for name in cache.scales if name not in names]
    if missing:
        raise _misfit(cache, wanted, missing, len(cache.scales) - len(extra), path)
    without = [tensor.name for tensor in found if tensor.name not in cache.scales]
    scales = {tensor.name: cache.scales.get(tensor.name, 0.0) for tensor in found}
    return scales, {
        "file": path.as_posix(),
        "sha256": files.sha256(path),
        "algorithm": cache.algorithm,
        "version": cache.version,
        "names": len(cache.scales),
        "used": len(scales) - len(without),
        "not_in_the_graph": len(extra),
        "not_in_the_cache": without,
    }


def ranges(scales: dict[str, float]) -> dict[str, float]:
    """Largest |x| that each scale represents."""
    return {name: scale * methods.LEVELS for name, scale in scales.items()}


def _misfit(
    cache: caches.Cache, wanted: list[str], missing: list[str], shared: int, path: Path
) -> errors.CalibrationError:
    msg = (
        f"{path} does not fit the graph: of the {len(wanted)} tensors that int8 needs,"
        f" {len(missing)} have no scale in it."
        f" It holds {len(cache.scales)} names, {shared} of them of this graph"
    )
    rows = [msg]
    for name in missing[:_SHOWN]:
        near = difflib.get_close_matches(name, list(cache.scales), n=2, cutoff=0.5)
        rows.append(f"  {name!r}; nearest in the cache: {', '.join(map(repr, near)) or 'none'}")
    if len(missing) > _SHOWN:
        rows.append(f"  and {len(missing) - _SHOWN} more")
    return errors.CalibrationError(
        "\n".join(rows),
        mend="take a cache of the ONNX file in models/<m>/source/, whose names sanitize keeps;"
        " or use another method, and null in models.<m>.calibrate.import",
    )
