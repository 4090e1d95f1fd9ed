# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Which Q/DQ each backend says that it can use, and what nobody has said or measured.

NVIDIA, "Working with Quantized Types" (TensorRT) and the support matrix of TensorRT-RTX, which
lists INT8 as weight-only GEMM and FP8 from compute capability 8.9. A Q/DQ pair outside the table is
built all the same: what the plan computes is right, and only its speed is open.

Attention: TensorRT runs softmax(Q K^T) V in one INT8 kernel where the head size is 16, 32 or 64 and
no side has more than 512 positions (developer guide, "Multi-Head Attention Fusion"; also in
NVIDIA/TensorRT#2981 and #4167); beyond, INT8 takes three kernels and is slower than FP16 in one
(#3714). In FP8, ModelOpt 0.47 takes head sizes above 8 and up to 256 (its `graph_utils.py`).
TensorRT-RTX publishes no limits of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRODUCTS = frozenset({"Gemm", "MatMul"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})

# Ops by backend and quantized type that run on quantized kernels, as published.
PUBLISHED: dict[str, dict[str, frozenset[str]]] = {
    "tensorrt": {"int8": _PRODUCTS | _CONVOLUTIONS, "fp8": _PRODUCTS | _CONVOLUTIONS},
    "tensorrt_rtx": {"int8": frozenset(), "fp8": _PRODUCTS},
}
_QUANTIZED = ("int8", "fp8")

# Ops that a backend dequantizes again: Q/DQ would cost accuracy and gain nothing. Read from the
# plans of TensorRT-RTX 1.7.1, which list a ConvTranspose with float operands whatever its channels.
_DEQUANTIZED: dict[str, frozenset[str]] = {"tensorrt_rtx": frozenset({"ConvTranspose"})}

_INT8_HEADS = (16, 32, 64)
_INT8_POSITIONS = 512
_FP8_HEADS = range(9, 257)


def useless(backend: str, ops: Mapping[str, str]) -> dict[str, str]:
    """Why Q/DQ would be of no use, by node name; nodes that gain from it are left out.

    Args:
        backend: name of the backend.
        ops: op type by node name.
    """
    known = _DEQUANTIZED.get(backend, frozenset())
    return {name: f"{backend} computes {op} in float" for name, op in ops.items() if op in known}


def attention(precision: str, head: int | None, positions: int | None) -> str:
    """Why an attention is not run in one quantized kernel; empty if it is.

    Args:
        precision: int8 or fp8.
        head: size of a head; None if it is not known.
        positions: the most queries or keys; None if it is not known.
    """
    if precision == "fp8":
        return (
            "" if head in _FP8_HEADS else f"no fused FP8 attention: its head size is {_word(head)}"
        )
    if head not in _INT8_HEADS:
        return f"no fused INT8 attention: its head size is {_word(head)}"
    if positions is None or positions > _INT8_POSITIONS:
        return f"no fused INT8 attention: the number of its positions is {_word(positions)}"
    return ""


def _word(size: int | None) -> str:
    return "not known" if size is None else str(size)


def notes(backend: str, ops: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What is to be said of the quantized nodes of a typed graph, one line for each op.

    Args:
        backend: name of the backend.
        ops: nodes by precision and op type.
    """
    known = PUBLISHED.get(backend, {})
    return [
        f"{count} {op} in {precision}: {backend} publishes no {precision} kernel for both operands"
        " of it, so its speed is unknown until `device` measures it"
        for precision in _QUANTIZED
        for op, count in sorted(ops.get(precision, {}).items())
        if op not in known.get(precision, frozenset())
    ]
