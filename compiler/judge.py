"""onnxruntime as the outside judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mcc.ir import Array, UserError

if TYPE_CHECKING:
    import onnx


class JudgePort(Protocol):
    """What onnxruntime tells of an input or output."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> Sequence[int | str | None]: ...


class Judge(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used."""

    def get_inputs(self) -> Sequence[JudgePort]: ...

    def get_outputs(self) -> Sequence[JudgePort]: ...

    def run(
        self, output_names: Sequence[str] | None, feeds: Mapping[str, Array]
    ) -> list[Array]: ...


def onnxruntime_session(
    model: "Path | onnx.ModelProto",
    level: str,
    *,
    integer_convolutions: bool = False,
    extra_outputs: Sequence[str] = (),
) -> Judge:
    """A CPU session on one thread.

    Args:
        model: A file, or a model.
        level: `ORT_ENABLE_ALL` or `ORT_DISABLE_ALL`.
        integer_convolutions: Let it fuse int8 x int8 convolutions on x86 (its session option
            `session.qdqisint8allowed`); by default it computes them in float there.
        extra_outputs: Tensors inside the model that shall be outputs as well.

    Raises:
        UserError: If onnxruntime is not installed, or cannot load the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "onnxruntime is not installed", remedy="pip install 'mcc-compiler[verify]'"
        ) from None
    library: Any = onnxruntime  # partly typed
    settings: Any = library.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    if integer_convolutions:
        settings.add_session_config_entry("session.qdqisint8allowed", "1")
    settings.graph_optimization_level = getattr(library.GraphOptimizationLevel, level)
    content: str | bytes
    if isinstance(model, Path):
        if not model.exists():
            raise UserError("no such file", where=str(model))
        content = str(model)
    else:
        content = _with_outputs(model, extra_outputs).SerializeToString()
    try:
        session: Judge = library.InferenceSession(
            content,
            settings,
            providers=["CPUExecutionProvider"],
            # Up to 1.31 it makes a Pad of zeros a maximum pool's padding, which is no zero, and
            # pads that are wider than the pool's window, which the pool then refuses.
            disabled_optimizers=["Pad_Fusion"],
        )
    except Exception as error:  # onnxruntime's errors share no base class
        raise UserError(
            f"onnxruntime does not load it: {error}",
            where=str(model) if isinstance(model, Path) else "the exported model",
        ) from None
    return session


def _with_outputs(model: "onnx.ModelProto", names: Sequence[str]) -> "onnx.ModelProto":
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {output.name for output in copy.graph.output}
    produced = {name for node in copy.graph.node for name in node.output}
    for name in names:
        if name in produced and name not in present:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


GIVEN = ".given"
"""What is behind a quantized tensor's name where a layer takes it as an input."""


def cut_into_layers(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model with every quantized tensor both an output and, as `NAME.given`, an input.

    What reads a quantized tensor reads the given one instead. So each layer can be judged on the
    same inputs, and a difference in one does not spread to the next.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    cut: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            cut[node.output[0]] = types.get(node.input[2], onnx.TensorProto.UINT8)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in cut:
                node.input[index] = name + GIVEN
    read = {name for node in graph.node for name in node.input}
    for name, kind in cut.items():
        if name + GIVEN in read:
            graph.input.append(onnx.helper.make_tensor_value_info(name + GIVEN, kind, None))
    return copy
