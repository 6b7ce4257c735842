"""Small float networks for tests of quantization, and what onnxruntime makes of their QDQ form."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mcc.backends.onnx import export
from mcc.ir import (
    Array,
    Constant,
    DType,
    Module,
    Op,
    Region,
    RewriteReport,
    Tensor,
    Value,
    Yield,
    constant,
    evaluate,
    parse,
    print_module,
    verify,
)
from mcc.judge import onnxruntime_session
from mcc.ops import Add, AvgPool, Conv, Matmul, MaxPool, Quantize, Reshape
from mcc.passes.quantization import LowerQuantized, Scheme, quantize_module

EIGHT_BITS = (DType.I8, DType.U8)


class Network:
    """Builds a float module over an input `x`, with weights from a seed."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.region = Region([Tensor(DType.F32, shape)], ["x"])
        self.x = self.region.args[0]
        self.count = 0

    def add(self, op: Op, name: str = "") -> Value:
        self.count += 1
        label = name or f"{op.op_name}{self.count}"
        return self.region.append(op.named(label, [f"/{label}"])).results[0]

    def weight(self, *shape: int, spread: float = 1.0) -> Value:
        self.count += 1
        array = self.rng.normal(0, spread / math.sqrt(math.prod(shape[1:])), shape)
        return self.region.append(constant(array.astype(np.float32), f"w{self.count}")).result

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        relu: bool = True,
        hi: float = math.inf,
    ) -> Value:
        inputs = x.tensor.dims[1]
        pad = kernel // 2
        op = Conv(
            x,
            self.weight(channels, inputs // groups, kernel, kernel),
            b=self.weight(channels, spread=0.3),
            strides=(stride, stride),
            pads=(pad, pad, pad, pad),
            groups=groups,
            lo=0.0 if relu else -math.inf,
            hi=hi,
        )
        return self.add(op)

    def residual(self, a: Value, b: Value, *, relu: bool = True) -> Value:
        return self.add(Add(a, b, lo=0.0 if relu else -math.inf))

    def head(self, x: Value, classes: int = 5) -> Value:
        """Average pool, flatten, matrix product."""
        size = x.tensor.dims[2:]
        pooled = self.add(AvgPool(x, size))
        flat = self.add(Reshape(pooled, (x.tensor.dims[0], x.tensor.dims[1])))
        w, b = self.weight(x.tensor.dims[1], classes), self.weight(classes)
        return self.add(Matmul(flat, w, b=b))

    def max_pool(self, x: Value) -> Value:
        return self.add(MaxPool(x, (2, 2), strides=(2, 2)))

    def module(self, *outputs: Value) -> Module:
        self.region.append(Yield(outputs))
        module = Module("case", self.region, [f"y{i}" for i in range(len(outputs))])
        verify(module)
        return module


def residual_network(seed: int = 0, size: int = 6) -> Module:
    """Two residual blocks, one with a convolution in its shortcut; a pool; a matrix product."""
    net = Network((1, 3, size, size), seed)
    first = net.conv(net.x, 8)
    body = net.conv(net.conv(first, 8), 8, relu=False)
    second = net.residual(first, body)
    body = net.conv(net.conv(second, 12, stride=2), 12, relu=False)
    shortcut = net.conv(second, 12, 1, stride=2, relu=False)
    return net.module(net.head(net.residual(shortcut, body)))


def samples_of(module: Module, count: int = 8, seed: int = 1) -> list[dict[str, Array]]:
    """Normal random inputs."""
    rng = np.random.default_rng(seed)
    return [
        {v.name: rng.normal(0, 1, v.tensor.dims).astype(np.float32) for v in module.inputs}
        for _ in range(count)
    ]


def quantized(
    module: Module, scheme: Scheme, report: RewriteReport | None = None, seed: int = 1
) -> Module:
    """The QDQ form, calibrated on random inputs."""
    found, _ = quantize_module(module, scheme, samples_of(module, seed=seed), report=report)
    verify(found)
    return found


def lowered(module: Module, report: RewriteReport | None = None) -> Module:
    """The integer form of a copy of a QDQ module."""
    printed = print_module(module)
    copy = parse(printed.text, printed.weights)
    copy = LowerQuantized().run(copy, report if report is not None else RewriteReport())
    verify(copy)
    return copy


def ops_named(module: Module, name: str) -> list[Op]:
    return [op for op in module.ops() if op.op_name == name]


def integer_values(module: Module, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every computed 8-bit tensor of a module, by name."""
    found: dict[str, Array] = {}

    def observe(value: Value, array: Array) -> None:
        small = isinstance(value.type, Tensor) and value.type.dtype in EIGHT_BITS
        if small and not isinstance(value.op, Constant):
            found[value.name] = array

    evaluate(module, feeds, observe)
    return found


def judged(
    module: Module,
    feeds: Sequence[Mapping[str, Array]],
    level: str = "ORT_ENABLE_ALL",
    *,
    integers: bool = True,
) -> list[dict[str, Array]]:
    """The quantized tensors and outputs of a QDQ module by onnxruntime."""
    names = [op.result.name for op in module.ops() if isinstance(op, Quantize)]
    names += module.output_names
    session = onnxruntime_session(
        export(module), level, integer_convolutions=integers, extra_outputs=names
    )
    return [dict(zip(names, session.run(names, feed), strict=True)) for feed in feeds]


def differing(
    mine: Mapping[str, Array], theirs: Mapping[str, Array]
) -> tuple[int, int, dict[str, int]]:
    """Elements of tensors that both have, the largest difference, and counts of differing ones."""
    elements, largest = 0, 0
    counts: dict[str, int] = {}
    for name in mine.keys() & theirs.keys():
        apart = np.abs(mine[name].astype(np.int64) - theirs[name].astype(np.int64))
        elements += apart.size
        largest = max(largest, int(apart.max(initial=0)))
        if apart.any():
            counts[name] = int(np.count_nonzero(apart))
    return elements, largest, counts
