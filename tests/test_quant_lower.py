"""Integer ops against the formulas of docs/numerics.md, written out once more in plain numpy."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_cases import (
    Network,
    differing,
    integer_values,
    lowered,
    ops_named,
    quantized,
    residual_network,
    samples_of,
)

from mcc.ir import Array, DType, Module, RewriteReport, constant, constant_of, evaluate, parse
from mcc.ops import (
    AvgPool,
    Conv,
    Dequantize,
    Gather,
    LeakyRelu,
    Matmul,
    MaxPool,
    Mul,
    Quantize,
    ReduceMean,
    Reshape,
    Sigmoid,
    Tanh,
    Transpose,
)
from mcc.passes.quantization import Scheme, scheme_for

CPU = Scheme()
ACCELERATOR = Scheme(residual="accumulate")
STOCK = scheme_for((), "riscv_accel")
F32 = np.float32


def parameter(op: Quantize | Dequantize) -> tuple[Array, int]:
    scale, zero = constant_of(op.scale), constant_of(op.zero)
    assert scale is not None
    assert zero is not None
    return scale, int(np.atleast_1d(zero)[0])


def expected_product(op: Conv | Matmul, q: Quantize, values: dict[str, Array]) -> Array:
    """One QDQ product by the rules, with Python integers for the sum."""
    x, w = op.x.op, op.w.op
    assert isinstance(x, Dequantize)
    assert isinstance(w, Dequantize)
    (s_x, z_x), (s_w, _), (s_y, z_y) = parameter(x), parameter(w), parameter(q)
    weights = constant_of(w.x)
    assert weights is not None
    integers = values[x.x.name].astype(np.int64) - z_x
    if isinstance(op, Conv):
        plain = Conv(op.x, op.w, strides=op.strides, pads=op.pads, groups=op.groups)
        total = plain.evaluate(
            integers.astype(np.float64), weights.astype(np.float64), None, None, None
        )
        columns: tuple[int, ...] = (1, -1, 1, 1)
    else:
        total = integers.astype(np.float64) @ weights.astype(np.float64)
        columns = (-1,)
    acc = np.rint(total).astype(np.int64)
    unit = (s_x * s_w).astype(F32)
    if op.b is not None:
        b = op.b.op
        assert isinstance(b, Dequantize)
        bias = constant_of(b.x)
        assert bias is not None
        acc = acc + bias.astype(np.int64).reshape(columns)
    if op.r is not None:
        r = op.r.op
        assert isinstance(r, Dequantize)
        s_r, z_r = parameter(r)
        k = np.rint(s_r.astype(np.float64) / unit.astype(np.float64))
        factor = k.reshape(columns) if k.ndim else k
        acc = acc + (factor * (values[r.x.name].astype(np.int64) - z_r)).astype(np.int64)
    multiplier: Array = (unit / s_y).astype(F32)
    scaled = acc.astype(F32) * (multiplier.reshape(columns) if multiplier.ndim else multiplier)
    y: Array = np.clip(np.rint(scaled).astype(np.float64) + z_y, -128, 127)

    def bound(real: float, default: int) -> float:
        if not np.isfinite(real):
            return default
        return float(np.clip(np.rint(F32(real) / s_y) + z_y, -128, 127))

    clamped: Array = np.clip(y, bound(op.lo, -128), bound(op.hi, 127))
    return clamped.astype(np.int8)


def check_products(module: Module, integers: Module) -> int:
    """Every product of a QDQ module that is quantized, against the values of its lowered form."""
    checked = 0
    for feeds in samples_of(module, 2, seed=3):
        values = integer_values(integers, feeds)
        for q in ops_named(module, "quantize"):
            assert isinstance(q, Quantize)
            op = q.x.op
            if isinstance(op, Conv | Matmul):
                np.testing.assert_array_equal(
                    values[q.result.name], expected_product(op, q, values), q.result.name
                )
                checked += 1
    return checked


@pytest.mark.parametrize("scheme", [CPU, ACCELERATOR, STOCK, Scheme(mode="portable")])
def test_products_follow_the_formula(scheme: Scheme) -> None:
    module = quantized(residual_network(), scheme)
    assert check_products(module, lowered(module)) == 2 * 7


@st.composite
def networks(draw: st.DrawFn) -> Module:
    """Chains of convolutions, pools and residuals with all sorts of geometry."""
    net = Network((1, draw(st.integers(1, 4)), 8, 8), draw(st.integers(0, 1000)))
    value = net.x
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "depthwise", "pool", "residual"]))
        channels = value.tensor.dims[1]
        if kind == "conv":
            kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
            hi = draw(st.sampled_from([np.inf, 6.0, 1.0]))
            relu = draw(st.booleans())
            value = net.conv(
                value, draw(st.integers(1, 9)), kernel, stride=stride, relu=relu, hi=hi
            )
        elif kind == "depthwise":
            value = net.conv(value, channels, groups=channels)
        elif kind == "pool" and value.tensor.dims[2] >= 4:
            value = net.max_pool(value)
        else:
            value = net.residual(value, net.conv(value, channels, relu=False))
    return net.module(net.head(value))


SCHEMES = st.builds(
    Scheme,
    activations=st.sampled_from(["affine", "symmetric"]),
    weights=st.sampled_from(["per_channel", "per_tensor"]),
    residual=st.sampled_from(["add", "accumulate"]),
    mode=st.sampled_from(["strict", "portable"]),
    clamps=st.booleans(),
    equalize=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(networks(), SCHEMES)
def test_any_network_under_any_scheme(float_module: Module, scheme: Scheme) -> None:
    module = quantized(float_module, scheme)
    report = RewriteReport()
    integers = lowered(module, report)
    # A network that only pools its input has nothing to compute on integers before that.
    assert {why for _, _, why in report.declined} <= {"its input is no dequantized integers"}
    check_products(module, integers)
    feeds = samples_of(module, 1, seed=9)[0]
    floats = evaluate(float_module, feeds)["y0"]
    found = evaluate(integers, feeds)["y0"]
    # Coarse, but far below what a wrong scale, zero point or factor would do.
    assert np.abs(found - floats).max() < 0.3 * np.abs(floats).max() + 0.3
    _, largest, counts = differing(integer_values(integers, feeds), integer_values(module, feeds))
    # Float sums of the QDQ form and integer sums round apart at ties only; one may pull a next one.
    assert sum(counts.values()) <= 8, counts
    if scheme.portable:
        assert not counts
        assert largest == 0


def test_average_pool_is_a_sum_and_one_multiplication() -> None:
    net = Network((1, 2, 5, 5))
    value = net.conv(net.x, 4)
    module = quantized(net.module(net.add(AvgPool(value, (3, 3), strides=(2, 2)), "mean")), CPU)
    integers = lowered(module)
    (pool,) = ops_named(integers, "sum_pool")
    feeds = samples_of(module, 1)[0]
    values = integer_values(integers, feeds)
    source = pool.operands[0]
    assert source.quant is not None
    q = next(op for op in ops_named(module, "quantize") if op.result.name == "mean.q")
    assert isinstance(q, Quantize)
    s_y, z_y = parameter(q)
    s_x, z_x = source.quant.scale[0], source.quant.zero[0]
    x = values[source.name].astype(np.int64) - z_x
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2]
    multiplier = F32(s_x / (9 * float(s_y)))
    y = np.rint(windows.sum((-2, -1)).astype(F32) * multiplier) + z_y
    np.testing.assert_array_equal(values["mean.q"], np.clip(y, -128, 127).astype(np.int8))


def test_windows_of_unequal_size_stay_float() -> None:
    net = Network((1, 2, 5, 5))
    value = net.conv(net.x, 4)
    pooled = net.add(AvgPool(value, (3, 3), pads=(1, 1, 1, 1)), "mean")
    report = RewriteReport()
    module = quantized(net.module(net.conv(pooled, 4)), CPU, report)
    reasons = {op.op_name: reason for _, op, reason in report.declined}
    assert reasons == {
        "avg_pool": "its windows are of different sizes, or not over the spatial axes"
    }
    assert ops_named(lowered(module), "avg_pool")


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_mean_over_the_spatial_axes_is_a_pool(keepdims: bool) -> None:
    net = Network((1, 2, 4, 4))
    mean = net.add(ReduceMean(net.conv(net.x, 4), (2, 3), keepdims=keepdims), "mean")
    module = quantized(net.module(mean), CPU)
    integers = lowered(module)
    assert ops_named(integers, "sum_pool")
    assert not ops_named(integers, "reduce_mean")
    feeds = samples_of(module, 1)[0]
    np.testing.assert_allclose(
        evaluate(integers, feeds)["y0"], evaluate(module, feeds)["y0"], atol=0.02
    )


def test_functions_become_tables_of_their_float64_values() -> None:
    net = Network((1, 2, 4, 4))
    value = net.conv(net.x, 4, relu=False)
    gate = net.add(Sigmoid(value), "gate")
    silu = net.add(Mul(value, gate), "silu")
    module = quantized(net.module(net.conv(silu, 3)), CPU)
    integers = lowered(module)
    (lookup,) = ops_named(integers, "lookup")
    assert lookup.result.name == "silu.q"
    table = constant_of(lookup.operands[1])
    source, target = lookup.operands[0].quant, lookup.result.quant
    assert table is not None
    assert source is not None
    assert target is not None
    for i in range(-128, 128):
        x = F32(i - source.zero[0]) * F32(source.scale[0])
        y = F32(x) * F32(1 / (1 + np.exp(-np.float64(x))))
        exact = np.rint(y / F32(target.scale[0])) + target.zero[0]
        assert table[i + 128] == np.clip(exact, -128, 127)


def test_a_function_at_the_end_stays_float() -> None:
    net = Network((1, 2, 4, 4))
    report = RewriteReport()
    module = quantized(net.module(net.add(Tanh(net.conv(net.x, 4)))), CPU, report)
    assert [(op.op_name, reason) for _, op, reason in report.declined] == [
        ("tanh", "only float ops read its result, so float keeps its precision")
    ]
    assert ops_named(lowered(module), "tanh")


def test_leaky_relu_between_convolutions_is_a_table() -> None:
    net = Network((1, 2, 4, 4))
    value = net.add(LeakyRelu(net.conv(net.x, 4, relu=False), alpha=0.1))
    module = quantized(net.module(net.conv(value, 3)), CPU)
    assert len(ops_named(lowered(module), "lookup")) == 1


def test_moves_keep_their_scale() -> None:
    net = Network((1, 2, 4, 4))
    value = net.conv(net.x, 4)
    value = net.add(MaxPool(value, (2, 2), strides=(2, 2)))
    value = net.add(Transpose(value, (0, 2, 3, 1)))
    module = quantized(net.module(net.add(Reshape(value, (1, 16)))), CPU)
    integers = lowered(module)
    quants = {
        op.result.quant
        for name in ("requantize", "max_pool", "transpose", "reshape")
        for op in ops_named(integers, name)
    }
    assert len(quants) == 1
    assert len(ops_named(integers, "quantize")) == len(ops_named(integers, "dequantize")) == 1


def test_nearest_neighbours_are_picked_among_integers() -> None:
    net = Network((1, 2, 4, 4))
    twice = net.add(constant(np.repeat(np.arange(4), 2)))
    value = net.add(Gather(net.conv(net.x, 4), twice, axis=2))
    module = quantized(net.module(net.conv(net.add(Gather(value, twice, axis=3)), 3)), CPU)
    integers = lowered(module)
    picked = ops_named(integers, "gather")
    assert [op.result.tensor.dtype for op in picked] == [DType.I8] * 2
    assert len({op.result.quant for op in picked} | {picked[0].operands[0].quant}) == 1


def test_a_transpose_of_the_input_moves_integers() -> None:
    net = Network((1, 4, 4, 2))
    value = net.add(Transpose(net.x, (0, 3, 1, 2)), "nchw")
    integers = lowered(quantized(net.module(net.conv(value, 3)), CPU))
    (transpose,) = ops_named(integers, "transpose")
    assert transpose.operands[0].name == "x.q"


def vendor(body: str, inputs: str = "%x: i8[1,2,4,4]") -> Module:
    weights = {"w": np.asarray([1, 2], np.int8).reshape(1, 2, 1, 1)} if "@w" in body else {}
    return parse(f'module @v({inputs}) -> ("y") {{\n{body}\n}}\n', weights)


def steps(module: Module) -> list[str]:
    return [op.op_name for op in module.ops() if op.op_name != "constant"]


PARAMETERS = """
%s = constant(f32 0.5) : f32[]
%t = constant(f32 0.25) : f32[]
%z = constant(i8 3) : i8[]
%n = constant(i8 0) : i8[]
"""


def test_other_scales_on_a_pool_become_a_table_before_it() -> None:
    module = vendor(f"""{PARAMETERS}
