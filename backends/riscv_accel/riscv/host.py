"""Host ops as calls of the C kernels in `kernels/`.

What an op's attributes and shapes say becomes a constant struct; values are pointers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, DType, Op, UserError, Value, constant_of
from mcc.ops import channel_axis, spatial_axes

from .literals import array_literal, float_literal, struct_literal
from .values import C_TYPES

BYTES = (DType.I8, DType.U8)
EXACT = (
    ops.Quantize,
    ops.Dequantize,
    ops.Requantize,
    ops.QAdd,
    ops.Lookup,
    ops.MaxPool,
    ops.SumPool,
    ops.Reshape,
    ops.Transpose,
    ops.Concat,
    ops.Slice,
    ops.Expand,
    ops.Pad,
    ops.Gather,
    ops.Relu,
    ops.Clip,
    ops.Neg,
    ops.Abs,
    ops.Add,
    ops.Sub,
    ops.Mul,
    ops.Div,
    ops.Minimum,
    ops.Maximum,
    ops.Reciprocal,
)
"""Ops whose kernel gives the bits of the definition; others are within 1e-5."""


@dataclass
class HostCode:
    """Collects the calls of a host part: statements, constant data, and which kernels they need."""

    place: Callable[[Value], str]
    data: list[str] = field(default_factory=list[str])
    files: set[str] = field(default_factory=set[str])
    shifts: bool = False
    """Requantize by shifts where the multiplier is a power of two: for a host without FPU."""

    @singledispatchmethod
    def call(self, op: Op) -> list[str]:
        """The statements that compute an op's results; `UserError` where there is no kernel."""
        raise self.refused(op, "no kernel for this op")

    def refused(self, op: Op, why: str) -> UserError:
        return UserError(
            f"{op.op_name} ({', '.join(str(value.type) for value in op.operands)}) cannot run on "
            f"the RISC-V host: {why}",
            where=", ".join(op.nodes) or op.results[0].name,
            remedy="docs/riscv.md lists the host's kernels; other ops must be folded away or moved "
            "off the model's ends",
        )

    def kernel(self, file: str, name: str, *arguments: object) -> list[str]:
        """A call of a kernel of `kernels/FILE.c`."""
        self.files.add(file)
        return [f"{name}({', '.join(map(str, arguments))});"]

    def struct(self, type: str, **fields: object) -> str:
        """The address of a constant struct."""
        name = f"p{len(self.data)}"
        self.data.append(f"static const struct {type} {name} = {struct_literal(fields)};")
        return f"&{name}"

    def array(self, array: Array, type: str) -> str:
        """The name of a constant array."""
        name = f"k{len(self.data)}"
        self.data.append(array_literal(f"static const {type} {name}", array))
        return name

    def typed(self, value: Value) -> str:
        """A pointer to a value's elements."""
        return f"({C_TYPES[value.tensor.dtype]} *){self.place(value)}"

    def maybe(self, value: Value | None) -> str:
        return "0" if value is None else self.typed(value)

    def only(self, op: Op, *dtypes: DType) -> None:
        """Refuse operands and results of other types."""
        for value in (*op.operands, *op.results):
            if value.tensor.dtype not in dtypes:
                raise self.refused(op, f"its kernel has no version for {value.tensor.dtype}")

    # Between float and integers.

    @call.register
    def _(self, op: ops.Quantize) -> list[str]:
        if op.zero.tensor.dtype not in BYTES:
            raise self.refused(op, f"its kernel quantizes to bytes, not {op.zero.tensor.dtype}")
        lo, hi = op.result.tensor.dtype.limits
        shift, zeros = _shift(constant_of(op.scale)), constant_of(op.zero)
        if self.shifts and shift is not None and zeros is not None:
            x, y = self.typed(op.x), f"(uint8_t *){self.place(op.result)}"
            limits = (int(zeros), lo, hi)
            return self.kernel(
                "edges", "mcc_quantize_shift", op.x.tensor.size, x, shift, *limits, y
            )
        scale, zero, spans = self._scale(op, op.x, op.scale, op.zero, op.axis)
        target = f"(uint8_t *){self.place(op.result)}"
        return self.kernel(
            "edges", "mcc_quantize", *spans, self.typed(op.x), scale, zero, lo, hi, target
        )

    @call.register
    def _(self, op: ops.Dequantize) -> list[str]:
        dtype = op.x.tensor.dtype
        scale, zero, spans = self._scale(op, op.x, op.scale, op.zero, op.axis)
        x, y = self.typed(op.x), self.typed(op.result)
        if dtype is DType.I32:
            return self.kernel("edges", "mcc_dequantize_i32", *spans, x, scale, zero, y)
        if dtype not in BYTES:
            raise self.refused(op, f"its kernel has no version for {dtype}")
        sign = int(dtype is DType.U8)
        return self.kernel("edges", "mcc_dequantize", *spans, x, sign, scale, zero, y)

    def _scale(
        self, op: Op, x: Value, scale: Value, zero: Value, axis: int
    ) -> tuple[str, str, tuple[int, int, int]]:
        scales, zeros = constant_of(scale), constant_of(zero)
        if scales is None or zeros is None:
            raise self.refused(op, "its scale is no constant")
        return (
            self.array(scales, "float"),
            self.array(zeros.astype(np.int32), "int32_t"),
            _spans(x, axis if scales.ndim else None),
        )

    @call.register
    def _(self, op: ops.Requantize) -> list[str]:
        if op.dtype not in BYTES:
            raise self.refused(op, f"its kernel gives bytes, not {op.dtype}")
        multiplier = constant_of(op.multiplier)
        if multiplier is None:
            raise self.refused(op, "its multiplier is no constant")
        target = f"(uint8_t *){self.place(op.result)}"
        limits = (op.zero, op.lo, op.hi)
        shift = _shift(multiplier)
        if self.shifts and shift is not None:
            size, x = op.x.tensor.size, self.typed(op.x)
            return self.kernel("edges", "mcc_requantize_shift", size, x, shift, *limits, target)
        spans = _spans(op.x, op.axis if multiplier.ndim else None)
        values = self.array(multiplier, "float")
        return self.kernel(
            "edges", "mcc_requantize", *spans, self.typed(op.x), values, *limits, target
        )

    @call.register
    def _(self, op: ops.QAdd) -> list[str]:
        if op.dtype not in BYTES:
            raise self.refused(op, f"its kernel gives bytes, not {op.dtype}")
        dims, left, right = _broadcast(op.a, op.b, op.result)
        parameters = self.struct(
            "mcc_qadd",
            dims=dims,
            a_strides=left,
            b_strides=right,
            rank=len(dims),
            a_unsigned=_unsigned(op.a),
            b_unsigned=_unsigned(op.b),
            a_scale=op.a_scale,
            b_scale=op.b_scale,
            a_zero=op.a_zero,
            b_zero=op.b_zero,
            zero=op.zero,
            lo=op.lo,
            hi=op.hi,
        )
        target = f"(uint8_t *){self.place(op.result)}"
        return self.kernel(
            "edges", "mcc_qadd", parameters, self.place(op.a), self.place(op.b), target
        )

    @call.register
    def _(self, op: ops.Lookup) -> list[str]:
        width = op.table.tensor.dtype.bits // 8
        return self.kernel(
            "edges",
            "mcc_lookup",
            op.x.tensor.size,
            self.place(op.x),
            _unsigned(op.x),
            f"(const uint8_t *){self.place(op.table)}",
            width,
            self.place(op.result),
        )

    # Products.

    @call.register
    def _(self, op: ops.Conv) -> list[str]:
        rank = op.x.tensor.rank - 2
        if rank > 3:
            raise self.refused(op, "its kernel has at most 3 spatial dimensions")
        strides, pads, dilations = op.geometry
        kernel = op.w.tensor.dims[2:]
        parameters = self.struct(
            "mcc_conv",
            batch=op.x.tensor.dims[0],
            groups=op.groups,
            in_per_group=op.w.tensor.dims[1],
            out_per_group=op.w.tensor.dims[0] // op.groups,
            kernel=_three(kernel, 1),
            stride=_three(strides, 1),
            pad=_three(pads[:rank], 0),
            dilation=_three(dilations, 1),
            **_images(op.x, op.result, op.layout),
            x_unsigned=_unsigned(op.x),
            w_unsigned=_unsigned(op.w),
            r_unsigned=_unsigned(op.r),
            pad_value=op.pad_value,
            **_clamps(op.lo, op.hi),
        )
        return self._product(op, "mcc_conv", parameters)

    @call.register
    def _(self, op: ops.Matmul) -> list[str]:
        x, w = op.x.tensor.dims, op.w.tensor.dims
        if len(x) < 2 or len(w) < 2:
            raise self.refused(op, "its kernel multiplies matrices, one operand is a vector")
        lead = op.result.tensor.dims[:-2]
        parameters = self.struct(
            "mcc_matmul",
            rank=len(lead),
            rows=x[-2],
            depth=x[-1],
            columns=w[-1],
            dims=lead,
            x_strides=_repeating(x[:-2], lead, x[-2] * x[-1]),
            w_strides=_repeating(w[:-2], lead, w[-2] * w[-1]),
            x_unsigned=_unsigned(op.x),
            w_unsigned=_unsigned(op.w),
            r_unsigned=_unsigned(op.r),
            **_clamps(op.lo, op.hi),
        )
        return self._product(op, "mcc_matmul", parameters)

    def _product(self, op: ops.Conv | ops.Matmul, name: str, parameters: str) -> list[str]:
        y = self.typed(op.result)
        b, r = self.maybe(op.b), self.maybe(op.r)
        if op.result.tensor.dtype is DType.F32:
            x, w = self.typed(op.x), self.typed(op.w)
            return self.kernel("linear", f"{name}_f32", parameters, x, w, b, r, y)
        if {op.x.tensor.dtype, op.w.tensor.dtype} - set(BYTES):
            raise self.refused(op, "its kernel multiplies bytes or float32")
        x, w, k = self.place(op.x), self.place(op.w), self.maybe(op.k)
        return self.kernel("linear", f"{name}_i32", parameters, x, w, b, r, k, y)

    # Pools.

    @call.register
    def _(self, op: ops.MaxPool) -> list[str]:
        x, y = self.typed(op.x), self.typed(op.result)
        if op.x.tensor.dtype is DType.F32:
            return self.kernel("pool", "mcc_max_pool_f32", self._pool(op), x, y)
        self.only(op, *BYTES)
        return self.kernel(
            "pool", "mcc_max_pool", self._pool(op), x, f"(uint8_t *){self.place(op.result)}"
        )

    @call.register
    def _(self, op: ops.SumPool) -> list[str]:
        parameters = self._pool(op, zero=op.zero)
        x, y = self.place(op.x), self.typed(op.result)
        return self.kernel("pool", "mcc_sum_pool", parameters, x, y)

    @call.register
    def _(self, op: ops.AvgPool) -> list[str]:
        self.only(op, DType.F32)
        parameters = self._pool(op, include_pad=int(op.include_pad))
        return self.kernel(
            "pool", "mcc_avg_pool", parameters, self.typed(op.x), self.typed(op.result)
        )

    def _pool(
        self, op: ops.MaxPool | ops.SumPool | ops.AvgPool, zero: int = 0, include_pad: int = 0
    ) -> str:
        rank = len(op.kernel)
        if rank > 3:
            raise self.refused(op, "its kernel has at most 3 spatial dimensions")
        strides, pads, dilations = op.geometry
        return self.struct(
            "mcc_pool",
            batch=op.x.tensor.dims[0],
            channels=op.x.tensor.dims[channel_axis(op.layout, rank + 2)],
            kernel=_three(op.kernel, 1),
            stride=_three(strides, 1),
            pad=_three(pads[:rank], 0),
            pad_end=_three(pads[rank:], 0),
            dilation=_three(dilations, 1),
            **_images(op.x, op.result, op.layout),
            x_unsigned=_unsigned(op.x),
            zero=zero,
            include_pad=include_pad,
        )

    # Movement.

    @call.register
    def _(self, op: ops.Reshape) -> list[str]:
        return []  # the same bytes

    @call.register
    def _(self, op: ops.Transpose) -> list[str]:
        strides = _strides(op.x.tensor.dims)
        turned = [strides[axis] for axis in op.perm]
        return self._copy(op, op.x, op.result.tensor.dims, turned)

    @call.register
    def _(self, op: ops.Slice) -> list[str]:
        steps = op.steps or (1,) * op.x.tensor.rank
        strides = _strides(op.x.tensor.dims)
        start = sum(s * first for s, first in zip(strides, op.starts, strict=True))
        moving = [s * step for s, step in zip(strides, steps, strict=True)]
        return self._copy(op, op.x, op.result.tensor.dims, moving, start)

    @call.register
    def _(self, op: ops.Expand) -> list[str]:
        dims = op.result.tensor.dims
        return self._copy(op, op.x, dims, _repeating_strides(op.x.tensor.dims, dims))

    @call.register
    def _(self, op: ops.Concat) -> list[str]:
        strides = _strides(op.result.tensor.dims)
        lines: list[str] = []
        start = 0
        for value in op.xs:
            dims = value.tensor.dims
            lines += self._copy(op, value, dims, _strides(dims), 0, strides, start)
            start += dims[op.axis] * strides[op.axis]
        return lines

    @call.register
    def _(self, op: ops.Pad) -> list[str]:
        if op.mode != "constant":
            raise self.refused(op, f"its kernel pads with a constant, not with mode {op.mode}")
        dims, rank = op.x.tensor.dims, op.x.tensor.rank
        before, after = op.pads[:rank], op.pads[rank:]
        kept = [
            size + min(b, 0) + min(a, 0) for size, b, a in zip(dims, before, after, strict=True)
        ]
        strides, wide = _strides(dims), _strides(op.result.tensor.dims)
        start = sum(s * max(0, -b) for s, b in zip(strides, before, strict=True))
        target = sum(s * max(0, b) for s, b in zip(wide, before, strict=True))
        value = np.asarray(op.value).astype(op.x.tensor.dtype.numpy).reshape(1)
        size, place = op.result.tensor.size, self.place(op.result)
        if value.itemsize == 1:
            byte = int(value.view(np.uint8)[0])
            fill = self.kernel("movement", "mcc_set", size, byte, place)
        else:
            border = self.array(np.frombuffer(value.tobytes(), np.uint8), "uint8_t")
            fill = self.kernel("movement", "mcc_fill", size, value.itemsize, border, place)
        return fill + self._copy(op, op.x, kept, strides, start, wide, target)

    @call.register
    def _(self, op: ops.Gather) -> list[str]:
        dims = op.x.tensor.dims
        outer = int(np.prod(dims[: op.axis]))
        inner = int(np.prod(dims[op.axis + 1 :])) * (op.x.tensor.dtype.bits // 8)
        wide = int(op.indices.tensor.dtype is DType.I64)
        return self.kernel(
            "movement",
            "mcc_gather",
            outer,
            dims[op.axis],
            op.indices.tensor.size,
            inner,
            self.place(op.x),
            self.place(op.indices),
            wide,
            self.place(op.result),
        )

    def _copy(
        self,
        op: Op,
        x: Value,
        dims: Sequence[int],
        strides: Sequence[int],
        start: int = 0,
        to: Sequence[int] | None = None,
        to_start: int = 0,
    ) -> list[str]:
        dtype = x.tensor.dtype
        if dtype not in C_TYPES:
            raise self.refused(op, f"its kernel has no version for {dtype}")
        parameters = self.struct(
            "mcc_copy",
            **{"dims": tuple(dims), "from": tuple(strides), "to": tuple(to or _strides(dims))},
            rank=len(dims),
            width=dtype.bits // 8 or 1,
            from_start=start,
            to_start=to_start,
        )
        return self.kernel(
            "movement", "mcc_copy", parameters, self.place(x), self.place(op.results[0])
        )

    # Element by element, in float32.

    def _map(self, op: Op, name: str, *arguments: object) -> list[str]:
        self.only(op, DType.F32)
        (x,) = op.operands
        size = x.tensor.size
        return self.kernel(
            "elementwise", name, size, *arguments, self.typed(x), self.typed(op.results[0])
        )

    def _function(self, op: Op, name: str) -> list[str]:
        self.files.add("math")
        return self._map(op, "mcc_map", name)

    @call.register
    def _(self, op: ops.Neg) -> list[str]:
        return self._map(op, "mcc_neg")

    @call.register
    def _(self, op: ops.Abs) -> list[str]:
        return self._map(op, "mcc_abs")

    @call.register
    def _(self, op: ops.Reciprocal) -> list[str]:
        return self._map(op, "mcc_reciprocal")

    @call.register
    def _(self, op: ops.LeakyRelu) -> list[str]:
        return self._map(op, "mcc_leaky_relu", float_literal(op.alpha))

    @call.register
    def _(self, op: ops.Relu) -> list[str]:
        return self._map(op, "mcc_clip", "0.0f", float_literal(np.inf))

    @call.register
    def _(self, op: ops.Clip) -> list[str]:
        return self._map(op, "mcc_clip", float_literal(op.lo), float_literal(op.hi))

    @call.register
    def _(self, op: ops.Exp) -> list[str]:
        return self._function(op, "mcc_exp")

    @call.register
    def _(self, op: ops.Log) -> list[str]:
        return self._function(op, "mcc_log")

    @call.register
    def _(self, op: ops.Sqrt) -> list[str]:
        return self._function(op, "mcc_sqrt")

    @call.register
    def _(self, op: ops.Tanh) -> list[str]:
        return self._function(op, "mcc_tanh")

    @call.register
    def _(self, op: ops.Sigmoid) -> list[str]:
        return self._function(op, "mcc_sigmoid")

    @call.register
    def _(self, op: ops.Erf) -> list[str]:
        return self._function(op, "mcc_erf")

    def _binary(
        self, op: Op, name: str, a: Value, b: Value, lo: float = -np.inf, hi: float = np.inf
    ) -> list[str]:
        self.only(op, DType.F32)
        dims, left, right = _broadcast(a, b, op.results[0])
        parameters = self.struct(
            "mcc_binary", dims=dims, a_strides=left, b_strides=right, rank=len(dims), lo=lo, hi=hi
        )
        x, w, y = self.typed(a), self.typed(b), self.typed(op.results[0])
        return self.kernel("elementwise", name, parameters, x, w, y)

    @call.register
    def _(self, op: ops.Add) -> list[str]:
        return self._binary(op, "mcc_add", op.a, op.b, op.lo, op.hi)

    @call.register
    def _(self, op: ops.Sub) -> list[str]:
        return self._binary(op, "mcc_sub", op.a, op.b)

    @call.register
    def _(self, op: ops.Mul) -> list[str]:
        return self._binary(op, "mcc_mul", op.a, op.b)

    @call.register
    def _(self, op: ops.Div) -> list[str]:
        return self._binary(op, "mcc_div", op.a, op.b)

    @call.register
    def _(self, op: ops.Minimum) -> list[str]:
        return self._binary(op, "mcc_min", op.a, op.b)

    @call.register
    def _(self, op: ops.Maximum) -> list[str]:
        return self._binary(op, "mcc_max", op.a, op.b)

    # Reductions and normalizations.

    @call.register
    def _(self, op: ops.Softmax) -> list[str]:
        self.only(op, DType.F32)
        self.files.add("math")
        spans = _spans(op.x, op.axis)
        return self.kernel("reduce", "mcc_softmax", *spans, self.typed(op.x), self.typed(op.result))

    def _reduce(self, op: ops.ReduceSum | ops.ReduceMean | ops.ReduceMax, name: str) -> list[str]:
        self.only(op, DType.F32)
        self.files.add("math")
        dims = op.x.tensor.dims
        if op.x.tensor.size == 0:
            raise self.refused(op, "its kernel needs at least one element")
        strides = _strides(dims)
        kept = [axis for axis in range(len(dims)) if axis not in op.axes]
        parameters = self.struct(
            "mcc_reduce",
            kept=[dims[axis] for axis in kept],
            kept_strides=[strides[axis] for axis in kept],
            folded=[dims[axis] for axis in op.axes],
            folded_strides=[strides[axis] for axis in op.axes],
            kept_rank=len(kept),
            folded_rank=len(op.axes),
        )
        count: tuple[int, ...] = ()
        if not isinstance(op, ops.ReduceMax):
            mean = isinstance(op, ops.ReduceMean)
            count = (int(np.prod([dims[axis] for axis in op.axes])) if mean else 0,)
        return self.kernel(
            "reduce", name, parameters, *count, self.typed(op.x), self.typed(op.result)
        )

    @call.register
    def _(self, op: ops.ReduceSum) -> list[str]:
        return self._reduce(op, "mcc_reduce_sum")

    @call.register
    def _(self, op: ops.ReduceMean) -> list[str]:
        return self._reduce(op, "mcc_reduce_sum")

    @call.register
    def _(self, op: ops.ReduceMax) -> list[str]:
        return self._reduce(op, "mcc_reduce_max")

    @call.register
    def _(self, op: ops.BatchNorm) -> list[str]:
        self.only(op, DType.F32)
        self.files.add("math")
        spans = _spans(op.x, 1)
        sides = [self.typed(value) for value in (op.scale, op.bias, op.mean, op.var)]
        epsilon = float_literal(op.epsilon)
        x, y = self.typed(op.x), self.typed(op.result)
        return self.kernel("reduce", "mcc_batch_norm", *spans, epsilon, x, *sides, y)

    @call.register
    def _(self, op: ops.LayerNorm) -> list[str]:
        self.only(op, DType.F32)
        self.files.add("math")
        dims = op.x.tensor.dims
        for value in (op.scale, op.bias):
            if value is not None and value.tensor.dims != dims[op.axis :]:
                raise self.refused(op, "its kernel wants one scale and bias for each element")
        outer, count = int(np.prod(dims[: op.axis])), int(np.prod(dims[op.axis :]))
        sides = (self.typed(op.scale), self.maybe(op.bias))
        epsilon = float_literal(op.epsilon)
        x, y = self.typed(op.x), self.typed(op.result)
        return self.kernel("reduce", "mcc_layer_norm", outer, count, epsilon, x, *sides, y)


def _shift(scale: Array | None) -> int | None:
    """The n of a scalar that is exactly 2^-n."""
    if scale is None or scale.ndim:
        return None
    mantissa, exponent = np.frexp(scale)
    return 1 - int(exponent) if mantissa == 0.5 else None


def _unsigned(value: Value | None) -> int:
    return int(value is not None and value.tensor.dtype is DType.U8)


def _spans(x: Value, axis: int | None) -> tuple[int, int, int]:
    """Elements before an axis, along it and behind it; one span of all without an axis."""
    dims = x.tensor.dims
    if axis is None:
        return 1, 1, x.tensor.size
    return int(np.prod(dims[:axis])), dims[axis], int(np.prod(dims[axis + 1 :]))


def _strides(dims: Sequence[int]) -> tuple[int, ...]:
    """Of a dense array, in elements."""
    strides = [1] * len(dims)
    for axis in range(len(dims) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * dims[axis + 1]
    return tuple(strides)


def _repeating_strides(dims: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """Strides that read an array of `dims` as one of `target`, by numpy's rule."""
    own = [0 if size == 1 else step for size, step in zip(dims, _strides(dims), strict=True)]
    return (0,) * (len(target) - len(dims)) + tuple(own)


def _repeating(lead: Sequence[int], target: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(step * size for step in _repeating_strides(lead, target))


def _broadcast(
    a: Value, b: Value, y: Value
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The result's dimensions with both operands' strides; one dimension where all are dense."""
    dims = y.tensor.dims
    if a.tensor.dims == b.tensor.dims == dims:
        return (y.tensor.size,), (1,), (1,)
    return (
        dims,
        _repeating_strides(a.tensor.dims, dims),
        _repeating_strides(b.tensor.dims, dims),
    )


def _three(numbers: Sequence[int], default: int) -> tuple[int, ...]:
    """Up to three spatial numbers, the missing first ones filled in."""
    return (default,) * (3 - len(numbers)) + tuple(numbers)


def _images(x: Value, y: Value, layout: str) -> dict[str, object]:
    """Spatial sizes and strides of x and y."""
    found: dict[str, object] = {}
    axes = spatial_axes(layout, x.tensor.rank)
    channel = channel_axis(layout, x.tensor.rank)
    for name, value, sizes in (("x", x, "in"), ("y", y, "out")):
        dims, strides = value.tensor.dims, _strides(value.tensor.dims)
        found[sizes] = _three([dims[axis] for axis in axes], 1)
        found[f"{name}_batch"] = strides[0]
        found[f"{name}_channel"] = strides[channel]
        found[f"{name}_space"] = _three([strides[axis] for axis in axes], 0)
    return found


def _clamps(lo: float, hi: float) -> dict[str, object]:
    """Bounds for both kinds of arithmetic."""
    least, most = DType.I32.limits
    return {
        "lo": int(np.ceil(max(lo, least))),
        "hi": int(np.floor(min(hi, most))),
        "lo_float": float(lo),
        "hi_float": float(hi),
    }
