# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Train the digits network in MindSpore; write its checkpoint.

It runs in the environment of the exporter (`make envs`), on the data of models/digits.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "digits"
WEIGHTS = HERE / "source" / "weights.ckpt"
SEED = 20260
THREADS = 2
LEAST_ACCURACY = 0.98
EPOCHS, BATCH = 18, 64
PEAK_RATE, DECAY = 5e-3, 5e-2
SHIFT = 1.0  # pixels, either way

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


def read(path: Path) -> tuple[Images, Labels]:
    """Return images float32 [N, 1, 8, 8] in 0..16 and labels int32 [N] in 0..9."""
    with np.load(path) as file:
        return file["image"], file["label"].astype(np.int32)


def new_net() -> Any:
    """Return the untrained network, seeded."""
    sys.dont_write_bytecode = True  # source/ is hashed as it stands
    spec = importlib.util.spec_from_file_location("digits_model", HERE / "source" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # MindSpore reads the source of construct()
    spec.loader.exec_module(module)
    mindspore.set_seed(SEED)
    return module.DigitsNet()


def shifted(image: Images, generator: np.random.Generator) -> Images:
    """Shift each image [N, 1, 8, 8] by up to SHIFT pixels each way, linearly, zeros around."""
    for axis in (2, 3):
        by = generator.uniform(-SHIFT, SHIFT, (len(image), 1, 1, 1)).astype(np.float32)
        ahead, behind = np.roll(image, 1, axis), np.roll(image, -1, axis)
        ahead[(slice(None),) * axis + (0,)] = 0
        behind[(slice(None),) * axis + (-1,)] = 0
        image = (1 - np.abs(by)) * image + np.abs(by) * np.where(by > 0, ahead, behind)
    return image


def rates(steps: int) -> list[float]:
    """Rise to PEAK_RATE over a third of the steps, then fall to zero, along cosines."""
    step = np.arange(steps)
    up, down = step / (0.3 * steps), (step - 0.3 * steps) / (0.7 * steps)
    rising, falling = 0.52 - 0.48 * np.cos(np.pi * up), 0.5 + 0.5 * np.cos(np.pi * down)
    return [float(rate) for rate in PEAK_RATE * np.where(up < 1, rising, falling)]


def train(image: Images, label: Labels) -> Any:
    """Return a network trained on the images."""
    generator = np.random.default_rng(SEED + 1)
    net = new_net().set_train(True)
    loss = nn.WithLossCell(net, nn.CrossEntropyLoss())
    # Whole batches alone: MindSpore compiles for each shape.
    batches = len(label) // BATCH
    weights = net.trainable_params()
    optimizer = nn.AdamWeightDecay(weights, rates(EPOCHS * batches), weight_decay=DECAY)
    step = nn.TrainOneStepCell(loss, optimizer).set_train(True)
    for _ in range(EPOCHS):
        order = generator.permutation(len(label))
        for rows in order[: batches * BATCH].reshape(batches, BATCH):
            step(Tensor(shifted(image[rows], generator)), Tensor(label[rows]))
    return net.set_train(False)


def main() -> int:
    """Train, check the accuracy, write; return the exit status."""
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    mindspore.set_device("CPU")
    mindspore.set_deterministic(True)
    mindspore.device_context.cpu.op_tuning.threads_num(THREADS)
    start = time.perf_counter()
    trained = train(*read(DATA / "training.npz"))
    image, label = read(DATA / "samples" / "validation" / "000.npz")
    with tempfile.TemporaryDirectory() as folder:
        # Judge the file to be written, not the network that it came from.
        made = Path(folder) / WEIGHTS.name
        mindspore.save_checkpoint(trained, str(made))
        net = new_net().set_train(False)
        mindspore.load_param_into_net(net, mindspore.load_checkpoint(str(made)), strict_load=True)
        right = int((net(Tensor(image)).asnumpy().argmax(1) == label).sum())
        print(f"validation top-1: {right / len(label):.2%} ({right}/{len(label)})")
        print(f"trained in {time.perf_counter() - start:.1f} s")
        if right < LEAST_ACCURACY * len(label):
            print(f"below {LEAST_ACCURACY:.0%}: nothing written", file=sys.stderr)
            return 1
        beside = WEIGHTS.with_name(f".{WEIGHTS.name}.partial")
        beside.write_bytes(made.read_bytes())
        beside.replace(WEIGHTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
