# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Steps of training: optimizers, and batch normalization by the batch's own mean and variance.

https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from stages.passes.rules import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_ir.tape import Tape

    from stages.passes.rules.make import Maker, Result, Rule

_DOMAIN: Final = "ai.onnx.preview.training"


class _Scalars:
    """Attributes and step of an optimizer, in the type of the tensor that it moves."""

    def __init__(self, node: ir.Node, maker: Maker, value: ir.Value) -> None:
        self._node, self._maker, self._value = node, maker, value
        self.rate = maker("CastLike", node.inputs[0], value)
        self.step = maker("CastLike", node.inputs[1], value)
        self.started = maker(
            "Greater", self.step, maker("CastLike", maker.array(0, ir.DataType.FLOAT), value)
        )

    def number(self, content: float) -> ir.Value:
        maker = self._maker
        return maker("CastLike", maker.array(content, ir.DataType.FLOAT), self._value)

    def get(self, name: str, default: float = 0.0) -> ir.Value:
        return self.number(self.raw(name, default))

    def raw(self, name: str, default: float = 0.0) -> float:
        return self._node.attributes.get_float(name, default)


def _each(
    node: ir.Node,
    tape: Tape,
    states: int,
    update: Callable[[Maker, _Scalars, list[ir.Value]], list[ir.Value]],
) -> Result:
    """`update` for each tensor: node inputs are R, T, all X, all G, then each kind of state."""
    kinds = states + 2
    values = [value for value in node.inputs[2:] if value is not None]
    count = len(values) // kinds
    if len(node.inputs) != 2 + kinds * count or len(values) != kinds * count or not count:
        return None
    maker = make.Maker(node, tape)
    results = []
    for i in range(count):
        mine = values[i::count]
        results.append(update(maker, _Scalars(node, maker, mine[0]), mine))
    return [result[kind] for kind in range(states + 1) for result in results]


def _regularized(maker: Maker, scalars: _Scalars, values: list[ir.Value]) -> ir.Value:
    decay = maker("Mul", scalars.get("norm_coefficient"), values[0])
    return maker("Add", decay, values[1])


def momentum(node: ir.Node, tape: Tape) -> Result:
    """Momentum, standard and Nesterov's."""
    nesterov = node.attributes.get_string("mode") == "nesterov"

    def update(maker: Maker, scalars: _Scalars, values: list[ir.Value]) -> list[ir.Value]:
        gradient = _regularized(maker, scalars, values)
        beta = maker("Where", scalars.started, scalars.get("beta"), scalars.number(1))
        alpha = scalars.get("alpha")
        speed = maker("Add", maker("Mul", alpha, values[2]), maker("Mul", beta, gradient))
        ahead = maker("Add", gradient, maker("Mul", alpha, speed)) if nesterov else speed
        return [maker("Sub", values[0], maker("Mul", scalars.rate, ahead)), speed]

    return _each(node, tape, 1, update)


def adagrad(node: ir.Node, tape: Tape) -> Result:
    """Adagrad."""

    def update(maker: Maker, scalars: _Scalars, values: list[ir.Value]) -> list[ir.Value]:
        gradient = _regularized(maker, scalars, values)
        slowed = maker("Mul", scalars.step, scalars.get("decay_factor"))
        rate = maker("Div", scalars.rate, maker("Add", scalars.number(1), slowed))
        squares = maker("Add", values[2], maker("Mul", gradient, gradient))
        root = maker("Add", maker("Sqrt", squares), scalars.get("epsilon", 1e-6))
        moved = maker("Div", maker("Mul", rate, gradient), root)
        return [maker("Sub", values[0], moved), squares]

    return _each(node, tape, 1, update)


def adam(node: ir.Node, tape: Tape) -> Result:
    """Adam; R is corrected from step 1 on."""

    def update(maker: Maker, scalars: _Scalars, values: list[ir.Value]) -> list[ir.Value]:
        gradient = _regularized(maker, scalars, values)
        one = scalars.number(1)
        alpha, beta = scalars.get("alpha", 0.9), scalars.get("beta", 0.999)
        mean = _mixed(maker, one, alpha, values[2], gradient)
        squares = _mixed(maker, one, beta, values[3], maker("Mul", gradient, gradient))
        root = maker("Add", maker("Sqrt", squares), scalars.get("epsilon", 1e-6))
        # Where nothing has been done yet, 1 - alpha^0 is 0: step 1 stands in for what is not used.
        step = maker("Where", scalars.started, scalars.step, one)
        below = maker("Sub", one, maker("Pow", alpha, step))
        above = maker("Sqrt", maker("Sub", one, maker("Pow", beta, step)))
        corrected = maker("Div", maker("Mul", scalars.rate, above), below)
        rate = maker("Where", scalars.started, corrected, scalars.rate)
        moved = maker("Sub", values[0], maker("Mul", rate, maker("Div", mean, root)))
        kept = maker("Sub", one, scalars.get("norm_coefficient_post"))
        return [maker("Mul", kept, moved), mean, squares]

    return _each(node, tape, 2, update)


def _mixed(maker: Maker, one: ir.Value, share: ir.Value, old: ir.Value, new: ir.Value) -> ir.Value:
    rest = maker("Mul", maker("Sub", one, share), new)
    return maker("Add", maker("Mul", share, old), rest)


def batch_normalization(node: ir.Node, tape: Tape) -> Result:
    """BatchNormalization with `training_mode`: of population variance, as ONNX defines."""
    if not node.attributes.get_int("training_mode", 0):
        return None
    value, scale, bias, mean, variance = node.inputs
    rank = make.rank(value)
    if value is None or rank is None or rank < 2 or mean is None or mean.dtype != value.dtype:  # noqa: PLR2004
        return None
    if value.dtype != ir.DataType.FLOAT or variance is None or variance.dtype != value.dtype:
        return None
    maker = make.Maker(node, tape)
    others = maker.ints(0, *range(2, rank))
    shape = maker.ints(-1, *[1] * (rank - 2))
    centre = maker("ReduceMean", value, others, keepdims=1)
    apart = maker("Sub", value, centre)
    spread = maker("ReduceMean", maker("Mul", apart, apart), others, keepdims=1)
    epsilon = maker.array(node.attributes.get_float("epsilon", 1e-5), value.dtype)
    unit = maker("Div", apart, maker("Sqrt", maker("Add", spread, epsilon)))
    scaled = maker("Mul", unit, maker("Reshape", scale, shape))
    result = [maker("Add", scaled, maker("Reshape", bias, shape))]
    share = maker.array(node.attributes.get_float("momentum", 0.9), value.dtype)
    one = maker.array(1, value.dtype)
    for old, new in ((mean, centre), (variance, spread)):
        result.append(_mixed(maker, one, share, old, maker("Reshape", new, maker.ints(-1))))
    return result[: len(node.outputs)]


RULES: Final[dict[str, Rule]] = {
    f"{_DOMAIN}:Momentum": momentum,
    f"{_DOMAIN}:Adagrad": adagrad,
    f"{_DOMAIN}:Adam": adam,
    "BatchNormalization": batch_normalization,
}
