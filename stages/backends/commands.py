# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of NVIDIA's own tool that builds what an order says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stages.backends.build_api import Order


def line(tool: str, order: Order, flags: Sequence[str]) -> str:
    """The command line that builds the same, in a folder with model.onnx, quoted for a shell.

    A name with a colon stands in single quotes, as trtexec splits at the last colon
    (`samples/common/sampleOptions.cpp` of TensorRT).
    """
    words = [
        tool,
        "--onnx=model.onnx",
        "--saveEngine=model.plan",
        "--skipInference",
        f"--memPoolSize=workspace:{order.builder['workspace_mib']}",
        f"--builderOptimizationLevel={order.builder['optimization_level']}",
        *(f"--dynamicPlugins={Path(file).name}" for file, _ in order.plugins),
        *flags,
    ]
    for index, shapes in enumerate(order.profiles):
        if len(order.profiles) > 1:
            words.append(f"--profile={index}")
        for bound in ("min", "opt", "max"):
            specs = [_spec(name, dims[bound]) for name, dims in shapes.items()]
            words.append(f"--{bound}Shapes={','.join(specs)}")
    return " ".join(_quoted(word) for word in words)


def _spec(name: str, dims: Sequence[int]) -> str:
    shown = f"'{name}'" if ":" in name else name
    return f"{shown}:{'x'.join(str(size) for size in dims) or 'scalar'}"


def _quoted(word: str) -> str:
    if "'" not in word:
        return shlex.quote(word)
    return '"' + re.sub(r'([\\"$`])', r"\\\1", word) + '"'