%xd = dequantize(%x, %s, %n) : f32[1,2,4,4]
%p = max_pool(%xd, kernel=[2,2], strides=[2,2]) : f32[1,2,2,2]
%y = quantize(%p, %t, %z) : i8[1,2,2,2]
yield(%y)""")
    x = np.arange(-16, 16, dtype=np.int8).reshape(1, 2, 4, 4)
    expected = evaluate(module, {"x": x})["y"]
    integers = lowered(module)
    assert steps(integers) == ["lookup", "max_pool", "yield"]
    np.testing.assert_array_equal(evaluate(integers, {"x": x})["y"], expected)


def test_moves_in_a_row_move_integers() -> None:
    module = vendor(f"""{PARAMETERS}
%f = dequantize(%x, %s, %z) : f32[1,2,4,4]
%r = reshape(%f, shape=[1,2,16]) : f32[1,2,16]
%m = transpose(%r, perm=[0,2,1]) : f32[1,16,2]
%y = quantize(%m, %s, %z) : i8[1,16,2]
yield(%y)""")
    integers = lowered(module)
    assert steps(integers) == ["reshape", "transpose", "yield"]
    x = np.arange(-16, 16, dtype=np.int8).reshape(1, 2, 4, 4)
    expected = x.reshape(1, 2, 16).transpose(0, 2, 1)
    np.testing.assert_array_equal(evaluate(integers, {"x": x})["y"], expected)


def test_moves_stay_float_behind_one_that_others_read() -> None:
    module = vendor(f"""{PARAMETERS}
