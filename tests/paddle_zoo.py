# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What runs in PaddlePaddle's environment for tests: one process for many models.

python paddle_zoo.py make <folder>            save the models (FLAGS_enable_pir_api=0: older form)
python paddle_zoo.py try <trials.json> <to>   export and run them in one process
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional
from paddle.static import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable

# Attributes that Paddle 3.3 has as doubles, which paddle2onnx does not read; and a few others.
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "pad": lambda x: functional.pad(x, [1, 2, 3, 1], value=2.5),
    "group-norm": lambda x: functional.group_norm(x * 1e-2, 3, epsilon=1e-2),
    "leaky-relu": lambda x: functional.leaky_relu(x, 0.3),
    "softplus": functional.softplus,
    "nearest": lambda x: functional.interpolate(x, scale_factor=2),
    "bilinear": lambda x: functional.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "full": lambda x: x + paddle.full([1], 0.1234567, "float32"),
    "layer-norm": lambda x: functional.layer_norm(x, [8, 8], epsilon=1e-3),
}


# What Paddle itself can no longer save in the older form.
NEWER = {"softplus"}


def last(x: Any) -> Any:
    """A convolution whose channels come last, which paddle2onnx refuses."""
    weight = paddle.ones([4, 3, 3, 3])
    return functional.conv2d(x.transpose([0, 2, 3, 1]), weight, data_format="NHWC")


class Function(nn.Layer):
    """A layer without parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Tiny(nn.Layer):
    """Convolution, batch norm, pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2D(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2D(4)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Any) -> Any:
        feature = functional.relu(self.norm(self.convolution(x)))
        return self.head(feature.mean([2, 3]))


class Two(nn.Layer):
    """Two inputs, two outputs."""

    def forward(self, b: Any, a: Any) -> Any:
        return a - b, a + 2 * b


class Branch(nn.Layer):
    """An operation that paddle2onnx lacks, in a branch."""

    def forward(self, x: Any) -> Any:
        if x.sum() > 0:
            return paddle.digamma(x)
        return x * 2.0


def save(layer: nn.Layer, path: Path, *faces: tuple[str, list[int | None]]) -> None:
    layer.eval()
    specs = [InputSpec(shape, "float32", name=name) for name, shape in faces]
    paddle.jit.save(layer, str(path), input_spec=specs)


def make(folder: Path) -> None:
    paddle.seed(0)
    image = ("x", [None, 3, 8, 8])
    save(Tiny(), folder / "net", image)
    save(Tiny(), folder / "fixed", ("x", [4, 3, 8, 8]))
    save(Function(lambda x: x * 2.0), folder / "none", image)
    save(Two(), folder / "two", ("b", [4, 5]), ("a", [4, 5]))
    save(Function(lambda x: [x * (n + 2) for n in range(12)]), folder / "many", image)
    save(Function(lambda x: paddle.linalg.svd(x)[1]), folder / "svd", image)
    lacking = Function(lambda x: paddle.digamma(x) + paddle.lgamma(functional.relu(x)))
    save(lacking, folder / "lacking", image)
    save(Function(last), folder / "feature", image)
    newer = paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]
    if newer:
        save(paddle.jit.to_static(Branch(), full_graph=True), folder / "branch", image)
        save(nn.LSTM(8, 4), folder / "lstm", ("x", [None, 3, 8]))
    for name, function in OPERATIONS.items():
        if newer or name not in NEWER:
            save(Function(function), folder / name, image)


def attempt(trials: Path, to: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from stages.exporters.api import Order
    from stages.exporters.paddlepaddle import exporter
    from stages.lib import errors

    said: dict[str, Any] = {}
    for name, told in json.loads(trials.read_bytes()).items():
        order = Order(**told["order"] | {"source": Path(told["order"]["source"])})
        try:
            exporter.export(order, {}, to / name)
            if "feeds" in told:
                with np.load(told["feeds"]) as feeds:
                    found = exporter.load(order)(dict(feeds))
                np.savez(to / name / "found.npz", *found.values())
            said[name] = None
        except errors.EngineryError as error:
            said[name] = [error.what, error.mend]
    (to / "said.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[2:]]
    if sys.argv[1] == "make":
        make(*paths)
    else:
        attempt(*paths)
