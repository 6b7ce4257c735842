"""Attention, reading its operands where they lie."""

from dataclasses import dataclass, replace

from mcc.ir import Value
from mcc.ops import Attention, Reshape, Slice, Transpose

from ..machine import Machine
from ..plan import Planner
from ..registry import Strides, contiguous, lower
from ..storage import Slot
from ..tail import Tail
from .attend import Attend, AttentionBlocking
from .choice import choose_blocking
from .elementwise import strided_copy
from .loops import Loop, collapse
from .products import multiply_add

_QUERIES = 48
_KEYS = 128
"""In a block: its scores, keys and values are to fit the caches together."""
_ALL_KEYS = 256
"""So many keys are one block."""
_REREAD = 4
"""So many blocks of queries make it worth to bring the values together."""
_SCRATCH = 64 * 1024
"""Bytes of the stack for scores and sums of a block."""


@dataclass(frozen=True)
class View:
    """A value as elements of an array that lies in memory."""

    slot: Slot
    strides: Strides
    start: int = 0


@lower(Attention, fuses=True)
def attention(op: Attention, planner: Planner, tail: Tail) -> None:
    *outer, count, depth = op.q.tensor.dims
    keys, columns = op.v.tensor.dims[-2:]
    q = view_of(planner, op.q)
    # Vectors run along keys in the one product, along columns in the other.
    k = _side_by_side(planner, view_of(planner, op.k), op.k, axis=-2)
    # Rows that lie apart cost more, each time that a block of queries reads them, than one copy.
    together = count >= _REREAD * _QUERIES
    v = _stored(planner, op.v) if together else view_of(planner, op.v)
    v = _side_by_side(planner, v, op.v, axis=-1)
    y, reader = _result(op, tail)
    rank = len(outer)
    mask: Strides = (0,) * (rank + 2)
    if op.mask is not None:
        # As if the mask were an operand of the scores.
        shape = op.mask.tensor.dims
        kept = zip(shape, contiguous(shape), strict=True)
        mask = (0,) * (rank + 2 - len(shape)) + tuple(0 if n == 1 else s for n, s in kept)
    beside = [operand.strides for operand in tail.operands]
    lead = collapse(
        [
            Loop(
                extent,
                (
                    y[axis],
                    *(view.strides[axis] for view in (q, k, v)),
                    mask[axis],
                    *(strides[axis] for strides in beside),
                ),
            )
            for axis, extent in enumerate(outer)
        ],
        5 + len(beside),
    )
    none = (0,) * len(beside)
    rows = tuple(strides[rank] for strides in beside)
    across = tuple(strides[rank + 1] for strides in beside)
    kernel = Attend(
        lead=tuple(lead),
        queries=Loop(count, (y[-2], q.strides[-2], 0, 0, mask[-2], *rows)),
        keys=Loop(keys, (0, 0, k.strides[-2], v.strides[-2], mask[-1], *none)),
        depth=Loop(depth, (0, q.strides[-1], k.strides[-1], 0, 0, *none)),
        columns=Loop(columns, (y[-1], 0, 0, v.strides[-1], 0, *across)),
        starts=(q.start, k.start, v.start),
        scale=op.scale,
        masked=op.mask is not None,
        fill=op.fill,
        lanes=planner.machine.lanes("float32"),
        blocking=_blocking(count, keys, columns, planner.machine),
        root=tail.root,
    )
    masks = () if op.mask is None else (planner.slot(op.mask),)
    planner.finish(tail, "attention", kernel, (q.slot, k.slot, v.slot, *masks))
    if reader is not None:
        # The kernel wrote the transposed result; the plain one is for observers.
        planner.define(reader.result, planner.slot(op.result))
        plain = strided_copy(
            planner, planner.slot(op.result), op.result.tensor.dims, y, name="transpose"
        )
        planner.define(op.result, plain)


def _blocking(queries: int, keys: int, columns: int, machine: Machine) -> AttentionBlocking:
    product = multiply_add("float32", machine)
    span = keys if keys <= _ALL_KEYS else _KEYS
    most = max(1, min(_QUERIES, _SCRATCH // (4 * (span + columns))))
    scores = choose_blocking(min(queries, most), span, product, machine)
    blocks = -(-queries // most)
    each = -(-queries // blocks)
    each += -each % scores.tile
    sums = choose_blocking(min(each, queries), columns, product, machine)
    return AttentionBlocking(min(each, queries), span, scores, sums)


def _result(op: Attention, tail: Tail) -> tuple[Strides, Transpose | None]:
    """The strides of the result, and the transpose that is its only reader, if one is."""
    plain = contiguous(op.result.tensor.dims)
    if tail.value is not op.result or sum(op.result.uses.values()) != 1:
        return plain, None
    (reader,) = op.result.uses
    if not isinstance(reader, Transpose) or reader.perm[-1] != len(plain) - 1:
        return plain, None
    theirs = contiguous(reader.result.tensor.dims)
    return tuple(theirs[reader.perm.index(axis)] for axis in range(len(plain))), reader


def view_of(planner: Planner, value: Value) -> View:
    """A value where it lies before the moves that lead to it: copies that nobody else may need."""
    match value.op:
        case Transpose(x=x, perm=perm):
            inner = view_of(planner, x)
            return replace(inner, strides=tuple(inner.strides[axis] for axis in perm))
        case Slice(x=x, starts=starts) as op:
            inner = view_of(planner, x)
            steps = op.steps or (1,) * len(starts)
            moved = zip(starts, inner.strides, strict=True)
            return View(
                inner.slot,
                tuple(n * stride for n, stride in zip(steps, inner.strides, strict=True)),
                inner.start + sum(first * stride for first, stride in moved),
            )
        case Reshape(x=x) if _longer(x) == _longer(value):
            # Axes of extent 1 come and go.
            inner = view_of(planner, x)
            dims = zip(x.tensor.dims, inner.strides, strict=True)
            kept = iter([stride for extent, stride in dims if extent != 1])
            strides = tuple(0 if extent == 1 else next(kept) for extent in value.tensor.dims)
            return replace(inner, strides=strides)
        case _:
            return _stored(planner, value)


def _longer(value: Value) -> list[int]:
    """The extents that are not 1."""
    return [extent for extent in value.tensor.dims if extent != 1]


def _stored(planner: Planner, value: Value) -> View:
    return View(planner.slot(value), contiguous(value.tensor.dims))


def _side_by_side(planner: Planner, view: View, value: Value, axis: int) -> View:
    """The view, or a copy of it where neighbours along an axis lie side by side."""
    shape = value.tensor.dims
    if view.strides[axis] == 1 or shape[axis] == 1:
        return view
    order = [n for n in range(len(shape)) if n != len(shape) + axis]
    order.append(len(shape) + axis)
    packed = contiguous(tuple(shape[n] for n in order))
    theirs = tuple(view.strides[n] for n in order)
    slot = strided_copy(
        planner, view.slot, tuple(shape[n] for n in order), theirs, view.start, name="pack"
    )
    return View(slot, tuple(packed[order.index(n)] for n in range(len(shape))))
