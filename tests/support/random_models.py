"""Random ONNX models: small graphs in which every decision is a drawn integer.

The graphs have what real exporters rarely combine: odd strides, asymmetric pads, groups, channels
that fill no array, values that are outputs and are used inside, constants as outputs, and inputs
that nobody reads. Hypothesis draws the decisions, so failures shrink; `random.Random` does for long
hunts outside pytest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from mcc.ir import Array

Shape = tuple[int, ...]
OPSET = 17
T = TypeVar("T")


class Draw(Protocol):
    """Draws an integer between two bounds, both included; the lower is the simplest."""

    def __call__(self, low: int, high: int, /) -> int: ...


@dataclass
class Builder:
    """A graph under construction: what has been computed, with its shape."""

    draw: Draw
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    weights: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])
    shapes: dict[str, Shape] = field(default_factory=dict[str, Shape])

    def __post_init__(self) -> None:
        self.numbers = np.random.default_rng(self.draw(0, 2**16))

    def chance(self, one_in: int) -> bool:
        """True once in so many draws."""
        return self.draw(0, one_in - 1) == one_in - 1

    def pick(self, items: Sequence[T]) -> T:
        return items[self.draw(0, len(items) - 1)]

    def normal(self, shape: Shape, spread: float = 1.0) -> Array:
        return (self.numbers.standard_normal(shape) * spread).astype(np.float32)

    def pads(self, reach: Sequence[int]) -> list[int]:
        """Pads before and behind every axis, each smaller than the window."""
        return [self.draw(0, most) for most in (*reach, *reach)]

    def constant(self, array: Array) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, operands: Sequence[str], **attributes: object) -> str | None:
        """Append a node; None, and no node, where ONNX finds no valid shape for it."""
        name = f"t{len(self.nodes)}"
        node = helper.make_node(kind, list(operands), [name], name=f"n{len(self.nodes)}")
        node.attribute.extend(
            helper.make_attribute(key, value) for key, value in attributes.items()
        )
        shape = self._shape_of(node)
        if shape is None or not all(0 < dim < 5000 for dim in shape) or np.prod(shape) > 40_000:
            return None
        self.nodes.append(node)
        self.shapes[name] = shape
        return name

    def _shape_of(self, node: onnx.NodeProto) -> Shape | None:
        known = [name for name in node.input if name in self.shapes]
        graph = helper.make_graph(
            [node],
            "one",
            [_info(name, self.shapes[name]) for name in dict.fromkeys(known)],
            [onnx.ValueInfoProto(name=node.output[0])],
            [weight for weight in self.weights if weight.name in node.input],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        try:
            found = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except shape_inference.InferenceError:
            return None
        dims = found.graph.output[0].type.tensor_type.shape.dim
        return tuple(dim.dim_value for dim in dims)


def _info(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


Step = Callable[[Builder, str], str | None]


def conv(b: Builder, x: str) -> str | None:
    """Any stride, dilation, group, asymmetric pads, with a bias or without."""
    _, channels, *space = b.shapes[x]
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    group = b.pick([1, 1, channels, b.pick(divisors)])
    outputs = group * b.pick([1, 2, 3] if group > 1 else [1, 3, 8, 16, 17, 24, 33])
    kernel = [b.draw(1, 5 if b.chance(3) else 3) for _ in space]
    operands = [
        x,
        b.constant(b.normal((outputs, channels // group, *kernel), (channels // group) ** -0.5)),
    ]
    if b.chance(2):
        operands.append(b.constant(b.normal((outputs,), 0.3)))
    attributes: dict[str, object] = {"strides": [b.draw(1, 3) for _ in space], "group": group}
    if b.chance(5):
        attributes["auto_pad"] = way = b.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
        if way == "VALID" and any(size < reach for size, reach in zip(space, kernel, strict=True)):
            return None
    else:
        dilations = [b.draw(1, 2) for _ in space]
        attributes["dilations"] = dilations
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        attributes["pads"] = pads = b.pads(reach)
        if not _fits(space, reach, pads):
            return None
    return b.add("Conv", operands, **attributes)


def _fits(space: Sequence[int], reach: Sequence[int], pads: Sequence[int]) -> bool:
    """Whether a window lies inside the padded input; ONNX's shape rule does not look."""
    behind = pads[len(space) :]
    return all(s + a + z > r for s, r, a, z in zip(space, reach, pads, behind, strict=False))


def _ceil_is_clear(
    space: Sequence[int], reach: Sequence[int], pads: Sequence[int], strides: Sequence[int]
) -> bool:
    """Whether rounding up adds no window behind the input: before opset 22 ONNX counts those."""
    behind = pads[len(space) :]
    return all(
        -(-(s + a + z - r - 1) // step) * step < s + a
        for s, r, a, z, step in zip(space, reach, pads, behind, strides, strict=False)
    )


def pool(b: Builder, x: str) -> str | None:
    """Maximum or average, ceil, asymmetric pads, with the pads counted or not."""
    space = b.shapes[x][2:]
    kernel = [b.draw(1, 4) for _ in space]
    reach = [k - 1 for k in kernel]
    pads = b.pads(reach)
    if not _fits(space, reach, pads):
        return None
    strides = [b.draw(1, 3) for _ in space]
    attributes: dict[str, object] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "ceil_mode": b.draw(0, 1) if _ceil_is_clear(space, reach, pads, strides) else 0,
    }
    if b.chance(2):
        return b.add("AveragePool", [x], count_include_pad=b.draw(0, 1), **attributes)
    return b.add("MaxPool", [x], **attributes)


