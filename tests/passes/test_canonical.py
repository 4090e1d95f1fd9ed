# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The same graph, written in other ways, becomes the same bytes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from stages.passes import canonical
from tests import graphs_zoo as zoo


def arranged(proto: onnx.ModelProto) -> bytes:
    model = ir.from_proto(proto)
    canonical.arrange(model)
    return ir.to_proto(model).SerializeToString()


def change(proto: onnx.ModelProto, what: str) -> onnx.ModelProto:
    graph = proto.graph
    if what == "initializers":
        tensors = list(graph.initializer)[::-1]
        del graph.initializer[:]
        graph.initializer.extend(tensors)
    elif what == "field":
        for tensor in graph.initializer:
            if tensor.data_type == zoo.FLOAT:
                tensor.float_data.extend(numpy_helper.to_array(tensor).ravel())
                tensor.ClearField("raw_data")
    elif what == "attributes":
        for node in graph.node:
            attributes = sorted(node.attribute, key=lambda one: one.name, reverse=True)
            del node.attribute[:]
            node.attribute.extend(attributes)
    elif what == "opsets":
        opsets = list(proto.opset_import)[::-1]
        del proto.opset_import[:]
        proto.opset_import.extend(opsets)
    elif what == "metadata":
        entries = list(proto.metadata_props)[::-1]
        del proto.metadata_props[:]
        proto.metadata_props.extend(entries)
    else:
        nodes = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes[1:], nodes[0]])
    return proto


def example() -> onnx.ModelProto:
    proto = zoo.tiny()
    proto.graph.node[1].attribute.extend(
        [
            onnx.helper.make_attribute("dilations", [1, 1]),
            onnx.helper.make_attribute("strides", [1, 1]),
        ]
    )
    proto.opset_import.add(domain="com.example", version=1)
    proto.metadata_props.add(key="a", value="1")
    proto.metadata_props.add(key="b", value="2")
    return proto


@pytest.mark.parametrize(
    "what", ["initializers", "field", "attributes", "opsets", "metadata", "nodes"]
)
def test_other_ways_to_write_it(what: str) -> None:
    proto = change(example(), what)
    assert proto.SerializeToString() != example().SerializeToString()
    assert arranged(proto) == arranged(example())


def test_it_computes_what_it_did_and_arranging_again_changes_nothing() -> None:
    for proto in (zoo.tiny(), zoo.branch(), zoo.loop()):
        once = onnx.load_from_string(arranged(proto))
        onnx.checker.check_model(once, full_check=True)
        assert arranged(once) == once.SerializeToString()
    x = {"x": zoo.values(2, 3, 8, 8)}
    after = zoo.infer(onnx.load_from_string(arranged(change(zoo.tiny(), "field"))), x)["logits"]
    np.testing.assert_array_equal(after, zoo.infer(zoo.tiny(), x)["logits"])


def test_a_cycle_is_an_error() -> None:
    model = ir.from_proto(zoo.tiny())
    zoo.named(model, "relu_1").replace_input_with(0, zoo.named(model, "head").outputs[0])
    with pytest.raises(ValueError, match="cycle"):
        canonical.arrange(model)
