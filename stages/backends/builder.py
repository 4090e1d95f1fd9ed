# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What the TensorRT builders share: ONNX file in, plan out.

The bindings arrive as the argument `trt`: `tensorrt` 10.13 to 11 and `tensorrt_rtx` have one API
here, and this module opens neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.backends import build_api, commands, libraries, listing, readback, refusals
from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# numpy's names of TensorRT's types; those that numpy lacks have ml_dtypes' names.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
    "FP8": "float8_e4m3fn",
    "INT4": "int4",
    "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}


def build(
    trt: Any,
    order: build_api.Order,
    log: Callable[[str], None],
    *,
    configure: Callable[[Any], None],
    tool: str,
    flags: Sequence[str],
) -> build_api.Engine:
    """Parse and build; `log` must not raise, as it is called from C++.

    Args:
        trt: the bindings, `tensorrt` or `tensorrt_rtx`.
        order: what to build.
        log: takes each message, one line each.
        configure: sets on the `IBuilderConfig` what only this backend has.
        tool: the backend's command line tool.
        flags: of `tool`, for what `configure` sets.

    Raises:
        GraphError: the file is no ONNX graph that can be read.
        UnsupportedError: the parser refuses nodes.
        BuildError: nothing is in the precision asked for, a profile is invalid, or the builder
            fails.
    """
    try:
        return _build(trt, order, log, configure, commands.line(tool, order, flags))
    except errors.EngineryError as refused:
        # Frames in the traceback would keep TensorRT's objects for the garbage collector, which may
        # run in a log callback: a builder that ends while another one starts waits for itself.
        raise refused.with_traceback(None) from None


def _build(
    trt: Any,
    order: build_api.Order,
    log: Callable[[str], None],
    configure: Callable[[Any], None],
    equivalent: str,
) -> build_api.Engine:
    failures: list[str] = []
    logger = make_logger(trt, log, failures)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # how pybind11 reports a null pointer
        raise refusals.failure("the builder does not start", failures) from None
    libraries.load(builder, order.plugins, failures)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)  # owns the weights until the plan is built
    _parse(parser, network, order)
    precisions = readback.count(network)
    readback.require(order.precision, precisions)
    config = _config(trt, builder, order)
    configure(config)
    _add_profiles(builder, config, network, order, failures)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise refusals.failure("the builder gave no engine", failures)
    buffer = memoryview(plan).cast("B")
    compiled = listing.products(buffer)
    readback.require_compiled(order.precision, precisions, compiled)
    return build_api.Engine(
        plan=buffer,
        inputs=[_tensor(network.get_input(i)) for i in range(network.num_inputs)],
        outputs=[_tensor(network.get_output(i)) for i in range(network.num_outputs)],
        profiles=order.profiles,
        layers=network.num_layers,
        precisions=precisions,
        compiled=compiled,
        command=equivalent,
    )


def _config(trt: Any, builder: Any, order: build_api.Order) -> Any:
    config = builder.create_builder_config()
    workspace = order.builder["workspace_mib"] << 20
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.builder_optimization_level = order.builder["optimization_level"]
    if order.precision == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    else:  # it is set from the start
        config.clear_flag(trt.BuilderFlag.TF32)
    return config


def make_logger(trt: Any, log: Callable[[str], None], failures: list[str]) -> Any:
    """An `ILogger` that passes messages on to `log`, and keeps errors in `failures` too.

    VERBOSE messages are left out: there are hundreds for each layer.
    """
    severity = trt.ILogger.Severity
    names = {severity.WARNING: "warning", severity.INFO: "info"}

    class Forwarding(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level == severity.VERBOSE:
                return
            if level not in names:
                failures.append(message)
            log(f"[{names.get(level, 'error')}] {message}")

    return Forwarding()


def _parse(parser: Any, network: Any, order: build_api.Order) -> None:
    if not parser.parse_from_file(str(order.graph)):
        raise refusals.parse(
            str(order.graph), [parser.get_error(i) for i in range(parser.num_errors)]
        )
    if not network.num_outputs:  # bytes that are no model parse without an error
        raise refusals.unreadable(str(order.graph), ["it holds no graph"])


def _add_profiles(
    builder: Any, config: Any, network: Any, order: build_api.Order, failures: list[str]
) -> None:
    names = [network.get_input(i).name for i in range(network.num_inputs)]
    for index, shapes in enumerate(order.profiles):
        # A name that is no input would be ignored, an invalid profile dropped: both in silence.
        if strangers := sorted(set(shapes) - set(names)):
            known = ", ".join(names)
            msg = f"profile {index} names {strangers[0]!r}; the graph's inputs are: {known}"
            raise errors.BuildError(
                msg, mend="name the model's inputs in `profiles` of params.yaml"
            )
        profile = builder.create_optimization_profile()
        for name, dims in shapes.items():
            try:
                profile.set_shape(name, dims["min"], dims["opt"], dims["max"])
            except ValueError as error:
                failures.append(str(error))
        if config.add_optimization_profile(profile) != index:
            raise refusals.failure(f"profile {index} is invalid: {_shapes(shapes)}", failures)


def _shapes(shapes: Mapping[str, Mapping[str, list[int]]]) -> str:
    return "; ".join(
        f"{name} " + " ".join(f"{bound} {list(dims[bound])}" for bound in ("min", "opt", "max"))
        for name, dims in shapes.items()
    )


def _tensor(tensor: Any) -> dict[str, Any]:
    dims = [int(size) for size in tensor.shape]
    return {"name": tensor.name, "dtype": _DTYPES[tensor.dtype.name], "shape": dims}
