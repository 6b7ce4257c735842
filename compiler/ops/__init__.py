"""The ops, each defined once: operands and attributes, shape rule, meaning."""

from mcc.ir import Constant, Yield, constant, constant_of

from .binary import (
    Add,
    And,
    Binary,
    Comparison,
    Div,
    Equal,
    Greater,
    Less,
    Maximum,
    Minimum,
    Mul,
    Or,
    Pow,
    Sub,
    Where,
)
from .linear import Conv, Matmul
from .pool import AvgPool, MaxPool, Pool, SumPool, global_kernel
from .quantized import (
    Dequantize,
    Lookup,
    QAdd,
    Quantize,
    Requantize,
    quantize_array,
    saturate,
    table_of,
)
from .reduce import BatchNorm, LayerNorm, Reduce, ReduceMax, ReduceMean, ReduceSum, Softmax
from .shape import Concat, Expand, Gather, Pad, Reshape, Slice, Transpose
from .unary import (
    Abs,
    Cast,
    Clip,
    Erf,
    Exp,
    FloatUnary,
    LeakyRelu,
    Log,
    Neg,
    Not,
    Reciprocal,
    Relu,
    Sigmoid,
    Sqrt,
    Tanh,
    Unary,
    clamp,
)
from .window import Layout, channel_axis, output_extent, spatial_axes
