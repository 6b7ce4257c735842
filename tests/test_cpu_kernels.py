"""Every kernel of the CPU backend against the op's definition."""

import math
from typing import Any

import numpy as np
from cpu_cases import Array, Cases, Chain, Make, bind, chained
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.backends.cpu import library_members
from mcc.ir import DType, Op, Tensor, Value, evaluate
from mcc.ops import (
    Abs,
    Add,
    And,
    AvgPool,
    BatchNorm,
    Cast,
    Clip,
    Concat,
    Conv,
    Dequantize,
    Div,
    Equal,
    Erf,
    Exp,
    Expand,
    Gather,
    Greater,
    LayerNorm,
    LeakyRelu,
    Less,
    Log,
    Lookup,
    Matmul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Not,
    Or,
    Pad,
    Pow,
    QAdd,
    Quantize,
    Reciprocal,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Requantize,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
    Sqrt,
    Sub,
    SumPool,
    Tanh,
    Transpose,
    Where,
)
from mcc.runtime import load_target
from mcc.runtime.library import Library

SPECIAL = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 3e38], np.float32)


def floats(rng: np.random.Generator, *shape: int, dtype: str = "f4") -> Array:
    return rng.standard_normal(shape).astype(dtype)


def integers(rng: np.random.Generator, *shape: int, dtype: str = "i1") -> Array:
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**20)), min(limits.max, 2**20)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def test_unary_ops() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([SPECIAL, floats(rng, 1003) * 10])
    cases = Cases()
    for cls in (Neg, Abs, Relu):
        for dtype in ("f4", "f8", "i4", "i1"):
            cases.add(
                cls.op_name, cls, np.nan_to_num(x, posinf=9, neginf=-9).clip(-99, 99).astype(dtype)
            )
    close: list[type[Op]] = [Neg, Abs, Relu, LeakyRelu, Sqrt, Reciprocal]
    for unary in close:
        cases.add(unary.op_name, unary, x, tolerance=1e-6)
    cases.add("clip", bind(Clip, lo=-1.0, hi=6.0), x)
    cases.add("clip_i", bind(Clip, lo=-3.0), integers(rng, 77))
    cases.add("not", Not, x > 0)
    for dtype, to in (("f4", "i32"), ("f4", "f64"), ("i4", "f32"), ("i1", "i64"), ("?", "f32")):
        values = (floats(rng, 100) * 50).astype(dtype)
        cases.add(f"cast_{dtype}_{to}", bind(Cast, to=DType(to)), values)
    cases.add("cast_truth", bind(Cast, to=DType.I1), x)
    cases.check()


def test_elementary_functions_over_their_whole_range() -> None:
    everywhere = np.concatenate(
        [SPECIAL, np.linspace(-110, 110, 20001, dtype="f4"), np.logspace(-30, 1, 999, dtype="f4")]
    )
    everywhere = np.concatenate([everywhere, -everywhere])
    cases = Cases()
    for cls in (Exp, Sigmoid, Tanh, Erf, Log):
        for dtype in ("f4", "f8"):
            cases.add(f"{cls.op_name}_{dtype}", cls, everywhere.astype(dtype))
    module, feeds = cases.module()
    members = library_members(module, load_target("cpu"))
    found = Library(members["library.so"], members["library.json"]).run(list(feeds.values()))
    wanted = evaluate(module, feeds)
    for array, (name, exact) in zip(found, wanted.items(), strict=True):
        # Denormal results may lose bits; nothing else may.
        np.testing.assert_allclose(array, exact, rtol=1e-5, atol=1e-42, err_msg=name)