%f = dequantize(%x, %s, %z) : f32[1,2,4,4]
%r = reshape(%f, shape=[1,2,16]) : f32[1,2,16]
%m = transpose(%r, perm=[0,2,1]) : f32[1,16,2]
%q = quantize(%m, %s, %z) : i8[1,16,2]
%o = transpose(%r, perm=[0,2,1]) : f32[1,16,2]
%p = quantize(%o, %t, %z) : i8[1,16,2]
%y = concat(%q, %p, axis=0) : i8[2,16,2]
yield(%y)""")
    assert steps(lowered(module)).count("quantize") == 2


def test_dequantize_and_quantize_alike_is_nothing() -> None:
    module = vendor(f"""{PARAMETERS}
%xd = dequantize(%x, %s, %z) : f32[1,2,4,4]
%y = quantize(%xd, %s, %z) : i8[1,2,4,4]
yield(%y)""")
    assert steps(lowered(module)) == ["yield"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            """%w = constant(@w) : i8[1,2,1,1]
%wd = dequantize(%w, %s, %n) : f32[1,2,1,1]
%c = conv(%xd, %wd) : f32[1,1,4,4]
%r = constant(f32 0.3) : f32[]
%rd = dequantize(%r8, %r, %n) : f32[1,1,4,4]
%a = add(%c, %rd) : f32[1,1,4,4]
%y = quantize(%a, %t, %z) : i8[1,1,4,4]
yield(%y)""",
            "its residual's scale is no multiple of the accumulator's",
        ),
        (
            """%y = quantize(%soft, %t, %z) : i8[1,2,4,4]
