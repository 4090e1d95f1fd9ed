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

# Of symbolic axes; the exporter gets the first ones.
SIZES = tuple(
    {"batch": batch, "height": height, "width": width, "length": height}
    for batch, height, width in ((3, 9, 11), (1, 8, 14), (2, 13, 6), (5, 7, 7))
)


def feeds(inputs: dict[str, Any], sizes: dict[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
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
        several, folder = [feeds(dict(order.inputs), sizes) for sizes in SIZES], results / name
        transposes.ALL.clear()
        transposes.ALL.update(optimizer._get_optimizers() if name.endswith("-bare") else ours)
        try:
            exporter.export(order, several[0], folder)
            run = exporter.load(order)
            for place, given in enumerate(several):
                outputs = run(given)
                np.savez(folder / f"inputs-{place}.npz", *given.values())
                np.savez(folder / f"outputs-{place}.npz", *[outputs[one] for one in order.outputs])
            said[name] = None
        except errors.SourceModelError as error:
            said[name] = {"what": error.what, "mend": error.mend}
    (results / "said.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
