# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the exporter on many orders in one process of its own environment, which takes 3 s to start.

Usage: tensorflow_driver.py <root of the project> <orders.json> <folder for results>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def feeds(inputs: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A batch of 3, and sides of 9 and 11 where they are symbolic."""
    generator, sizes = np.random.default_rng(0), {"batch": 3, "height": 9, "width": 11}
    return {
        name: generator.normal(size=[sizes.get(size, size) for size in spec["shape"]]).astype(
            spec["dtype"] if spec["dtype"] != "string" else "float32"
        )
        for name, spec in inputs.items()
    }


def main(root: Path, orders: Path, results: Path) -> None:
    sys.path.insert(0, str(root))
    from tf2onnx import optimizer

    from stages.exporters.api import Order
    from stages.exporters.tensorflow import exporter, transposes
    from stages.lib import errors

    said: dict[str, Any] = {}
    ours = dict(transposes.ALL)
    for name, told in json.loads(orders.read_text(encoding="utf-8")).items():
        order = Order(**told | {"source": Path(told["source"])})
        given, folder = feeds(dict(order.inputs)), results / name
        transposes.ALL.clear()
        transposes.ALL.update(optimizer._get_optimizers() if name.endswith("-bare") else ours)
        try:
            exporter.export(order, given, folder)
            outputs = exporter.load(order)(given)
            np.savez(folder / "inputs.npz", *given.values())
            np.savez(folder / "outputs.npz", *[outputs[one] for one in order.outputs])
            said[name] = None
        except errors.SourceModelError as error:
            said[name] = {"what": error.what, "mend": error.mend}
    (results / "said.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
