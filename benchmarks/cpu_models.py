"""Networks for benchmarks/cpu.py, built with random weights whose activations keep their size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Appends ONNX nodes; every method returns the name of the value that it makes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.number = 0

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape: int, gain: float, fan: int) -> str:
        scale = np.sqrt(gain / fan)
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.number += 1
        name = f"{kind.lower()}{self.number}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self,
        x: str,
        shape: tuple[int, int],
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        gain: float = 2.0,
    ) -> str:
        """A convolution with bias; batch norm counts as folded."""
        inputs, outputs = shape
        fan = inputs // groups * kernel * kernel
        w = self.weights(outputs, inputs // groups, kernel, kernel, gain=gain, fan=fan)
        b = self.constant((self.rng.standard_normal(outputs) * 0.05).astype(np.float32))
        return self.op(
            "Conv",
            x,
            w,
            b,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.op("MatMul", x, self.weights(inputs, outputs, gain=1.0, fan=inputs))
        b = self.constant((self.rng.standard_normal(outputs) * 0.05).astype(np.float32))
        return self.op("Add", product, b)

    def norm(self, x: str, size: int) -> str:
        scale = self.constant(np.ones(size, np.float32))
        bias = self.constant(np.zeros(size, np.float32))
        return self.op("LayerNormalization", x, scale, bias, axis=-1)

    def attention(self, x: str, tokens: int, size: int, heads: int) -> str:
        """Multi-head self-attention with its output projection."""
        depth = size // heads
        split = self.constant(np.array([1, tokens, heads, depth], np.int64))
        whole = self.constant(np.array([1, tokens, size], np.int64))
        root = self.constant(np.array(depth**0.5, np.float32))
        q, k, v = (self.op("Reshape", self.linear(x, size, size), split) for _ in range(3))
        q = self.op("Transpose", q, perm=[0, 2, 1, 3])
        k = self.op("Transpose", k, perm=[0, 2, 3, 1])
        v = self.op("Transpose", v, perm=[0, 2, 1, 3])
        weights = self.op("Softmax", self.op("Div", self.op("MatMul", q, k), root), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.linear(self.op("Reshape", mixed, whole), size, size)

    def model(self, shape: Sequence[int], result: str, out_shape: Sequence[int]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "built",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, list(out_shape))],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 9
        onnx.checker.check_model(made)
        return made


def resnet(layers: Sequence[int], *, bottleneck: bool) -> onnx.ModelProto:
    """ResNet-18 (`2, 2, 2, 2`) or ResNet-50 (`3, 4, 6, 3`, bottlenecks), after He et al. 2015."""
    b = Builder()
    x = b.op("Relu", b.conv("x", (3, 64), 7, 2))
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    width, grow = 64, 4 if bottleneck else 1
    for stage, count in enumerate(layers):
        inner = 64 << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            shortcut = x
            if width != inner * grow or stride > 1:
                shortcut = b.conv(x, (width, inner * grow), 1, stride, gain=1.0)
            if bottleneck:
                y = b.op("Relu", b.conv(x, (width, inner)))
                y = b.op("Relu", b.conv(y, (inner, inner), 3, stride))
                y = b.conv(y, (inner, inner * grow), gain=0.3)
            else:
                y = b.op("Relu", b.conv(x, (width, inner), 3, stride))
                y = b.conv(y, (inner, inner), 3, gain=0.3)
            x = b.op("Relu", b.op("Add", y, shortcut))
            width = inner * grow
    return _classified(b, x, width)


def mobilenet_v2() -> onnx.ModelProto:
    """MobileNetV2 at width 1.0 and 224 pixels, after Sandler et al. 2018."""
    b = Builder()
    x = _relu6(b, b.conv("x", (3, 32), 3, 2))
    width = 32
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for factor, outputs, count, first in stages:
        for block in range(count):
            stride, inner = first if not block else 1, width * factor
            y = _relu6(b, b.conv(x, (width, inner))) if factor > 1 else x
            y = _relu6(b, b.conv(y, (inner, inner), 3, stride, groups=inner))
            y = b.conv(y, (inner, outputs), gain=0.5)
            x = b.op("Add", x, y) if stride == 1 and width == outputs else y
            width = outputs
    return _classified(b, _relu6(b, b.conv(x, (width, 1280))), 1280)


def bert(layers: int = 2, tokens: int = 128, size: int = 768, heads: int = 12) -> onnx.ModelProto:
    """A stack of BERT-base encoder layers on embedded tokens, after Devlin et al. 2018."""
    b = Builder()
    x = "x"
    for _ in range(layers):
        x = b.norm(b.op("Add", x, b.attention(x, tokens, size, heads)), size)
        y = b.linear(_gelu(b, b.linear(x, size, 4 * size)), 4 * size, size)
        x = b.norm(b.op("Add", x, y), size)
    return b.model((1, tokens, size), x, (1, tokens, size))


def vit(layers: int = 4, size: int = 192, heads: int = 3) -> onnx.ModelProto:
    """Layers of ViT-Tiny on 224 pixels in patches of 16, after Dosovitskiy et al. 2020."""
    b = Builder()
    patches = 14 * 14
    x = b.op(
        "Conv",
        "x",
        b.weights(size, 3, 16, 16, gain=1.0, fan=768),
        kernel_shape=[16, 16],
        strides=[16, 16],
    )
    flat = b.constant(np.array([1, size, patches], np.int64))
    x = b.op("Transpose", b.op("Reshape", x, flat), perm=[0, 2, 1])
    place = (b.rng.standard_normal((1, patches + 1, size)) * 0.1).astype(np.float32)
    token = b.constant(b.rng.standard_normal((1, 1, size)).astype(np.float32))
    x = b.op("Add", b.op("Concat", token, x, axis=1), b.constant(place))
    for _ in range(layers):
        x = b.op("Add", x, b.attention(b.norm(x, size), patches + 1, size, heads))
        inner = _gelu(b, b.linear(b.norm(x, size), size, 4 * size))
        x = b.op("Add", x, b.linear(inner, 4 * size, size))
    first = b.op("Gather", b.norm(x, size), b.constant(np.array(0, np.int64)), axis=1)
    y = b.op("Gemm", first, b.weights(size, 1000, gain=1.0, fan=size))
    return b.model((1, 3, 224, 224), y, (1, 1000))


def recurrent(kind: str, layers: int = 2, steps: int = 64, size: int = 256) -> onnx.ModelProto:
    """Layers of LSTM or GRU on one sequence, with a linear layer at each step."""
    b = Builder()
    gates = {"LSTM": 4, "GRU": 3}[kind]
    x = "x"
    for _ in range(layers):
        w, r = (b.weights(1, gates * size, size, gain=1.0, fan=size) for _ in range(2))
        bias = b.constant((b.rng.standard_normal((1, 2 * gates * size)) * 0.05).astype(np.float32))
        # As torch exports a GRU.
        late = {"linear_before_reset": 1} if kind == "GRU" else {}
        y = b.op(kind, x, w, r, bias, hidden_size=size, **late)
        x = b.op("Squeeze", y, b.constant(np.array([1], np.int64)))
    return b.model((steps, 1, size), b.linear(x, size, 64), (steps, 1, 64))


def sparse_ffn(zeros: float, tokens: int = 128, size: int = 768) -> onnx.ModelProto:
    """BERT-base's feed-forward layer; this share of the weights' blocks of 1 x 16 is zero."""
    b = Builder()

    def thin(inputs: int, outputs: int) -> str:
        kept = b.rng.random((inputs, outputs // 16)) >= zeros
        scale = np.sqrt(1 / inputs / (1 - zeros))
        w = b.rng.standard_normal((inputs, outputs)) * scale * np.repeat(kept, 16, axis=1)
        return b.constant(w.astype(np.float32))

    x = b.op("Relu", b.op("MatMul", "x", thin(size, 4 * size)))
    y = b.op("MatMul", x, thin(4 * size, size))
    return b.model((1, tokens, size), y, (1, tokens, size))


def tiny_cnn() -> onnx.ModelProto:
    """Three convolutions on 32 x 32 pixels: what a call costs beside the arithmetic."""
    b = Builder()
    x = b.op("Relu", b.conv("x", (3, 16), 3, 2))
    x = b.op("Relu", b.conv(x, (16, 32), 3, 2))
    x = b.op("Relu", b.conv(x, (32, 64), 3, 2))
    return _classified(b, x, 64, outputs=10, pixels=32)


def _relu6(b: Builder, x: str) -> str:
    zero = b.constant(np.array(0, np.float32))
    return b.op("Clip", x, zero, b.constant(np.array(6, np.float32)))


def _gelu(b: Builder, x: str) -> str:
    root, one = (b.constant(np.array(v, np.float32)) for v in (2**0.5, 1.0))
    half = b.constant(np.array(0.5, np.float32))
    inner = b.op("Add", b.op("Erf", b.op("Div", x, root)), one)
    return b.op("Mul", b.op("Mul", x, inner), half)


def _classified(
    b: Builder, x: str, width: int, outputs: int = 1000, pixels: int = 224
) -> onnx.ModelProto:
    flat = b.op("Flatten", b.op("GlobalAveragePool", x))
    w = b.weights(width, outputs, gain=1.0, fan=width)
    result = b.op("Gemm", flat, w, b.constant(np.zeros(outputs, np.float32)))
    return b.model((1, 3, pixels, pixels), result, (1, outputs))
