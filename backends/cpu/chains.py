"""Which convolutions share a kernel: a depthwise one with those before and behind it."""

from collections.abc import Iterator
from dataclasses import dataclass

from mcc.ir import DType, Module, Value, constant_of
from mcc.ops import Conv

_FEW_CHANNELS = 16


@dataclass(frozen=True)
class Link:
    """A convolution, and the value that its kernel would store."""

    op: Conv
    value: Value
    """With what is fused behind it."""


Chain = tuple[Link, ...]
"""Convolutions of which each reads the value of the one before, and nobody else does."""


def chains_of(module: Module, absorbed: set[Value]) -> Iterator[Chain]:
    """All chains of a depthwise convolution with the one before it, the one behind it, or both.

    Several begin or end with the same convolution. What belongs together comes longest first.
    """
    links = {link.value: link for link in _links(module, absorbed)}
    readers = {link.op.x: link for link in links.values()}
    for link in links.values():
        if not is_depthwise(link.op) or min(link.op.pads, default=0) < 0:
            continue
        head, last = links.get(link.op.x), readers.get(link.value)
        if head is not None and (link.op.x.uses != {link.op: 1} or not _may_lead(head.op)):
            head = None
        if last is not None and (link.value.uses != {last.op: 1} or not _is_pointwise(last.op)):
            last = None
        for chain in ((head, link, last), (head, link), (link, last)):
            if None not in chain:
                yield tuple(found for found in chain if found is not None)


def is_depthwise(op: Conv) -> bool:
    """Whether each channel of the result is made of one channel of x, and it of no other."""
    return op.groups > 1 and op.w.tensor.dims[:2] == (op.groups, 1)


def _may_lead(op: Conv) -> bool:
    """Whether it is computed by rows as well as at once; 3 x 3 windows have faster algorithms."""
    return op.groups == 1 and (_is_pointwise(op) or op.w.tensor.dims[1] < _FEW_CHANNELS)


def _is_pointwise(op: Conv) -> bool:
    strides, pads, _ = op.geometry
    return op.groups == 1 and {*op.w.tensor.dims[2:], *strides} == {1} and set(pads) == {0}


def _links(module: Module, absorbed: set[Value]) -> Iterator[Link]:
    """The convolutions of float32 in two dimensions, with weights that are known."""
    for op in module.body:
        if (
            isinstance(op, Conv)
            and op.layout == "nhwc"
            and op.x.tensor.rank == 4
            and op.x.tensor.dtype is DType.F32
            and (op.groups == 1 or is_depthwise(op))
            and constant_of(op.w) is not None
            and op.result.tensor.size
        ):
            value: Value = op.result
            while value in absorbed:
                # All readers are in one kernel, so that each leads to what it stores.
                value = next(iter(value.uses)).results[0]
            if value.tensor.shape == op.result.tensor.shape and value.tensor.dtype is DType.F32:
                yield Link(op, value)