def test_binary_ops_broadcast() -> None:
    rng = np.random.default_rng(1)
    shapes = [
        ((2, 3, 17), (2, 3, 17)),
        ((4, 5, 33), (33,)),
        ((4, 1, 33), (5, 1)),
        ((), (7,)),
        ((1, 3, 8, 8), (3, 1, 1)),
        ((0, 4), (4,)),
    ]
    cases = Cases()
    for left, right in shapes:
        a, b = floats(rng, *left), floats(rng, *right)
        for cls in (Add, Sub, Mul, Div, Minimum, Maximum, Equal, Less, Greater):
            cases.add(
                f"{cls.op_name}{left}{right}", cls, a, b, tolerance=0 if cls is not Div else 1e-6
            )
        cases.add("pow", Pow, np.abs(a), b, tolerance=1e-5)
        cases.add("where", Where, a > 0, a, b)
        cases.add("add_clamped", bind(Add, lo=0.0, hi=1.0), a, b)
    special = np.stack(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1)
    for cls in (Minimum, Maximum, Add, Mul, Less, Equal):
        cases.add(f"{cls.op_name}_special", cls, special[0], special[1])
    for dtype in ("i1", "u1", "i4", "i8"):
        a, b = integers(rng, 40, dtype=dtype), integers(rng, 40, dtype=dtype)
        b[:3] = 0
        if dtype != "u1":
            a[4], b[4] = np.iinfo(dtype).min, -1
        for cls in (Add, Sub, Mul, Div, Minimum, Maximum, Less):
            cases.add(f"{cls.op_name}_{dtype}", cls, a, b)
        cases.add(f"pow_{dtype}", Pow, a, np.abs(integers(rng, 40)).clip(0, 9).astype(dtype))
    for logical in (And, Or):
        cases.add(logical.op_name, logical, rng.random(50) > 0.5, rng.random(50) > 0.5)
    cases.check()


def joined(axis: int) -> Make:
    def make(*xs: Value) -> Op:
        return Concat(xs, axis=axis)

    return make


def test_shape_ops() -> None:
    rng = np.random.default_rng(2)
    x = floats(rng, 2, 3, 5, 19)
    cases = Cases()

    add = cases.add
    for dtype in ("f4", "i1", "i8", "?"):
        y = (x * 9).astype(dtype)
        add("transpose", bind(Transpose, perm=(0, 2, 3, 1)), y)
        add("transpose2", bind(Transpose, perm=(3, 1, 0, 2)), y)
        add("reshape", bind(Reshape, shape=(6, 95)), y)
        add(
            "slice", bind(Slice, starts=(0, 2, 4, 1), stops=(2, -1, 0, 18), steps=(1, -1, -2, 3)), y
        )
        add("slice_row", bind(Slice, starts=(0, 1, 0, 0), stops=(2, 3, 5, 19)), y)
        add("expand", bind(Expand, shape=(3, 5, 19)), y[:, :1, :, :1])
        add("pad", bind(Pad, pads=(0, 1, 2, 3, 1, 0, 1, 17), value=1.0), y)
        add("crop", bind(Pad, pads=(0, -1, 0, -2, 0, 0, -2, 1)), y)
        add("reflect", bind(Pad, pads=(0, 0, 3, 2, 0, 0, 1, 4), mode="reflect"), y)
        add("edge", bind(Pad, pads=(1, 0, 3, 2, 0, 2, 1, 4), mode="edge"), y)
        indices = rng.integers(-3, 3, (2, 4))
        add("gather", bind(Gather, axis=1), y, indices)
        add("gather32", bind(Gather, axis=0), y, (indices % 2).astype("i4"))
    add("concat", joined(2), x, x[:, :, :2], x[:, :, :0], floats(rng, 2, 3, 1, 19))
    add("concat0", joined(0), x, x, x)
    for dtype in ("f4", "f8", "i1"):
        turned = (floats(rng, 2, 37, 3, 50) * 9).astype(dtype)
        for perm in ((0, 3, 1, 2), (3, 0, 2, 1), (0, 2, 3, 1), (1, 2, 0, 3), (3, 2, 1, 0)):
            add(f"turn{perm}", bind(Transpose, perm=perm), turned)
    add("square", bind(Transpose, perm=(1, 0)), floats(rng, 32, 16))
    add("big_transpose", bind(Transpose, perm=(0, 2, 1)), floats(rng, 1, 300, 301))
    add("empty", bind(Transpose, perm=(1, 0)), floats(rng, 0, 4))
    cases.check()


