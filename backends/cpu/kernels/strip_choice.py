"""Where convolutions are computed strip by strip in one kernel: where that saves time."""

import math

import numpy as np

from mcc.ir import Module, Value, constant_of
from mcc.ops import Conv

from ..chains import Chain, chains_of, is_depthwise
from ..machine import Machine
from .choice import contraction_cycles
from .products import multiply_add
from .pruned import pruned_cycles
from .split_blocking import LEAST_RUN, choose_split_blocking, split_cycles
from .strips import Rows

_STRIP_BYTES = 384 * 1024
"""Of what lies between the stages: in the second-level cache, and on the stack."""
_LEAST_STRIPS = 8
"""So that threads share them evenly."""
_CACHED = 640 * 1024
"""Bytes of a result that are still in the second-level cache when it is read."""
_FAR_BYTE, _NEAR_BYTE = 0.08, 0.01
"""Cycles to write and read one again: of a larger result, and of a smaller one."""
_LEAST_GAIN = 10_000
"""Cycles for which a larger kernel is worth compiling."""


def choose_chains(module: Module, absorbed: set[Value], machine: Machine) -> list[Chain]:
    """The chains that become one kernel each; no convolution is in two of them."""
    found: list[Chain] = []
    taken: set[Conv] = set()
    best: dict[Conv, tuple[float, Chain]] = {}
    for chain in chains_of(module, absorbed):
        gain = _gain(chain, machine)
        depthwise = next(link.op for link in chain if is_depthwise(link.op))
        if gain > best.get(depthwise, (_LEAST_GAIN, chain))[0]:
            best[depthwise] = gain, chain
    for _, chain in best.values():
        if taken.isdisjoint(link.op for link in chain):
            taken.update(link.op for link in chain)
            found.append(chain)
    return found


def _gain(chain: Chain, machine: Machine) -> float:
    """Cycles saved by one kernel; negative where it loses."""
    middle = next(n for n, link in enumerate(chain) if is_depthwise(link.op))
    depthwise = chain[middle].op
    rows = rows_of(depthwise)
    height = strip_rows(depthwise, rows, head=middle > 0, last=len(chain) > middle + 1)
    if not height:
        return -math.inf
    gain = 0.0
    for link in chain[:-1]:
        size = link.value.tensor.nbytes
        gain += size * (_FAR_BYTE if size > _CACHED else _NEAR_BYTE)
    for number, link in enumerate(chain):
        if number != middle:
            together = 1 if number < middle else height
            gain -= _vector_cycles(link.op, together, machine) - _alone(link.op, machine)
    return gain


def _vector_cycles(op: Conv, together: int, machine: Machine) -> float:
    """Cycles of a convolution by vectors, so many rows at a time."""
    samples, height, width, outputs = op.result.tensor.dims
    steps = math.prod(op.w.tensor.dims[1:])
    product = multiply_add("float32", machine)
    times = samples * height / together
    return times * contraction_cycles(together * width, outputs, steps, product, machine)


def _alone(op: Conv, machine: Machine) -> float:
    """Cycles in a kernel of its own, by the fastest of those that strips do not have."""
    weights = constant_of(op.w)
    assert weights is not None
    samples, height, width, outputs = op.result.tensor.dims
    taps, run = math.prod(op.w.tensor.dims[2:]), op.w.tensor.dims[1]
    found = _vector_cycles(op, height, machine)
    if machine.amx_bf16 and run >= LEAST_RUN:
        positions = samples * height * width
        blocking = choose_split_blocking(positions, outputs, taps, run, passes=True)
        found = min(found, split_cycles(blocking, 1, positions, outputs, run))
    rows = np.moveaxis(weights, 0, -1).reshape(-1, outputs)
    return min(found, samples * height * pruned_cycles(rows, width, machine))


def rows_of(op: Conv) -> Rows:
    """What a depthwise convolution reads for one row of its result."""
    _, height, width, channels = op.x.tensor.dims
    (stride, across), pads, dilations = op.geometry
    high, wide = (d * (k - 1) + 1 for d, k in zip(dilations, op.w.tensor.dims[2:], strict=True))
    needed = (op.result.tensor.dims[2] - 1) * across + wide
    return Rows(
        height=height,
        count=high,
        step=stride,
        stride=stride,
        before=pads[0],
        left=pads[1],
        width=width,
        columns=max(needed, pads[1] + width),
        channels=channels,
        fill=float(op.pad_value),
    )


def strip_rows(op: Conv, rows: Rows, *, head: bool, last: bool) -> int:
    """Rows of a depthwise convolution's result in a strip; 0 where not one fits.

    Args:
        op: The convolution.
        rows: What it reads for one row.
        head: Whether its input is computed by the strip, too.
        last: Whether something else reads its result.
    """
    _, height, width, channels = op.result.tensor.dims
    each = (rows.stride * rows.row if head else 0) + (width * channels if last else 0)
    before = (rows.count - rows.stride) * rows.row if head else 0
    fitting = (_STRIP_BYTES // 4 - before) // each
    most = min(fitting, -(-height // _LEAST_STRIPS))
    # Strips of the same height, if that costs little.
    even = max((n for n in range(1, most + 1) if height % n == 0), default=0)
    return even if 3 * even >= 2 * most else max(0, most)
