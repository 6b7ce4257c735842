"""The ONNX operators by family; importing this package registers them all.

A function's name, parameters and defaults are the ONNX schema's, so that the operator's page in the
ONNX documentation is the documentation of the function. Older versions end in the opset that they
began with.
"""

from . import (
    arithmetic,
    bits,
    constants,
    convolution,
    einsum,
    matrix,
    movement,
    normalization,
    picking,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    rounding,
    scans,
    trigonometry,
    unary,
)

__all__ = [
    "arithmetic",
    "bits",
    "constants",
    "convolution",
    "einsum",
    "matrix",
    "movement",
    "normalization",
    "picking",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resize",
    "rounding",
    "scans",
    "trigonometry",
    "unary",
]