def test_reductions_and_normalizations() -> None:
    rng = np.random.default_rng(3)
    x = floats(rng, 3, 4, 5, 37)
    nan = x.copy()
    nan[1, 2, 3, 4] = math.nan
    cases = Cases()
    for axes in ((3,), (0,), (1, 2), (0, 2), (2, 3), (0, 1, 2, 3), (), (1, 3)):
        for keep in (False, True):
            for cls in (ReduceSum, ReduceMean, ReduceMax):
                make = bind(cls, axes=axes, keepdims=keep)
                cases.add(f"{cls.op_name}{axes}", make, x, tolerance=1e-5)
                cases.add(f"{cls.op_name}{axes}i", make, integers(rng, 3, 4, 5, 37, dtype="i4"))
        cases.add("max_nan", bind(ReduceMax, axes=axes), nan)
    cases.add("sum_none", bind(ReduceSum, axes=(1,)), floats(rng, 3, 0, 2))
    for axis in (0, 1, 3):
        cases.add(f"softmax{axis}", bind(Softmax, axis=axis), x * 30, tolerance=1e-5)
        scale, bias = floats(rng, *x.shape[axis:]), floats(rng, *x.shape[axis:])
        norm = bind(LayerNorm, axis=axis)
        cases.add(f"layer_norm{axis}", norm, x, scale, bias, tolerance=1e-4)
        cases.add(f"layer_norm{axis}b", norm, x, floats(rng, 37), tolerance=1e-4)
    cases.add("softmax8", bind(Softmax, axis=1), floats(rng, 3, 9, dtype="f8"), tolerance=1e-9)
    vectors = [floats(rng, 4), floats(rng, 4), floats(rng, 4), np.abs(floats(rng, 4))]
    cases.add("batch_norm", BatchNorm, x, *vectors, tolerance=1e-5)
    cases.check()


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    depthwise = draw(st.booleans())
    channels = groups * (1 if depthwise else draw(st.integers(1, 9)))
    outputs = groups * (1 if depthwise and draw(st.booleans()) else draw(st.integers(1, 40)))
    return {
        "x": (draw(st.integers(1, 2)), channels, *(draw(st.integers(5, 12)) for _ in range(rank))),
        "w": (outputs, channels // groups, *(draw(st.integers(1, 3)) for _ in range(rank))),
        "strides": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(2 * rank)),
        "dilations": tuple(draw(st.integers(1, 2)) for _ in range(rank)),
        "groups": groups,
        "layout": draw(st.sampled_from(["nchw", "nhwc"])),
        "extras": draw(st.integers(0, 15)),
        "held": draw(st.booleans()),
        "zero": draw(st.integers(-128, 127)),
        "seed": draw(st.integers(0, 2**31)),
    }


def geometry(case: dict[str, Any]) -> dict[str, Any]:
    names = ("strides", "pads", "dilations", "groups", "layout")
    return {name: case[name] for name in names}


def in_layout(array: Array, layout: str) -> Array:
    return array if layout == "nchw" else np.ascontiguousarray(np.moveaxis(array, 1, -1))


@settings(max_examples=2, deadline=None)
@given(st.lists(convolutions(), min_size=12, max_size=12))
def test_float_convolutions(drawn: list[dict[str, Any]]) -> None:
    cases = Cases()
    for case in drawn:
        rng = np.random.default_rng(case["seed"])
        x = in_layout(floats(rng, *case["x"]), case["layout"])
        w = floats(rng, *case["w"])
        plain = bind(Conv, **geometry(case))
        arrays = [x]
        sides: dict[str, int] = {}
        if case["extras"] & 1:
            sides["b"] = len(arrays)
            arrays.append(floats(rng, case["w"][0]))
        if case["extras"] & 2:
            sides["r"] = len(arrays)
            arrays.append(floats(rng, *result_shape(x, w, case)))
        bounds = {"lo": 0.0, "hi": 1.5} if case["extras"] & 4 else {}

        def make(
            *values: Value,
            plain: Make = plain,
            sides: dict[str, int] = sides,
            bounds: dict[str, float] = bounds,
        ) -> Op:
            *inputs, weights = values
            named = {name: inputs[place] for name, place in sides.items()}
            return plain(inputs[0], weights, **named, **bounds)

        if case["held"]:
            cases.add(str(case), make, *arrays, constants=[w], tolerance=1e-4)
        else:
            cases.add(str(case), make, *arrays, w, tolerance=1e-4)
    cases.check()


