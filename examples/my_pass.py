"""A pass of one's own, whole: `mcc model.onnx --load my_pass.py --passes "fuse-relu,dce"`."""

import math

from mcc.ir import Because, Value
from mcc.ops import Matmul, Relu
from mcc.passes import Pass


def fuse(op: Relu) -> Value | Because | None:
    """relu(matmul(x, w)) -> matmul(x, w) {lo=0}."""
    product = op.x.op
    if not isinstance(product, Matmul):
        return None  # not my op
    if sum(op.x.uses.values()) > 1:
        return Because("others read the product without the relu")  # shown by --explain fuse-relu
    if (product.lo, product.hi) != (-math.inf, math.inf):
        return Because("the product is clamped already")
    return Matmul(product.x, product.w, product.b, product.r, product.k, lo=0.0).result


class FuseRelu(Pass, name="fuse-relu"):
    """relu(matmul(x, w)) -> matmul(x, w) {lo=0}."""

    rules = (fuse,)
