# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Operators whose newer schema means something else are known."""

from __future__ import annotations

import onnx
import pytest

from stages.lib import op_schemas


@pytest.mark.parametrize(
    ("op", "opset", "adds"),
    [
        ("ReduceMean", 17, False),  # axes became an input at 18
        ("GridSample", 19, False),  # its modes were renamed at 20
        ("GroupNormalization", 20, False),  # scale by group became scale by channel at 21
        ("DFT", 19, False),  # axis became an input at 20
        ("Conv", 18, True),
        ("Reshape", 13, True),
        ("Pad", 18, True),
        ("QuantizeLinear", 13, True),
        ("Softmax", 12, False),  # its default axis changed at 13
        ("Hardmax", 12, False),
        ("PRelu", 6, False),  # the slope is broadcast from the right since 7
        ("RoiAlign", 15, False),
        ("Split", 17, False),  # it must say into how many
    ],
)
def test_ops_that_changed_are_known(op: str, opset: int, *, adds: bool) -> None:
    assert op_schemas.only_adds(op, opset, 23) == adds


def test_only_known_ops_changed_since_18() -> None:
    """A new release of ONNX that changes another one shows here, to be looked at by a person."""
    ops = {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain}
    known = {op for op in ops if not _unknown(op)}
    changed = {op for op in known if not op_schemas.only_adds(op, 18, 23)}
    assert changed == {"DFT", "GridSample", "GroupNormalization"}


def _unknown(op: str) -> bool:
    try:
        onnx.defs.get_schema(op, 18, "")
    except onnx.defs.SchemaError:
        return True
    return False
