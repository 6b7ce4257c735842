"""From a float module to its quantize/dequantize form."""

import math
from collections.abc import Mapping

import numpy as np

from mcc.ir import (
    Array,
    Constant,
    Module,
    Op,
    RewriteReport,
    Value,
    Yield,
    constant,
    constant_of,
)
from mcc.ops import Add, Conv, Dequantize, Matmul, Quantize

from .clone import Unique, empty_like, with_operands
from .encoding import Encoding
from .encodings import Encodings
from .products import Product, fit_product, rows_of
from .ranges import Ranges
from .residual import Accumulated, plan_residuals
from .roles import Role, Roles
from .scheme import Scheme
from .weights import Weights, accumulator_scale, largest


def insert_quantization(
    module: Module, ranges: Ranges, scheme: Scheme, report: RewriteReport | None = None
) -> Module:
    """The quantize/dequantize form of a float module, as a new module.

    A quantized tensor of the value T is called `T.q`. Ops that stay float are reported with the
    reason.

    Args:
        module: A module as `prepared` returns it.
        ranges: What `collect_ranges` found on that module.
        scheme: The choices.
        report: Receives what was quantized, and why the rest was not.

    Raises:
        UserError: If `ranges` lacks a value, or an accumulator cannot be kept from overflowing.
    """
    report = report if report is not None else RewriteReport()
    roles = Roles(module, scheme)
    declined = list(roles.declined)
    encodings = Encodings(roles, ranges, scheme)
    peaks: dict[Op, Array] = {
        op: _peak(op, scheme)
        for op, role in roles.of.items()
        if role is Role.PRODUCT and isinstance(op, Conv | Matmul) and constant_of(op.w) is not None
    }
    sums = plan_residuals(roles, encodings, scheme, peaks, declined)
    builder = _Builder(module, roles, encodings, ranges, scheme, peaks, sums)
    fresh = builder.build()
    report.fired.update(role.name.lower() for role in roles.of.values())
    report.fired.update("residual-accumulated" for _ in sums)
    report.declined.extend(("quantize", op, reason) for op, reason in declined)
    return fresh


def _peak(op: Conv | Matmul, scheme: Scheme) -> Array:
    array = constant_of(op.w)
    assert array is not None
    return largest(
        rows_of(op, array),
        per_channel=scheme.weights == "per_channel",
        clip=scheme.weights == "per_tensor" or scheme.weight_bits < 8,
        most=_most(op, scheme),
    )


def _most(op: Conv | Matmul, scheme: Scheme) -> int:
    """The largest weight of a product.

    Where its result may meet a residual in the accumulator, weights keep 8 bits: the residual
    enters in whole units of the accumulator, which four bits make coarser than most residuals are.
    """
    meets = scheme.residual == "accumulate" and any(isinstance(u, Add) for u in op.result.uses)
    return 127 if meets else (1 << (scheme.weight_bits - 1)) - 1


