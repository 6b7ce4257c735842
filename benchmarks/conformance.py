"""ONNX's own backend suite through mcc: how much passes, is refused (and why), or comes out wrong.

Counted are all cases of `onnx.backend.test` on CPU, compared by the suite's own rule. A case is
*refused* where mcc says no before anything runs, *wrong* where an output differs, *crashed* where
anything else happens. With `--constants`, inputs that mcc must know while compiling (shapes, axes)
are given to `mcc.frontend.load` as constants. Shapes that a model leaves open are its data's.
"""

import argparse
import gc
import json
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.runner import Runner
from recording import Table, arguments, finish

from mcc import Session, UserError
from mcc import compile as compile_model
from mcc.frontend import load
from mcc.ir import evaluate

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
OUTCOMES = ("passed", "refused", "wrong", "crashed")

# What models of today are made of: the cases of these operators count once more, by themselves.
_OPERATORS = """
Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast CastLike Ceil Celu Clip
Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace
DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor
GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
GridSample GroupNormalization HardSigmoid HardSwish Identity If InstanceNormalization IsInf IsNaN
LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool
MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear
RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RotaryEmbedding Round
Scan ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign
SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh TensorScatter ThresholdedRelu Tile TopK
Transpose Trilu Unsqueeze Upsample Where Xor
"""
MAINSTREAM = frozenset(_OPERATORS.split())
_TYPES = onnx.TensorProto.DataType
UNUSUAL = {
    number
    for name, number in _TYPES.items()
    if name.startswith(("FLOAT8", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2")) or name == "STRING"
}
# Inputs, by their names in ONNX, that models of exporters have as constants. The suite feeds them.
_PARAMETERS = """
M a_scale a_zero_point axes axis b_scale b_zero_point block_shape cond constant_value delta depth
ends image_shape iou_threshold k limit max_output_boxes_per_class output_shape pads ratio repeats
roi scales score_threshold shape size sizes split start starts steps training_mode w_scale
w_zero_point x_scale x_zero_point y_scale y_zero_point
"""
PARAMETERS = frozenset(_PARAMETERS.split())
_EXPANDED = re.compile(r"_expanded(_ver\d+)?$")


@dataclass(frozen=True)
class Case:
    """One case: its model, and pairs of inputs and expected outputs."""

    name: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float
    mainstream: bool


def suite(pattern: str) -> Iterator[Case]:
    """Every case whose name matches."""
    wanted = re.compile(pattern)
    for kind in KINDS:
        found = [cast("Any", case) for case in loader.load_model_tests(kind=kind)]
        by_name = {case.name: case for case in found}
        for case in sorted(found, key=lambda case: str(case.name)):
            if not wanted.search(case.name):
                continue
            if kind == "node":
                model, data = case.model, case.data_sets
                # A function's body counts as the operator that it is the body of.
                origin = by_name.get(_EXPANDED.sub("", case.name), case).model
                usual = len(origin.graph.node) == 1 and _is_mainstream(origin)
            elif kind == "real":
                model, data = _light(case)
                usual = False
            else:
                model = onnx.load(Path(case.model_dir) / "model.onnx")
                data = [
                    _stored(folder, model) for folder in Path(case.model_dir).glob("test_data_set*")
                ]
                usual = _is_mainstream(model)
            yield Case(case.name, model, data, case.rtol, case.atol, usual)


def _is_mainstream(model: onnx.ModelProto) -> bool:
    infos = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    return all(node.op_type in MAINSTREAM for node in model.graph.node) and all(
        info.type.HasField("tensor_type") and info.type.tensor_type.elem_type not in UNUSUAL
        for info in infos
    )


def _stored(folder: Path, model: onnx.ModelProto) -> tuple[list[Any], list[Any]]:
    """The inputs and outputs of one folder of data, as the suite's own runner reads them."""
    read = cast("Any", Runner)._load_proto
    sides: list[list[Any]] = []
    for side, infos in (("input", model.graph.input), ("output", model.graph.output)):
        arrays: list[Any] = []
        for number in range(len(list(folder.glob(f"{side}_*.pb")))):
            read(None, str(folder / f"{side}_{number}.pb"), arrays, infos[number].type)
        sides.append(arrays)
    return sides[0], sides[1]


def _light(case: Any) -> tuple[onnx.ModelProto, list[tuple[list[Any], list[Any]]]]:
    """A model whose weights are left out, on the runner's own made-up input."""
    path = Path(onnx.__file__).parent.parent / case.url
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [
        cast("Any", Runner).generate_dummy_data(info, seed=0, name=case.name, random=False)
        for info in model.graph.input
        if info.name not in weights
    ]
    output = onnx.load_tensor(str(path.with_suffix("")) + "_output_0.pb")
    return model, [(inputs, [numpy_helper.to_array(output)])]


def run(case: Case, options: argparse.Namespace) -> tuple[str, str]:
    """The outcome of a case, and the message where it did not pass."""
    weights = {tensor.name for tensor in case.model.graph.initializer}
    names = [info.name for info in case.model.graph.input if info.name not in weights]
    try:
        for inputs, wanted in case.data:
            arrays = [_array(item) for item in inputs]
            feeds = dict(zip(names, arrays, strict=False))
            outputs = computed(case.model, feeds, options)
            cast("Any", Runner).assert_similar_outputs(
                [_array(item) for item in wanted], outputs, case.rtol, case.atol
            )
    except UserError as error:
        return "refused", str(error)
    except AssertionError as error:
        return "wrong", str(error)
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    return "passed", ""


def computed(
    model: onnx.ModelProto, feeds: Mapping[str, Any], options: argparse.Namespace
) -> list[Any]:
    """The outputs in the model's order."""
    constants: dict[str, Any] = {}
    if options.constants:
        constants = {name: feeds[name] for name in parameters(model) if name in feeds}
    module = load(model, shapes=open_shapes(model, feeds, constants), constants=constants)
    given = {name: array for name, array in feeds.items() if name not in constants}
    if options.evaluate:
        found = list(evaluate(module, given).values())
    else:
        artifact = compile_model(module, target="cpu")
        found = Session(artifact).run(None, given)
    return [np.asarray(array) for array in found]


def open_shapes(
    model: onnx.ModelProto, feeds: Mapping[str, Any], constants: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """The fed shapes of the inputs whose shapes the model leaves open: mcc's are static."""
    return {
        info.name: tuple(np.shape(feeds[info.name]))
        for info in model.graph.input
        if info.name in feeds
        and info.name not in constants
        and any(not dim.dim_value for dim in info.type.tensor_type.shape.dim)
    }


def parameters(model: onnx.ModelProto) -> Iterator[str]:
    """The inputs of a model that some node reads as a parameter."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    for node in model.graph.node:
        try:
            version = versions.get(node.domain, 1)
            schema = cast("Any", onnx.defs).get_schema(node.op_type, version, node.domain)
        except onnx.defs.SchemaError:
            continue
        for name, formal in zip(node.input, schema.inputs, strict=False):
            if formal.name in PARAMETERS:
                yield name


def _array(item: Any) -> Any:
    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def reason(message: str) -> str:
    """What a refusal comes down to, without names of nodes and shapes."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if "cannot be imported" in message:
        names = sorted(line.split(" (opset")[0] for line in lines if " (opset" in line)
        return "operator " + ", ".join(names)
    if "at run time" in message:
        return "a parameter is computed at run time"
    text = lines[0].removeprefix("the given model: ") if lines else ""
    return re.sub(r"'[^']*'|\[[^]]*\]|\d+", "...", re.sub(r"node '[^']*' ", "", text))[:100]


def main() -> None:
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--evaluate", action="store_true", help="evaluate, do not compile")
    parser.add_argument("--constants", action="store_true", help="give parameters as constants")
    parser.add_argument("--match", default="", help="only cases whose names match")
    parser.add_argument("--cases", help="write the outcome of every case into this JSON file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    cases = list(suite(options.match))
    gc.freeze()  # a compilation collects garbage: none of it is among the cases
    outcomes: list[tuple[Case, str, str]] = []
    for number, case in enumerate(cases, 1):
        outcomes.append((case, *run(case, options)))
        if sys.stderr.isatty():
            print(f"\r{number} of {len(cases)} {case.name:60.60}", end="", file=sys.stderr)
    seconds = time.perf_counter() - started
    if options.cases:
        record = {case.name: (case.mainstream, *rest) for case, *rest in outcomes}
        Path(options.cases).write_text(json.dumps(record, indent=1))
    finish(list(tables(outcomes, options, seconds)), options)


def tables(
    outcomes: Sequence[tuple[Case, str, str]], options: argparse.Namespace, seconds: float
) -> Iterator[Table]:
    how = "evaluated" if options.evaluate else "compiled for the CPU"
    given = "parameters made constant" if options.constants else "cases as they are"
    flags = "".join(f" --{flag}" for flag in ("evaluate", "constants") if getattr(options, flag))
    key = "conformance" + flags.replace(" --", "_")
    script = f"python benchmarks/conformance.py{flags}"
    rates = Table(
        key,
        f"ONNX's backend suite, {how}, {given}",
        script,
        ("cases", "count", *(f"{outcome} %" for outcome in OUTCOMES)),
        notes=[
            "mainstream: one node of an operator that today's models use, its function body, and "
            "all models made of such; without strings, sequences, 8-bit floats and 4-bit types.",
            f"The whole run took {seconds:.0f} s.",
        ],
    )
    for title, some in (
        ("whole", outcomes),
        ("mainstream", [item for item in outcomes if item[0].mainstream]),
    ):
        count = Counter(outcome for _, outcome, _ in some)
        shares = [100 * count[outcome] / max(1, len(some)) for outcome in OUTCOMES]
        rates.rows.append((title, len(some), *(f"{share:.1f}" for share in shares)))
    yield rates
    reasons = Counter(reason(text) for _, outcome, text in outcomes if outcome == "refused")
    refusals = Table(f"{key}_refused", "Why cases are refused", script, ("reason", "cases"))
    refusals.rows.extend(reasons.most_common(40))
    yield refusals


if __name__ == "__main__":
    main()
