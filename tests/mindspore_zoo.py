# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of MindSpore, and the exporter run on each: in MindSpore's environment alone.

`python mindspore_zoo.py <root> <feeds.npz> <orders.json>` writes, in the current folder, for each
order `<name>/graph/`, `<name>.npz` (what the network gives) or the two lines of `<name>.error`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

WEIGHTS = {"plain.ckpt": "ckpt", "plain.safetensors": "safetensors"}


class Plain(nn.Cell):
    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.first = nn.Dense(3, hidden)
        self.second = nn.Dense(hidden, 2)

    def construct(self, x: Any) -> Any:
        return self.second(ops.relu(self.first(x)))


class Pooled(Plain):
    def construct(self, x: Any) -> Any:
        return super().construct(x.mean((2, 3)))


class Wider(Plain):
    def __init__(self) -> None:
        super().__init__(6)


class Deeper(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.CellList([nn.Dense(2, 2) for _ in range(6)])


class Convolutions(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        ms.set_seed(3)
        self.conv = nn.Conv2d(3, 4, 3, pad_mode="pad", padding=1, has_bias=True)
        self.norm, self.pool = nn.BatchNorm2d(4), nn.MaxPool2d(2, 2)
        self.flat, self.head = nn.Flatten(), nn.Dense(64, 5)

    def construct(self, image: Any) -> Any:
        features = self.pool(ops.relu(self.norm(self.conv(image))))
        return self.head(self.flat(features)), features.mean((2, 3)), features.reshape((-1, 64))


class Upsampled(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        ms.set_seed(3)
        self.up = nn.Conv2dTranspose(3, 2, 2, stride=2, pad_mode="valid")

    def construct(self, image: Any) -> Any:
        return self.up(image)


class Attention(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        ms.set_seed(3)
        self.query, self.key, self.norm = nn.Dense(8, 8), nn.Dense(8, 8), nn.LayerNorm((8,))

    def construct(self, tokens: Any) -> Any:
        shape = (tokens.shape[0], 5, 2, 4)
        query = self.query(tokens).reshape(shape).transpose(0, 2, 1, 3)
        key = self.key(tokens).reshape(shape).transpose(0, 2, 3, 1)
        value = tokens.reshape(shape).transpose(0, 2, 1, 3)
        mixed = ops.matmul(ops.softmax(ops.matmul(query, key) * 0.5, -1), value)
        return self.norm(tokens + mixed.transpose(0, 2, 1, 3).reshape((-1, 5, 8)))


class Masked(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        ms.set_seed(3)
        self.table = nn.Embedding(9, 4)

    def construct(self, ids: Any, mask: Any) -> Any:
        return (self.table(ids) * mask.expand_dims(-1)).sum(1), ids + 1


class Nested(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(Tensor([1, 2, 3], ms.float32), name="scale")

    def construct(self, x: Any) -> Any:
        doubled = x * 2
        return doubled, (x + self.scale, (doubled, x)), self.scale, x


class Types(nn.Cell):
    def construct(self, small: Any, half: Any, double: Any) -> Any:
        return small, half * 2, double + 1, small > 1


class Sized(nn.Cell):
    def construct(self, x: Any) -> Any:
        return (x * 2).reshape((x.shape[0], -1)) + ops.zeros((x.shape[0], 3), ms.float32)


class Block(nn.Cell):
    def construct(self, x: Any) -> Any:
        return ops.erfinv(x * 0.1)


class Unknown(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def construct(self, x: Any) -> Any:
        return self.block(x) + self.block(x * 2)


class Invalid(nn.Cell):
    def construct(self, x: Any) -> Any:
        return x.argmax(1)


class Branching(nn.Cell):
    def construct(self, x: Any) -> Any:
        if x.sum() > 0:
            return x * 2
        return x


class Random(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        ms.set_seed(3)
        self.drop, self.dense = nn.Dropout(p=0.5), nn.Dense(3, 3)

    def construct(self, x: Any) -> Any:
        return self.drop(self.dense(x))


class Listed(nn.Cell):
    def construct(self, x: Any) -> Any:
        return [x * 2]


class Named(nn.Cell):
    def construct(self, x: Any) -> Any:
        return {"y": x}


class Two(nn.Cell):
    def construct(self, first: Any, second: Any, factor: float = 2.0) -> Any:
        return first - second * factor


class Failing(nn.Cell):
    def construct(self, x: Any) -> Any:
        return x.reshape((7, 5))


class NeedsWidth(nn.Cell):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Dense(3, width)


def outside() -> nn.Cell:
    """Weights in files beside the graph, as MindSpore has them above 2 GiB."""
    from mindspore.onnx import onnx_export

    onnx_export.PROTO_LIMIT_SIZE = 0
    return Plain()


def nothing() -> int:
    return 3


def exits() -> None:
    sys.exit(3)


def fetches() -> nn.Cell:
    msg = "no route to host"
    raise ConnectionError(msg)


def torch() -> None:
    raise ModuleNotFoundError(name="torch")


def save(folder: Path) -> None:
    """Checkpoints, sound and otherwise."""
    ms.set_seed(7)
    for name, kind in WEIGHTS.items():
        ms.save_checkpoint(Plain(), str(folder / name), format=kind)
    sound = (folder / "plain.ckpt").read_bytes()
    (folder / "short.ckpt").write_bytes(sound[:-9])
    (folder / "empty.ckpt").touch()
    (folder / "torch.ckpt").write_bytes(b"PK\x03\x04" + bytes(100))
    net = Plain()
    optimizer = nn.Momentum(net.trainable_params(), 0.1, 0.9)
    ms.save_checkpoint(nn.TrainOneStepCell(net, optimizer), str(folder / "training.ckpt"))


def main(root: Path, feeds: Path, orders: Path) -> None:
    sys.path.insert(0, str(root))
    from stages.exporters.api import Order
    from stages.exporters.mindspore import exporter
    from stages.lib import errors

    arrays = np.load(feeds)
    for name, told in json.loads(orders.read_text()).items():
        shutil.rmtree("traced", ignore_errors=True)
        batches = told.pop("batches")
        order = Order(**told | {"source": Path(told["source"])})
        given = [{key: arrays[key][:count] for key in order.inputs} for count in batches]
        try:
            exporter.export(order, given[0], Path(name))
            model = exporter.load(order)
            found: dict[str, Any] = {
                f"{key}/{count}": value
                for count, feed in zip(batches, given, strict=True)
                for key, value in model(feed).items()
            }
            np.savez(f"{name}.npz", **found)
        except errors.EngineryError as error:
            Path(f"{name}.error").write_text(f"{error.what}\n{error.mend}")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        save(Path(sys.argv[1]))
    else:
        main(*map(Path, sys.argv[1:]))