def global_pool(b: Builder, x: str) -> str | None:
    if b.chance(3):
        axes = list(range(2, len(b.shapes[x])))
        return b.add("ReduceMean", [x], axes=axes, keepdims=b.draw(0, 1))
    return b.add(b.pick(["GlobalAveragePool", "GlobalMaxPool"]), [x])


def batch_norm(b: Builder, x: str) -> str | None:
    channels = b.shapes[x][1]
    scale, bias, mean = (b.normal((channels,)) for _ in range(3))
    variance = b.normal((channels,)) ** 2 + np.float32(0.1)
    return b.add("BatchNormalization", [x, *map(b.constant, (scale, bias, mean, variance))])


def activation(b: Builder, x: str) -> str | None:
    kind = b.pick(["Relu", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Softmax"])
    if kind == "Clip":
        low, high = b.pick([(0, 6), (-1, 1), (0, 1), (0.25, 2), (-3, -0.5)])
        return b.add("Clip", [x, *(b.constant(np.array(v, np.float32)) for v in (low, high))])
    if kind == "LeakyRelu":
        return b.add("LeakyRelu", [x], alpha=b.pick([0.1, 0.01, 1.5]))
    if kind == "Softmax":
        return b.add("Softmax", [x], axis=b.draw(-1, len(b.shapes[x]) - 1))
    return b.add(kind, [x])


def arithmetic(b: Builder, x: str) -> str | None:
    """With a constant of some broadcast shape, with itself, or with what broadcasts."""
    kind = b.pick(["Add", "Add", "Mul", "Sub"])
    shape = b.shapes[x]
    way = b.draw(0, 4)
    if way == 0:
        others = [n for n, s in b.shapes.items() if s == shape]
        other = b.pick(others[::-1])
    elif way == 1:
        others = [n for n, s in b.shapes.items() if _broadcasts(s, shape) and n != x]
        other = b.pick(others[::-1]) if others else x
    elif way == 2 and len(shape) > 1:
        other = b.constant(b.normal((shape[1], *[1] * (len(shape) - 2))))
    elif way == 3:
        other = b.constant(b.normal(tuple(b.pick([1, d]) for d in shape)))
    else:
        other = b.constant(np.array(b.pick([0.5, 2.0, -1.0]), np.float32))
    return b.add(kind, [other, x] if b.chance(2) else [x, other])


def _broadcasts(small: Shape, large: Shape) -> bool:
    return len(small) <= len(large) and all(
        a in (1, c) for a, c in zip(small[::-1], large[::-1], strict=False)
    )


def concat(b: Builder, x: str) -> str | None:
    shape = b.shapes[x]
    axis = b.draw(1, len(shape) - 1)
    same = [
        name
        for name, other in b.shapes.items()
        if len(other) == len(shape)
        and all(i == axis or other[i] == shape[i] for i in range(len(shape)))
    ]
    parts = [x, *(b.pick(same[::-1]) for _ in range(b.draw(1, 2)))]
    return b.add("Concat", parts, axis=axis)


def pad(b: Builder, x: str) -> str | None:
    rank = len(b.shapes[x])
    border = [0, 0] + [b.draw(0, 2) for _ in range(rank - 2)]
    ends = [0, 0] + [b.draw(0, 2) for _ in range(rank - 2)]
    if b.chance(4) and rank > 2:
        ends[1] = 3
    operands = [x, b.constant(np.array(border + ends, np.int64))]
    narrow = any(
        max(first, last) >= size
        for first, last, size in zip(border, ends, b.shapes[x], strict=True)
    )
    mode = "constant" if narrow else b.pick(["constant", "constant", "edge", "reflect"])
    if mode == "constant" and b.chance(2):
        operands.append(b.constant(np.array(b.pick([0.0, 1.0, -0.5]), np.float32)))
    return b.add("Pad", operands, mode=mode)


def slices(b: Builder, x: str) -> str | None:
    shape = b.shapes[x]
    axis = b.draw(1, len(shape) - 1)
    start = b.draw(0, shape[axis] - 1)
    stop = b.draw(start + 1, shape[axis])
    step = b.draw(1, 2)
    numbers = ([start], [stop], [axis], [step])
    if b.chance(6):
        numbers = ([-1], [-(2**31)], [axis], [-1])
    return b.add("Slice", [x, *(b.constant(np.array(n, np.int64)) for n in numbers)])


def transpose(b: Builder, x: str) -> str | None:
    rest = list(range(1, len(b.shapes[x])))
    order = [rest.pop(b.draw(0, len(rest) - 1)) for _ in range(len(rest))]
    return b.add("Transpose", [x], perm=[0, *order])


def reshape(b: Builder, x: str) -> str | None:
    batch, *rest = b.shapes[x]
    count = int(np.prod(rest))
    first = b.pick([d for d in range(1, count + 1) if count % d == 0])
    second = b.pick([d for d in range(1, count // first + 1) if count // first % d == 0])
    target = b.pick(
        [
            (batch, count),
            (0, -1),
            (batch, first, count // first),
            (batch, first, second, count // first // second),
        ]
    )
    if b.chance(4):
        return b.add("Flatten", [x], axis=1)
    return b.add("Reshape", [x, b.constant(np.array(target, np.int64))])


def dense(b: Builder, x: str) -> str | None:
    """Gemm on a matrix with its options, MatMul on anything."""
    *_, last = b.shapes[x]
    outputs = b.pick([1, 4, 10, 16, 35])
    if len(b.shapes[x]) == 2 and b.chance(2):
        across = b.draw(0, 1)
        weights = b.normal((outputs, last) if across else (last, outputs), last**-0.5)
        operands = [x, b.constant(weights)]
        if b.chance(2):
            operands.append(b.constant(b.normal(b.pick([(outputs,), (1, outputs), (1,)]))))
        attributes = {"alpha": 0.5, "beta": 2.0} if b.chance(4) else {}
        return b.add("Gemm", operands, transB=across, **attributes)
    return b.add("MatMul", [x, b.constant(b.normal((last, outputs), last**-0.5))])


def product(b: Builder, x: str) -> str | None:
    """A matrix product of two activations."""
    shape = b.shapes[x]
    if len(shape) < 3:
        return None
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    turned = b.add("Transpose", [x], perm=order)
    return None if turned is None else b.add("MatMul", [x, turned])


ANY: tuple[Step, ...] = (activation, arithmetic, concat, transpose, reshape, dense, slices)
SPATIAL: tuple[Step, ...] = (conv, conv, conv, pool, batch_norm, global_pool, pad)
"""Steps for values of at least three dimensions."""


def random_model(draw: Draw, longest: int = 8) -> onnx.ModelProto:
    """A model of up to `longest` nodes (a few more where a step needs two)."""
    b = Builder(draw)
    symbolic = b.chance(3)
    batch = 1 if symbolic else b.draw(1, 2)
    for index in range(1 + b.chance(4)):
        space = [
            [b.pick([8, 5, 13, 1, 3, 20]), b.pick([8, 7, 1, 11])],
            [b.pick([16, 40, 1, 9])],
            [],
        ][b.pick([0, 0, 0, 1, 2])]
        b.shapes[f"x{index}"] = (batch, b.pick([3, 1, 4, 16, 17, 20]), *space)
    inputs = dict(b.shapes)
    last = "x0"
    for _ in range(b.draw(1, longest)):
        source = b.pick(list(b.shapes)[::-1]) if b.chance(4) else last
        steps = [*ANY, *SPATIAL, product] if len(b.shapes[source]) > 2 else list(ANY)
        made = b.pick(steps)(b, source)
        last = made if made is not None else last
    if last in inputs:
        last = b.add("Relu", [last]) or last
    outputs = [last]
    inside = [name for name in b.shapes if name not in inputs and name != last]
    if inside and b.chance(4):
        outputs.append(b.pick(inside))
    if b.chance(10):
        outputs.append("fixed")
        b.weights.append(numpy_helper.from_array(b.normal((2, 3)), "fixed"))
        b.shapes["fixed"] = (2, 3)
    if b.chance(10):
        inputs["unused"] = b.shapes["unused"] = (batch, 3)
    return _model(b, inputs, outputs, symbolic=symbolic)


def _model(
    b: Builder, inputs: dict[str, Shape], outputs: Sequence[str], *, symbolic: bool
) -> onnx.ModelProto:
    needed, nodes = set(outputs), list[onnx.NodeProto]()
    for node in reversed(b.nodes):
        if node.output[0] in needed:
            nodes.insert(0, node)
            needed |= set(node.input)
    # A reshape to fixed numbers holds for one batch only; models keep a fixed one then.
    fixed = any(node.op_type == "Reshape" for node in nodes) or "fixed" in outputs
    graph = helper.make_graph(
        nodes,
        "random",
        [
            _info(name, ["N", *shape[1:]] if symbolic and not fixed else shape)
            for name, shape in inputs.items()
        ],
        [_info(name, b.shapes[name]) for name in outputs]
        if fixed or not symbolic
        else [_info(name, ["N", *b.shapes[name][1:]]) for name in outputs],
        [weight for weight in b.weights if weight.name in needed],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def feeds_for(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Normal numbers for every input; a symbolic batch is 1."""
    numbers = np.random.default_rng(seed)
    return {
        value.name: numbers.standard_normal(
            [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


def described(model: onnx.ModelProto) -> str:
    """The graph as text, for messages."""
    return onnx.printer.to_text(model)[:4000]