def result_shape(x: Array, w: Array, case: dict[str, Any]) -> tuple[int, ...]:
    probe = Conv(
        Value(Tensor(DType.of(x), x.shape)), Value(Tensor(DType.of(w), w.shape)), **geometry(case)
    )
    return probe.result.tensor.dims


@settings(max_examples=2, deadline=None)
@given(st.lists(convolutions(), min_size=12, max_size=12), st.sampled_from(["i1", "u1"]))
def test_integer_convolutions_with_requantize(drawn: list[dict[str, Any]], dtype: str) -> None:
    cases = Cases()
    for case in drawn:
        rng = np.random.default_rng(case["seed"])
        x = in_layout(integers(rng, *case["x"], dtype=dtype), case["layout"])
        w = integers(rng, *case["w"])
        outputs = case["w"][0]
        fill = case["zero"] if dtype == "i1" else case["zero"] + 128
        per_channel = bool(case["extras"] & 1)
        scales = (rng.random(outputs if per_channel else ()) * 2e-3 + 1e-5).astype("f4")
        axis = 1 if case["layout"] == "nchw" else x.ndim - 1
        extra: list[Array] = [integers(rng, outputs, dtype="i4")] if case["extras"] & 2 else []
        if case["extras"] & 4 and extra:
            extra += [
                integers(rng, *result_shape(x, w, case)),
                integers(rng, outputs, dtype="i1").astype("i4"),
            ]

        @chained
        def make(
            chain: Chain,
            x: Value,
            w: Value,
            multiplier: Value,
            *sides: Value,
            case: dict[str, Any] = case,
            fill: int = fill,
            axis: int = axis,
        ) -> Op:
            named: dict[str, Any] = dict(zip(("b", "r", "k"), sides, strict=False))
            total = chain(Conv(x, w, **named, **geometry(case), pad_value=fill))
            return Requantize(total, multiplier, zero=case["zero"] // 2, axis=axis)

        cases.add(str(case), make, x, constants=[w, scales, *extra])
    cases.check()


@settings(max_examples=2, deadline=None)
@given(st.data())
def test_matrix_products(data: st.DataObject) -> None:
    cases = Cases()
    lengths = st.integers(1, 40)
    for number in range(14):
        m, k, n = (data.draw(lengths) for _ in range(3))
        left = data.draw(st.sampled_from([(), (3,), (2, 3), (2, 1), (1,)]))
        right = data.draw(st.sampled_from([(), (3,), (2, 3), (1, 3)]))
        x_shape = data.draw(st.sampled_from([(*left, m, k), (k,)]))
        w_shape = data.draw(st.sampled_from([(*right, k, n), (k,), (k, n)]))
        rng = np.random.default_rng(number)
        held = data.draw(st.booleans())
        integer = data.draw(st.booleans())
        x, w = floats(rng, *x_shape), floats(rng, *w_shape)
        sides: list[Array] = []
        if len(w_shape) > 1:
            sides.append(floats(rng, n))
        if integer:
            x, w = integers(rng, *x_shape), integers(rng, *w_shape)
            sides = [integers(rng, n, dtype="i4") for _ in sides]
        label = f"{x_shape} {w_shape} held={held} integer={integer}"
        tolerance = 0.0 if integer else 1e-4
        if held:
            cases.add(label, Matmul, x, constants=[w, *sides], tolerance=tolerance)
        else:
            cases.add(label, Matmul, x, w, *sides, tolerance=tolerance)
    cases.check()


@settings(max_examples=2, deadline=None)
@given(st.data())
def test_pools(data: st.DataObject) -> None:
    cases = Cases()
    for number in range(10):
        rng = np.random.default_rng(number)
        rank = data.draw(st.integers(1, 3))
        layout = data.draw(st.sampled_from(["nchw", "nhwc"]))
        kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
        pads = tuple(min(data.draw(st.integers(0, 1)), size - 1) for size in kernel * 2)
        options: dict[str, Any] = {
            "kernel": kernel,
            "strides": tuple(data.draw(st.integers(1, 3)) for _ in range(rank)),
            "pads": pads,
            "ceil": data.draw(st.booleans()),
            "layout": layout,
        }
        shape = (2, data.draw(st.integers(1, 40)), *(data.draw(st.integers(5, 11)) for _ in kernel))
        x = in_layout(floats(rng, *shape), layout)
        x.flat[7] = math.nan
        q = in_layout(integers(rng, *shape), layout)
        label = str(options)
        cases.add("max" + label, bind(MaxPool, **options), x)
        cases.add("max8" + label, bind(MaxPool, **options), q)
        pad = data.draw(st.booleans())
        cases.add("avg" + label, bind(AvgPool, **options, include_pad=pad), x, tolerance=1e-5)
        cases.add("sum" + label, bind(SumPool, **options, zero=-7), q)
    cases.check()


def test_quantization_ops_are_exact() -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([SPECIAL, floats(rng, 5000) * 40, np.arange(-300, 300, 0.5).astype("f4")])
    scale = np.float32(0.37)
    cases = Cases()
    for dtype, zero in (("i1", -3), ("u1", 128), ("i2", 1000), ("i4", 77)):
        constants: list[Array] = [np.array(scale), np.array(zero, dtype)]
        cases.add(f"quantize_{dtype}", Quantize, x, constants=constants)
        q = integers(rng, 999, dtype=dtype)
        cases.add(f"dequantize_{dtype}", Dequantize, q, constants=constants)
    rows = floats(rng, 4, 6, 5) * 50
    vectors = [(rng.random(6) + 0.1).astype("f4"), integers(rng, 6)]
    cases.add("quantize_rows", Quantize, rows, constants=vectors)
    cases.add("quantize_last", bind(Quantize, axis=2), floats(rng, 4, 5, 6), *vectors)
    cases.add("dequantize_rows", Dequantize, integers(rng, 4, 6, 5), constants=vectors)

    total = rng.integers(-(2**31), 2**31, 20000).astype("i4")
    for multiplier in (1e-9, 3.7e-8, 2.0**-24, 0.5):
        for zero, to in ((0, DType.I8), (-128, DType.I8), (200, DType.U8)):
            lo, hi = to.limits
            make = bind(Requantize, zero=zero, lo=lo, hi=hi, dtype=to)
            cases.add(
                f"requantize{multiplier}", make, total, constants=[np.array(multiplier, "f4")]
            )

    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    a8, b8 = a.ravel().astype("i1"), b.ravel().astype("i1")
    # A fused multiply-add would give other results for some pairs under each of the first six.
    scales = [(0.4403292238712311, 0.13786008954048157), (1.8482142686843872, 0.1964285671710968)]
    scales += [(0.373913049697876, 0.447826087474823), (0.3777429461479187, 0.2507837116718292)]
    scales += [(0.36181819438934326, 0.44363635778427124), (0.40673574805259705, 0.165803104639)]
    scales += [
        (float(np.float32(left)), float(np.float32(right))) for left, right in rng.random((6, 2))
    ]
    for left, right in scales:
        make = bind(QAdd, a_scale=left, b_scale=right, a_zero=5, b_zero=-9, zero=3)
        cases.add(f"qadd{left},{right}", make, a8, b8)
    table = integers(rng, 256)
    cases.add("lookup_i8", Lookup, integers(rng, 300), constants=[table])
    cases.add("lookup_u8", Lookup, integers(rng, 300, dtype="u1"), table)
    cases.check()


def test_what_is_fused_is_the_same() -> None:
    rng = np.random.default_rng(6)
    cases = Cases()

    @chained
    def gelu(chain: Chain, x: Value, half: Value, one: Value, root: Value) -> Op:
        bell = chain(Add(chain(Erf(chain(Div(x, root)))), one))
        return Mul(chain(Mul(x, half)), bell)

    scalars = [np.array(value, "f4") for value in (0.5, 1.0, 2**0.5)]
    cases.add("gelu", gelu, floats(rng, 7, 129), constants=scalars, tolerance=1e-5)

    @chained
    def swish(chain: Chain, x: Value, w: Value, slope: Value) -> Op:
        total = chain(Conv(x, w, pads=(1, 1, 1, 1)))
        return Mul(chain(Tanh(chain(Mul(total, slope)))), slope)

    weights, slope = floats(rng, 20, 5, 3, 3), floats(rng, 20, 1, 1)
    cases.add(
        "conv_tanh", swish, floats(rng, 1, 5, 9, 9), constants=[weights, slope], tolerance=1e-4
    )

    @chained
    def logarithm(chain: Chain, x: Value, w: Value) -> Op:
        return Log(chain(Abs(chain(Matmul(x, w)))))

    cases.add(
        "matmul_log", logarithm, floats(rng, 5, 8), constants=[floats(rng, 8, 33)], tolerance=1e-4
    )

    @chained
    def pooled(chain: Chain, x: Value, multiplier: Value) -> Op:
        return Requantize(chain(SumPool(x, kernel=(4, 4), zero=3)), multiplier, zero=3)

    cases.add("sum_pool", pooled, integers(rng, 2, 33, 8, 8), constants=[np.array(0.06, "f4")])

    @chained
    def reciprocal_softmax(chain: Chain, x: Value) -> Op:
        return Reciprocal(chain(Softmax(x, axis=1)))

    cases.add("softmax", reciprocal_softmax, floats(rng, 3, 40), tolerance=1e-5)
    library = cases.check()
    assert not library.table.fused, "values without a name are not listed"
    cases.check(layout=True)


def test_large_kernels_run_in_parallel() -> None:
    rng = np.random.default_rng(7)
    cases = Cases()
    x, w = floats(rng, 1, 20, 40, 41), floats(rng, 70, 20, 3, 3)
    cases.add("conv", bind(Conv, pads=(1, 1, 1, 1)), x, constants=[w], tolerance=1e-4)
    cases.add("exp", Exp, floats(rng, 70001), tolerance=1e-5)
    cases.add(
        "matmul", Matmul, floats(rng, 65, 300), constants=[floats(rng, 300, 130)], tolerance=1e-4
    )
    # Weights beyond the second-level cache: several passes, and rows of seven taken together.
    deep = floats(rng, 30, 4000)
    sides = [floats(rng, 4000, 100), floats(rng, 100)]
    cases.add("passes", bind(Matmul, lo=-40.0), deep, constants=sides, tolerance=1e-4)
    image, weights = floats(rng, 2, 300, 7, 7), floats(rng, 100, 300, 3, 3)
    rows = bind(Conv, pads=(1, 1, 1, 1), hi=30.0, layout="nhwc")
    cases.add("rows", rows, in_layout(image, "nhwc"), constants=[weights], tolerance=1e-4)
    narrow = bind(Conv, layout="nhwc", groups=2)
    grouped = [floats(rng, 300, 150, 1, 3)]
    cases.add("grouped", narrow, in_layout(image, "nhwc"), constants=grouped, tolerance=1e-4)
    cases.add("softmax", bind(Softmax, axis=1), floats(rng, 500, 100), tolerance=1e-5)
    pads = (0, 0, 1, 1, 0, 0, 1, 1)
    cases.add("pad", bind(Pad, pads=pads), floats(rng, 2, 30, 60, 61))
    cases.check()