yield(%y)""",
            "softmax has no integer form",
        ),
    ],
)
def test_what_stays_float_says_why(body: str, reason: str) -> None:
    module = vendor(
        f"""{PARAMETERS}
%xd = dequantize(%x, %s, %n) : f32[1,2,4,4]
%soft = softmax(%xd, axis=1) : f32[1,2,4,4]
{body}""",
        "%x: i8[1,2,4,4], %r8: i8[1,1,4,4]",
    )
    report = RewriteReport()
    lowered(module, report)
    assert [why for _, _, why in report.declined] == [reason]


def test_a_scale_that_is_a_multiple_is_found_again() -> None:
    module = vendor(
        f"""{PARAMETERS}
%xd = dequantize(%x, %s, %n) : f32[1,2,4,4]
%w = constant(@w) : i8[1,2,1,1]
%wd = dequantize(%w, %t, %n) : f32[1,2,1,1]
%c = conv(%xd, %wd) : f32[1,1,4,4]
%r = constant(f32 0.875) : f32[]
%rd = dequantize(%r8, %r, %z) : f32[1,1,4,4]
%a = add(%rd, %c) : f32[1,1,4,4]
%y = quantize(%a, %s, %z) : i8[1,1,4,4]
yield(%y)""",
        "%x: i8[1,2,4,4], %r8: i8[1,1,4,4]",
    )
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (1, 2, 4, 4)).astype(np.int8)
    r = rng.integers(-128, 128, (1, 1, 4, 4)).astype(np.int8)
    integers = lowered(module)
    (conv,) = ops_named(integers, "conv")
    assert isinstance(conv, Conv)
    factor = constant_of(conv.k)
    assert factor is not None
    assert factor.tolist() == [7]  # 0.875 / (0.5 * 0.25)
    wide, rest = x.astype(np.int64), r.astype(np.int64) - 3
    acc = wide[:, :1] + 2 * wide[:, 1:] + 7 * rest
    expected = [round(Fraction(int(a), 4)) + 3 for a in acc.ravel()]
    found = evaluate(integers, {"x": x, "r8": r})["y"].ravel()
    np.testing.assert_array_equal(found, np.clip(expected, -128, 127))