class _Builder:
    """Copies a module op by op; every value has a real form, and where encoded an integer form."""

    def __init__(
        self,
        module: Module,
        roles: Roles,
        encodings: Encodings,
        ranges: Ranges,
        scheme: Scheme,
        peaks: Mapping[Op, Array],
        sums: Mapping[Op, Accumulated],
    ) -> None:
        self.old = module
        self.roles = roles
        self.encodings = encodings
        self.ranges = ranges
        self.scheme = scheme
        self.peaks = peaks
        self.sums = sums
        self.delayed = {plan.product for plan in sums.values()}
        self.new, self.plain = empty_like(module)
        """`plain`: the float value of an old value, before it is rounded to integers."""
        self.rounded: dict[Value, Value] = {}
        """The dequantized value of an old value's integers."""
        self.names = Unique()

    def build(self) -> Module:
        for value in self.old.values():
            self.names.take(value.name)
        for value in self.old.inputs:
            self._round(value)
        for op in self.old.body:
            if isinstance(op, Yield):
                self._append(Yield(tuple(self._float(value) for value in op.values)))
            elif op not in self.delayed and not isinstance(op, Constant):
                self._copy(op)
        return self.new

    def _append(self, op: Op) -> Op:
        return self.new.body.append(op)

    def _copy(self, op: Op) -> None:
        role = self.roles.of.get(op)
        if op in self.sums:
            fresh = self._product(self.sums[op].product, op)
        elif isinstance(op, Conv | Matmul) and op in self.peaks:
            fresh = self._product(op, None)
        elif role is None:
            fresh = with_operands(op, {value: self._float(value) for value in op.operands})
        else:
            mapping = {value: self._real(value) for value in op.operands}
            fresh = with_operands(op, mapping, **self._clamp(op))
        self._append(fresh)
        for old, new in zip(op.results, fresh.results, strict=True):
            self.plain[old] = new
            self._round(old)

    def _float(self, value: Value) -> Value:
        """What a float op reads: the float value itself where a float op makes it."""
        self._define(value)
        return self.rounded[value] if self.roles.is_integer(value) else self.plain[value]

    def _real(self, value: Value) -> Value:
        """What an integer op reads: dequantized integers where the value has some."""
        self._define(value)
        return self.rounded[value] if value in self.rounded else self.plain[value]

    def _define(self, value: Value) -> None:
        """Copy a constant where it is first read; one that integers replace is never."""
        if value in self.plain or value in self.rounded:
            return
        assert isinstance(value.op, Constant)
        if value in self.encodings:
            self._round(value)
        else:
            self.plain[value] = self._append(with_operands(value.op, {})).result

    def _round(self, value: Value) -> None:
        """Quantize and dequantize an encoded value, just after it is made."""
        if value not in self.encodings:
            return
        encoding = self.encodings[value]
        name = self.names.take(f"{value.name}.q")
        nodes = value.op.nodes if value.op is not None else ()
        scale, zero = self._parameters(name, encoding)
        array = constant_of(value)
        if array is not None:
            integers = self._append(constant(encoding.array(array), name)).result
        else:
            op = Quantize(self.plain[value], scale, zero).named(name, nodes)
            integers = self._append(op).result
        integers.quant = encoding.quant
        self.rounded[value] = self._dequantize(integers, scale, zero, 1, value.name, nodes)

    def _parameters(self, name: str, encoding: Encoding) -> tuple[Value, Value]:
        scale = np.asarray(encoding.scale, np.float32)
        zero = np.asarray(encoding.zero, encoding.dtype.numpy)
        return (
            self._append(constant(scale, self.names.take(f"{name}.scale"))).result,
            self._append(constant(zero, self.names.take(f"{name}.zero"))).result,
        )

    def _dequantize(
        self,
        integers: Value,
        scale: Value,
        zero: Value,
        axis: int,
        name: str,
        nodes: tuple[str, ...] = (),
    ) -> Value:
        op = Dequantize(integers, scale, zero, axis=axis)
        return self._append(op.named(self.names.take(f"{name}.dq"), nodes)).result

    def _clamp(self, op: Op) -> dict[str, object]:
        """The op's bounds, without those that saturation to 8 bits keeps anyway.

        A relu whose zero is the smallest integer is such a bound. onnxruntime then sees convolution
        and quantization side by side, and computes on integers too.
        """
        if not isinstance(op, Add | Conv | Matmul) or op.result not in self.encodings:
            return {}
        encoding = self.encodings[op.result]
        low, high = encoding.dtype.limits
        return {
            "lo": -math.inf if encoding.quantized(op.lo) == low else op.lo,
            "hi": math.inf if encoding.quantized(op.hi) == high else op.hi,
        }

    def _product(self, op: Conv | Matmul, addition: Op | None) -> Op:
        """A convolution or matrix product with integer weights.

        With `addition`, its residual and clamp too.
        """
        plan = self.sums[addition] if addition is not None else None
        fitted = self._fit(op, plan)
        changes: dict[str, object] = {
            "w": self._weights(op, fitted.weights),
            "b": self._bias(op, fitted),
        }
        head = addition if addition is not None else op
        if plan is not None:
            changes["r"] = self._real(plan.residual)
        changes |= self._clamp(head)
        fresh = with_operands(op, {op.x: self._real(op.x)}, **changes)
        nodes = (*op.nodes, *(head.nodes if head is not op else ()))
        return fresh.named(head.result.name, nodes)

    def _fit(self, op: Conv | Matmul, plan: Accumulated | None) -> Product:
        array = constant_of(op.w)
        assert array is not None
        return fit_product(
            op,
            rows_of(op, array),
            self.peaks[op],
            self.encodings[op.x],
            self.scheme,
            bias=constant_of(op.b),
            x_mean=self._mean(op),
            residual=self.encodings[plan.residual] if plan is not None else None,
            most=_most(op, self.scheme),
        )

    def _mean(self, op: Conv | Matmul) -> Array | None:
        """The input's mean for each weight, broadcastable to the weights' rows."""
        mean = np.asarray(self.ranges[op.x.name].mean if constant_of(op.x) is None else ())
        if not self.scheme.correct_bias or not mean.size:
            return None
        if isinstance(op, Matmul):
            return mean
        groups = np.repeat(mean.reshape(op.groups, -1), op.w.tensor.dims[0] // op.groups, axis=0)
        return groups.reshape(*groups.shape, *(1,) * (op.w.tensor.rank - 2))

    def _weights(self, op: Conv | Matmul, weights: Weights) -> Value:
        rows = weights.integers
        name = self.names.take(f"{op.w.name or op.result.name + '.w'}.q")
        axis = 0 if isinstance(op, Conv) else 1
        integers = self._append(constant(rows if isinstance(op, Conv) else rows.T, name)).result
        return self._constant_dequantize(integers, weights.scale, np.int8, axis, name)

    def _bias(self, op: Conv | Matmul, fitted: Product) -> Value | None:
        if fitted.bias is None:
            return None
        name = self.names.take(f"{op.b.name if op.b is not None else op.result.name + '.b'}.q")
        unit = accumulator_scale(self.encodings[op.x].scale, fitted.weights.scale)
        integers = self._append(constant(fitted.bias, name)).result
        return self._constant_dequantize(integers, unit, np.int32, 0, name)

    def _constant_dequantize(
        self, integers: Value, scale: Array, dtype: type[np.generic], axis: int, name: str
    ) -> Value:
        scales = self._append(constant(scale, self.names.take(f"{name}.scale"))).result
        zero = constant(np.zeros(scale.shape, dtype), self.names.take(f"{name}.zero"))
        return self._dequantize(integers, scales, self._append(zero).result, axis, name)
