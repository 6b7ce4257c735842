"""Calls of `kernels/recurrent.c`, in float32."""

from typing import get_args

import mcc.ops as ops
from mcc.ir import DType, Value
from mcc.ops import Recurrent, Squash

from .host import HostCode, lower

_NUMBERS = {name: number for number, name in enumerate(get_args(Squash))}
"""Those of `enum mcc_squash`."""


@lower.register
def _(op: ops.Lstm, code: HostCode) -> list[str]:
    fields = _fields(op, code, op.reverse, op.clip)
    parameters = code.struct("mcc_recurrent", **fields, **_names(op.gate, op.cell, op.output))
    return _call(op, code, parameters, op.h, op.c, op.p, op.lengths)


@lower.register
def _(op: ops.Gru, code: HostCode) -> list[str]:
    fields = _fields(op, code, op.reverse, op.clip)
    parameters = code.struct("mcc_recurrent", **fields, **_names(op.gate, op.cell))
    room = code.room("float", op.r.tensor.dims[0]) if op.b is None else "0"
    return _call(op, code, parameters, op.h, op.b, op.lengths, extra=(room,))


@lower.register
def _(op: ops.Rnn, code: HostCode) -> list[str]:
    fields = _fields(op, code, op.reverse, op.clip)
    parameters = code.struct("mcc_recurrent", **fields, **_names("sigmoid", op.cell))
    return _call(op, code, parameters, op.h, op.lengths)


def _fields(op: Recurrent, code: HostCode, reverse: bool, clip: float) -> dict[str, object]:
    dtype = op.x.tensor.dtype
    if dtype is not DType.F32:
        raise code.refused(op, f"its kernel has no version for {dtype}")
    steps, batch, _ = op.x.tensor.dims
    sizes = {"steps": steps, "batch": batch, "hidden": op.r.tensor.dims[0]}
    return {**sizes, "reverse": int(reverse), "clip": float(clip)}


def _names(gate: str, cell: str, output: str = "tanh") -> dict[str, object]:
    return {"gate": _NUMBERS[gate], "cell": _NUMBERS[cell], "output": _NUMBERS[output]}


def _call(
    op: Recurrent,
    code: HostCode,
    parameters: str,
    *others: Value | None,
    extra: tuple[str, ...] = (),
) -> list[str]:
    code.files.add("math")
    given = [code.typed(op.x), code.typed(op.r), *(code.maybe(value) for value in others)]
    y = code.typed(op.result)
    return code.kernel("recurrent", f"mcc_{op.op_name}", parameters, *given, *extra, y)
