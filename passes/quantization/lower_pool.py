"""Average pooling on integers."""

import numpy as np

from mcc.ir import Because, Value, constant
from mcc.ops import AvgPool, Quantize, ReduceMean, Requantize, Reshape, SumPool, global_kernel

from .chain import activation, noted
from .encoding import Encoding
from .roles import averaged_count


def lower_mean(op: Quantize, result: Encoding) -> Value | Because | None:
    """quantize(avg_pool(dequantize(x))) -> requantize(sum_pool(x)).

    The multiplier is float32(s_x / (n * s_y)).
    """
    mean = op.x.op
    if not isinstance(mean, AvgPool | ReduceMean):
        return None
    found = activation(mean.x)
    if found is None:
        return Because("its input is no dequantized integers")
    count = averaged_count(mean)
    if count is None:
        return Because("its windows average over different numbers of elements")
    x, encoding = found
    if count * 255 >= 2**31:
        return Because(f"a sum of {count} integers can pass 32 bits")
    name = op.result.name
    if isinstance(mean, AvgPool):
        total = SumPool(
            x,
            mean.kernel,
            strides=mean.strides,
            pads=mean.pads,
            dilations=mean.dilations,
            ceil=mean.ceil,
            layout=mean.layout,
            zero=encoding.zero,
        )
    else:
        total = SumPool(x, global_kernel(x), zero=encoding.zero)
    total.named(f"{name}.acc", mean.nodes)
    multiplier = np.float32(encoding.scale / (count * result.scale))
    y = Requantize(
        total.result,
        constant(np.asarray(multiplier), f"{name}.multiplier").result,
        zero=result.zero,
        dtype=result.dtype,
        lo=result.dtype.limits[0],
        hi=result.dtype.limits[1],
    ).named(name)
    if isinstance(mean, AvgPool) or mean.keepdims:
        return noted(y.result, result)
    pooled = noted(y.named(f"{name}.pooled").result, result)
    return noted(Reshape(pooled, op.result.tensor.dims).named(name).result, result)
