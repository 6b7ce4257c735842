"""Which ops share a kernel: element-wise ops join the op that computes their operand.

Only values with a single reader are fused away, and none that a user compares tensor by tensor:
outputs, and the 8-bit integers of a quantized model. Nor the 16-bit floats that products read.
"""

from mcc.ir import DType, Module, Op, Value, Yield

from .registry import ELEMENTWISE, LOWERINGS, broadcast

_LARGEST = 32
"""Ops in one kernel; more make the code long and gain nothing."""


def absorbed_values(module: Module) -> dict[Value, Op]:
    """The values that are computed inside the kernel of their only reader, and that reader."""
    absorbed: dict[Value, Op] = {}
    anchored: set[Op] = set()
    scalar: set[Op] = set()
    sizes: dict[Op, int] = {}
    for op in module.body:
        if type(op) not in ELEMENTWISE:
            continue
        size, has_anchor = 1, False
        one_by_one = ELEMENTWISE[type(op)].scalar(op)
        for number, operand in enumerate(op.operands):
            producer = operand.op
            if producer is None or not _may_vanish(operand, op, number):
                continue
            is_anchor = type(producer) in LOWERINGS or producer in anchored
            # Kernels with registers full of vectors cannot compute element by element.
            if (is_anchor and (has_anchor or one_by_one)) or (producer in scalar and has_anchor):
                continue
            grown = size + sizes.get(producer, 1)
            if grown > _LARGEST:
                continue
            size, has_anchor = grown, has_anchor or is_anchor
            one_by_one = one_by_one or producer in scalar
            absorbed[operand] = op
        sizes[op] = size
        if one_by_one:
            scalar.add(op)
        if has_anchor:
            anchored.add(op)
    return absorbed


def _may_vanish(value: Value, reader: Op, number: int) -> bool:
    producer = value.op
    if producer is None or value.uses != {reader: 1} or isinstance(reader, Yield):
        return False
    if value.tensor.dtype in (DType.I8, DType.U8, DType.BF16):
        return False
    rule = ELEMENTWISE[type(reader)]
    if number in rule.whole or value.tensor.shape != reader.results[0].tensor.shape:
        return False
    if rule.align(reader, number, value) != broadcast(reader, number, value):
        return False
    lowering = LOWERINGS.get(type(producer))
    return type(producer) in ELEMENTWISE or (lowering is not None and lowering.fuses)
