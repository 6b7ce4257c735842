"""Quantized models of others, imported and exported again: element by element as onnxruntime's.

    python benchmarks/vendor_int8.py [--inputs 100] [--json] [--write]

`imported` holds mcc's integer ops against onnxruntime on the vendor's file; `exported` holds
onnxruntime on the model that mcc writes again against onnxruntime on the vendor's file. Every
quantized tensor that both have is compared, on calibration inputs of the zoo.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from recording import ZOO, Cell, Table, arguments, finish, zoo_evaluator

from mcc.backends.onnx import export
from mcc.frontend import load
from mcc.ir import Array, DType, Module, Value, constant_of, evaluate
from mcc.judge import onnxruntime_session
from mcc.ops import Dequantize, quantize_array
from mcc.passes import LowerQuantized, pipeline, run_passes

MODELS = ("ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder", "sww_dscnn1d")
Tensors = Mapping[str, Array]


@dataclass
class Differences:
    """Elements of quantized tensors, and those that differ."""

    elements: int = 0
    differing: int = 0
    largest: int = 0

    def add(self, mine: Tensors, theirs: Tensors) -> None:
        for name in mine.keys() & theirs.keys():
            if theirs[name].dtype.kind != "i":
                continue
            ours = mine[name].reshape(theirs[name].shape)
            distance = np.abs(ours.astype(np.int64) - theirs[name].astype(np.int64))
            self.elements += distance.size
            self.differing += int(np.count_nonzero(distance))
            self.largest = max(self.largest, int(distance.max(initial=0)))

    def cells(self) -> tuple[Cell, ...]:
        found = f"{self.differing:,} (by {self.largest})" if self.differing else "0"
        return self.elements, found


def quantized_tensors(model: onnx.ModelProto) -> list[str]:
    """What the model's QuantizeLinear nodes compute."""
    return [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]


def inputs_of(name: str, module: Module, count: int) -> list[Tensors]:
    """Calibration inputs, quantized as the model wants them."""
    scorer = zoo_evaluator()
    (value,) = module.inputs
    own = f"{name}_int8"
    feeds = scorer.calib_feeds(own if own in scorer.MODELS else name)
    arrays: list[Array] = [next(iter(feed.values())) for feed in feeds]
    if arrays[0].dtype != np.int8:
        dequantized = (op for op in module.ops() if isinstance(op, Dequantize))
        reader = next(op for op in dequantized if constant_of(op.x) is None)
        scale, zero = constant_of(reader.scale), constant_of(reader.zero)
        assert scale is not None
        assert zero is not None
        arrays = [quantize_array(array, scale, zero, DType.I8) for array in arrays]
    samples = np.concatenate([array.reshape(-1, *value.tensor.dims[1:]) for array in arrays])
    return [{value.name: sample[None]} for sample in samples[:count]]


def compared(name: str, count: int) -> tuple[Cell, ...]:
    model = onnx.load(ZOO / "models" / f"{name}_int8qdq.onnx")
    samples = inputs_of(name, load(model), count)
    fused = run_passes(load(model), pipeline(2))
    again = export(fused)
    lowered = run_passes(fused, (LowerQuantized(),))
    sides: list[list[Tensors]] = []
    for side in (model, again):
        session = onnxruntime_session(
            side,
            "ORT_ENABLE_ALL",
            integer_convolutions=True,
            extra_outputs=quantized_tensors(side),
        )
        names = [port.name for port in session.get_outputs()]
        sides.append([dict(zip(names, session.run(None, feed), strict=True)) for feed in samples])
    imported, exported = Differences(), Differences()
    for feed, vendor, ours in zip(samples, *sides, strict=True):
        seen: dict[str, Array] = {}

        def observe(value: Value, array: Array, seen: dict[str, Array] = seen) -> None:
            seen[value.name] = array

        evaluate(lowered, feed, observe)
        imported.add(seen, vendor)
        exported.add(ours, vendor)
    return (name, len(samples), *imported.cells(), *exported.cells())


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--inputs", type=int, default=100)
    options = parser.parse_args()
    rows: list[tuple[Cell, ...]] = []
    for name in MODELS:
        rows.append(compared(name, options.inputs))
        print(rows[-1], file=sys.stderr)
    table = Table(
        "vendor_int8",
        "Quantized models of others, in and out",
        "python benchmarks/vendor_int8.py",
        ("model", "inputs", "elements", "imported", "elements again", "exported"),
        list(rows),
        [
            "Differing elements of quantized tensors. Imported: mcc's integer ops against "
            "onnxruntime on the vendor's file; exported: onnxruntime on the file that mcc writes "
            "again against the same.",
            "onnxruntime with ORT_ENABLE_ALL and int8 convolutions allowed.",
        ],
    )
    finish([table], options)


if __name__ == "__main__":
    main()
