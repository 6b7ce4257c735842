"""Empirical bias correction: each product's mean on samples is brought back to float's.

Nagel et al. 2019, «Data-free quantization», appendix D. Products are corrected in order, each on
inputs that come from products corrected before it, so that shifts by clipping and rounding do not
add up.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mcc.ir import (
    Array,
    Kind,
    Module,
    Op,
    Rewriter,
    Value,
    Yield,
    constant,
    constant_of,
    evaluate,
)
from mcc.ops import Add, Conv, Dequantize, Matmul, clamp

from .clone import with_operands
from .overflow import accumulator_bounds
from .products import rows_of
from .ranges import Feeds
from .residual import factors
from .scheme import BIAS_LIMIT, Scheme

MEMORY = 2**28
"""Bytes that the samples' activations may take together."""

MOST_SAMPLES = 64

LEAST_ELEMENTS = 1024
"""A mean over fewer elements of a channel is too uncertain to correct anything by it."""


def correction_samples(module: Module) -> int:
    """How many samples' activations fit into `MEMORY` at once, at most `MOST_SAMPLES`."""
    largest = max((value.tensor.nbytes for op in module.body for value in op.results), default=1)
    return max(1, min(MOST_SAMPLES, MEMORY // (4 * max(largest, 1))))


def correct_biases(module: Module, form: Module, samples: Sequence[Feeds], scheme: Scheme) -> int:
    """Correct the biases of a quantize/dequantize form in place; returns how many changed.

    Args:
        module: The float module that `form` was made from.
        form: Its quantize/dequantize form; products keep their names.
        samples: Feeds; the activations of all are in memory at once (see `correction_samples`).
        scheme: Its limit of accumulators still holds afterwards.
    """
    wanted = _float_means(module, samples)
    changed: dict[Value, Array] = {}
    shared: dict[Value, Array] = {}
    scopes: list[dict[Value, Array]] = [
        {value: np.asarray(feeds[value.name]) for value in form.inputs} for feeds in samples
    ]
    last_use = {value: op for op in form.body for value in op.operands}
    for op in form.body:
        if isinstance(op, Yield):
            break
        if all(value in shared for value in op.operands):
            _store(op, shared, shared)
            continue
        mean = wanted.get(op.result.name)
        if isinstance(op, Conv | Matmul) and mean is not None and op.b is not None:
            bias = _corrected(op, mean, scopes, shared, scheme)
            if bias is not None:
                changed[op.b] = bias
        else:
            for scope in scopes:
                _store(op, scope, shared)
        for value in op.operands:
            if last_use[value] is op:
                for scope in scopes:
                    scope.pop(value, None)
    rewriter = Rewriter(form)
    for value, bias in changed.items():
        assert isinstance(value.op, Dequantize)
        old = value.op.x
        assert old.op is not None
        rewriter.replace(old.op, constant(bias, old.name).result)
    return len(changed)


def _float_means(module: Module, samples: Iterable[Feeds]) -> dict[str, Array]:
    """For each product and addition, the mean of each channel before its clamp, by name."""
    totals: dict[str, Array] = {}
    count = 0

    def record(op: Conv | Matmul | Add, *operands: Array | None) -> Array:
        y = _unclamped(op)(*operands)
        if y.ndim > 1:
            totals[op.result.name] = totals.get(op.result.name, 0.0) + _means(op, y)
        return clamp(y, op.lo, op.hi)

    for feeds in samples:
        evaluate(module, feeds, handlers={Conv: record, Matmul: record, Add: record})
        count += 1
    return {name: total / count for name, total in totals.items()}


def _corrected(
    op: Conv | Matmul,
    wanted: Array,
    scopes: list[dict[Value, Array]],
    shared: dict[Value, Array],
    scheme: Scheme,
) -> Array | None:
    """Evaluate a product on all samples with its bias corrected; the new bias where it changes."""
    compute = _unclamped(op)
    sums = [compute(*_arguments(op, scope, shared)) for scope in scopes]
    shift = wanted - sum(_means(op, y) for y in sums) / len(sums)
    enough = sum(y.size for y in sums) >= LEAST_ELEMENTS * len(shift)
    bias, step = (_new_bias(op, shift, scheme) if enough else None) or (None, np.zeros_like(shift))
    column = [1] * sums[0].ndim
    column[1 if isinstance(op, Conv) else -1] = -1
    for scope, y in zip(scopes, sums, strict=True):
        scope[op.result] = clamp(y + step.reshape(column).astype(y.dtype), op.lo, op.hi)
    return bias


def _new_bias(op: Conv | Matmul, shift: Array, scheme: Scheme) -> tuple[Array, Array] | None:
    """The bias in integers after a shift, and what that is in real numbers."""
    b, w, x = (v.op if v is not None else None for v in (op.b, op.w, op.x))
    if not (isinstance(b, Dequantize) and isinstance(w, Dequantize) and isinstance(x, Dequantize)):
        return None
    old, unit, weights = constant_of(b.x), constant_of(b.scale), constant_of(w.x)
    zero = constant_of(x.zero)
    if old is None or unit is None or weights is None or zero is None:
        return None
    steps = np.rint(shift / unit)
    bias = np.clip(old + steps, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int64)
    k, residual = None, (0, 0, 0)
    if op.r is not None and isinstance(op.r.op, Dequantize):
        s_r, z_r = constant_of(op.r.op.scale), constant_of(op.r.op.zero)
        if s_r is None or z_r is None:
            return None
        k, residual = factors(unit, float(s_r)), (-128, 127, int(z_r))
    rows = rows_of(op, weights)
    ends = (*x.x.tensor.dtype.limits, int(zero))
    if accumulator_bounds(rows, ends, bias, k, residual).summary[2] >= scheme.accumulator_limit:
        return None
    change: Array = ((bias - old) * unit).astype(np.float32)
    return bias.astype(np.int32), change


def _means(op: Op, y: Array) -> Array:
    axis = y.ndim - 1 if isinstance(op, Matmul) else 1
    found: Array = y.mean(tuple(i for i in range(y.ndim) if i != axis), dtype=np.float64)
    return found


def _unclamped(op: Conv | Matmul | Add) -> Callable[..., Array]:
    """The evaluation of an op like this one without bounds."""
    bare = with_operands(op, {value: value for value in op.operands}, lo=-np.inf, hi=np.inf)
    compute: Callable[..., Array] = bare.__getattribute__("evaluate")
    return compute


def _store(op: Op, scope: dict[Value, Array], shared: dict[Value, Array]) -> None:
    compute: Callable[..., Array | tuple[Array, ...]] = op.__getattribute__("evaluate")
    with np.errstate(all="ignore"):
        found = compute(*_arguments(op, scope, shared))
    results = found if isinstance(found, tuple) else (found,)
    for value, array in zip(op.results, results, strict=True):
        scope[value] = np.asarray(array, value.tensor.dtype.numpy)


def _arguments(op: Op, scope: dict[Value, Array], shared: dict[Value, Array]) -> list[object]:
    """The arrays of an op's operands, in the order that its `evaluate` takes."""

    def array(value: Value) -> Array:
        return shared[value] if value in shared else scope[value]

    arguments: list[object] = []
    for field in op.spec_fields:
        item: Value | None = op.__dict__[field.name] if field.kind is not Kind.VARIADIC else None
        match field.kind:
            case Kind.OPERAND | Kind.OPTIONAL:
                arguments.append(None if item is None else array(item))
            case Kind.VARIADIC:
                several: tuple[Value, ...] = op.__dict__[field.name]
                arguments.append(tuple(array(value) for value in several))
            case _:
                pass
    return arguments
