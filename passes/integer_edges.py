"""Inputs and outputs that stay integers: the quantize and dequantize ops at the edges go away."""

from mcc.ir import (
    Because,
    Module,
    Op,
    Quant,
    Rewriter,
    RewriteReport,
    Value,
    Yield,
    constant_of,
)
from mcc.ops import Dequantize, Quantize

from .base import Pass


class IntegerEdges(Pass, name="integer-edges"):
    """quantize(input) -> integer input; dequantize before an output -> integer output.

    An input that anything but one quantize op reads, and an output that no dequantize op feeds,
    stay what they are.
    """

    def run(self, module: Module, report: RewriteReport) -> Module:
        rewriter = Rewriter(module)
        for value in module.inputs:
            outcome = self._input(value, rewriter)
            self._record(outcome, value.name, module, report)
        for index, name in enumerate(module.output_names):
            outcome = self._output(module, index, rewriter)
            self._record(outcome, name, module, report)
        return module

    def _input(self, value: Value, rewriter: Rewriter) -> Because | None:
        readers = list(value.uses)
        op = readers[0] if len(readers) == 1 else None
        if not isinstance(op, Quantize):
            return Because("it is not read by one quantize op alone")
        note = _note(op)
        if note is None:
            return Because("its scale is no constant scalar")
        rewriter.retype_argument(value, op, note)
        return None

    def _output(self, module: Module, index: int, rewriter: Rewriter) -> Because | None:
        end = module.body.last
        assert isinstance(end, Yield)
        op = end.values[index].op
        if not isinstance(op, Dequantize):
            return Because("it does not come from a dequantize op")
        if _note(op) is None:
            return Because("its scale is no constant scalar")
        rewriter.replace_operand(end, op.result, op.x)
        rewriter.erase_dead([op])
        return None

    def _record(
        self, outcome: Because | None, name: str, module: Module, report: RewriteReport
    ) -> None:
        if outcome is None:
            report.fired["integer-edges"] += 1
        else:
            end: Op | None = module.body.last
            assert end is not None
            report.declined.append(("integer-edges", end, f"{name}: {outcome.reason}"))


def _note(op: Quantize | Dequantize) -> Quant | None:
    scale, zero = constant_of(op.scale), constant_of(op.zero)
    if scale is None or zero is None or scale.ndim:
        return None
    return Quant((float(scale),), (int(zero),))
