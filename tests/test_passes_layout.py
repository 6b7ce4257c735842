"""Channels last: what moves, what cancels, and which axis is which."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pass_cases import (
    assert_same_outputs,
    constants,
    feeds_of,
    module_of,
    op_counts,
    rewrites,
    run,
)

from mcc.ir import Array, Constant, Module, Value, evaluate, parse, print_module
from mcc.passes import from_onnx_layout, to_onnx_layout

RNG = np.random.default_rng(2)
WEIGHTS: dict[str, Array] = {
    "w": RNG.standard_normal((3, 2, 3, 3)).astype(np.float32),
    "v": RNG.standard_normal((3, 3, 1, 1)).astype(np.float32),
    "i": RNG.integers(-9, 9, (4, 2, 3, 3)).astype(np.int8),
    "f": RNG.integers(-9, 9, (64, 5)).astype(np.int8),
    "j": np.array([[0, 1], [1, 3]]),
    "g": np.array([[0.5, 0.5], [0.25, 0.75]], np.float32),
    "t": np.arange(-128, 128).astype(np.int8)[::-1],
}
NCHW = '(%x: f32[1,2,4,4]) -> ("y")'
NHWC = '(%x: f32[1,4,4,2]) -> ("y")'


def converts(text: str, signature: str, counts: dict[str, int], *, exact: bool = True) -> Module:
    """Assert what is left, that every named value is the ONNX tensor it names, and the outputs."""
    module = module_of(text, signature, WEIGHTS)
    feeds = feeds_of(module)
    tensors: dict[str, Array] = {}
    quants = {value.name: value.quant for value in module.values()}

    def keep(value: Value, array: Array) -> None:
        tensors[value.name] = array

    expected = evaluate(module, feeds, observe=keep)
    run(module, "layout,dce")
    assert op_counts(module) == counts
    printed = print_module(module)
    assert parse(printed.text, printed.weights) == module

    def compare(value: Value, array: Array) -> None:
        if value.name not in tensors or isinstance(value.op, Constant):
            return
        seen = to_onnx_layout(array, value)
        assert_same_outputs({"": tensors[value.name]}, {"": seen}, exact=exact)
        assert np.array_equal(from_onnx_layout(seen, value), array)
        before, after = quants[value.name], value.quant
        if before is not None and before.axis is not None:
            assert after is not None
            assert after.axis is not None
            assert value.axes is not None
            assert value.axes[after.axis] == before.axis

    found = evaluate(module, feeds, observe=compare)
    assert_same_outputs(expected, found, exact=exact)
    text_after = str(module)
    run(module, "layout,dce")
    assert str(module) == text_after
    return module


def test_one_transpose_stays_at_the_input() -> None:
    rewrites(
        "layout,dce",
        """
        %w = constant(@w) : f32[3,2,3,3]
        %v = constant(@v) : f32[3,3,1,1]
        %a = conv(%x, %w, pads=[1,1,1,1], lo=0.0) : f32[1,3,4,4] from "/a"
        %b = conv(%a, %v, r=%a) : f32[1,3,4,4] from "/b"
        %p = max_pool(%b, kernel=[4,4]) : f32[1,3,1,1] from "/pool"
        %y = reshape(%p, shape=[1,3]) : f32[1,3] from "/flatten"
        yield(%y)
        """,
        """
        %w = constant(@w) : f32[3,2,3,3]
        %v = constant(@v) : f32[3,3,1,1]
        %0 = transpose(%x, perm=[0, 2, 3, 1]) : f32[1,4,4,2] axes(0, 2, 3, 1) from "/a"
        %a = conv(%0, %w, pads=[1, 1, 1, 1], lo=0.0, layout="nhwc") : f32[1,4,4,3] axes(0, 2, 3, 1) from "/a"
        %b = conv(%a, %v, r=%a, layout="nhwc") : f32[1,4,4,3] axes(0, 2, 3, 1) from "/b"
        %p = max_pool(%b, kernel=[4, 4], layout="nhwc") : f32[1,1,1,3] axes(0, 2, 3, 1) from "/pool"
        %y = reshape(%p, shape=[1, 3]) : f32[1,3] from "/flatten"
        yield(%y)
        """,  # noqa: E501  # one op is one line
        NCHW,
        weights=WEIGHTS,
    )


def test_transposes_of_a_channels_last_model_vanish() -> None:
    module = module_of(
        """
        %w = constant(@w) : f32[3,2,3,3]
        %t = transpose(%x, perm=[0,3,1,2]) : f32[1,2,4,4] from "/in"
        %c = conv(%t, %w) : f32[1,3,2,2] from "/conv"
        %y = transpose(%c, perm=[0,2,3,1]) : f32[1,2,2,3] from "/out"
        yield(%y)
        """,
        NHWC,
        WEIGHTS,
    )
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)
    run(module, "layout,dce")
    assert op_counts(module) == {"conv": 1}
    (op,) = [op for op in module.ops() if op.op_name == "conv"]
    assert op.nodes == ("/in", "/conv")
    assert op.result.axes == (0, 2, 3, 1)
    assert_same_outputs(expected, evaluate(module, feeds), exact=True)


def test_an_output_of_the_original_layout_gets_it_back() -> None:
    module = converts(
        "%w = constant(@w) : f32[3,2,3,3]\n%y = conv(%x, %w) : f32[1,3,2,2]\nyield(%y)",
        NCHW,
        {"transpose": 2, "conv": 1},
    )
    assert module.outputs[0].axes is None


def test_axes_of_extent_one_cost_nothing() -> None:
    module = module_of(
        """
        %w = constant(@k) : f32[3,1,3,3]
        %r = reshape(%x, shape=[1,1,4,4]) : f32[1,1,4,4] from "/reshape"
        %c = conv(%r, %w) : f32[1,3,2,2] from "/conv"
        %y = reduce_max(%c, axes=[2,3]) : f32[1,3] from "/max"
        yield(%y)
        """,
        '(%x: f32[1,4,4,1]) -> ("y")',
        {"k": RNG.standard_normal((3, 1, 3, 3)).astype(np.float32)},
    )
    run(module, "layout,dce")
    assert op_counts(module) == {"conv": 1, "reduce_max": 1}


INTEGER = """
    %w = constant(@i) : i8[4,2,3,3]
    %f = constant(@f) : i8[64,5]
    %t = constant(@t) : i8[256]
    %m = constant(f32 [0.01, 0.02, 0.03, 0.04]) : f32[4]
    %s = constant(f32 0.25) : f32[]
    %a = conv(%x, %w, pads=[1,1,1,1]) : i32[1,4,4,4] quant([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0], 1)
    %b = requantize(%a, %m) : i8[1,4,4,4] quant(0.5, 0)
    %c = lookup(%b, %t) : i8[1,4,4,4]
    %d = qadd(%b, %c, a_scale=0.5, b_scale=0.75) : i8[1,4,4,4]
    %e = slice(%d, starts=[0,0,0,0], stops=[1,4,4,2]) : i8[1,4,4,2]
    %g = pad(%e, pads=[0,0,0,1,0,0,0,1]) : i8[1,4,4,4]
    %h = concat(%d, %g, axis=1) : i8[1,8,4,4]
    %n = max_pool(%h, kernel=[2,2], strides=[2,2]) : i8[1,8,2,2]
    %p = sum_pool(%h, kernel=[2,2], strides=[2,2], zero=1) : i32[1,8,2,2]
    %q = requantize(%p, %s) : i8[1,8,2,2]
    %u = qadd(%n, %q, a_scale=0.5, b_scale=0.5) : i8[1,8,2,2]
"""  # one op is one line


def test_a_lowered_module_has_one_transpose() -> None:
    signature = '(%x: i8[1,2,4,4]) -> ("y")'
    counts = {"transpose": 1, "conv": 1, "requantize": 2, "lookup": 1, "qadd": 2, "slice": 1}
    counts |= {"pad": 1, "concat": 1, "max_pool": 1, "sum_pool": 1, "reshape": 1}
    converts(
        INTEGER + "%v = sum_pool(%u, kernel=[2,2]) : i32[1,8,1,1]\n"
        "%y = reshape(%v, shape=[1,8]) : i32[1,8]\nyield(%y)",
        signature,
        counts | {"sum_pool": 2},
    )


def test_the_rows_of_weights_behind_a_flatten_are_permuted() -> None:
    counts = {"transpose": 1, "conv": 1, "requantize": 3, "lookup": 2, "reshape": 1, "matmul": 1}
    module = converts(
        """
        %w = constant(@i) : i8[4,2,3,3]
        %f = constant(@f) : i8[64,5]
        %t = constant(@t) : i8[256]
        %s = constant(f32 0.25) : f32[]
        %a = conv(%x, %w, pads=[1,1,1,1]) : i32[1,4,4,4]
        %b = requantize(%a, %s) : i8[1,4,4,4]
        %c = lookup(%b, %t) : i8[1,4,4,4]
        %d = reshape(%c, shape=[1,64]) : i8[1,64]
        %e = lookup(%d, %t) : i8[1,64]
        %g = matmul(%e, %f) : i32[1,5]
        %y = requantize(%g, %s) : i8[1,5]
        %z = requantize(%g, %s, hi=0) : i8[1,5]
        yield(%y, %z)
        """,
        '(%x: i8[1,2,4,4]) -> ("y", "z")',
        counts,
    )
    assert not any(value.name in ("d", "e") for value in module.values())
    (rows,) = [array for array in constants(module) if array.shape == (64, 5)]
    assert not np.array_equal(rows, WEIGHTS["f"])
    assert sorted(map(bytes, rows)) == sorted(map(bytes, WEIGHTS["f"]))


def test_another_reader_of_a_flatten_wants_the_transpose() -> None:
    converts(
        """
        %w = constant(@i) : i8[4,2,3,3]
        %f = constant(@f) : i8[64,5]
        %s = constant(f32 0.25) : f32[]
        %a = conv(%x, %w, pads=[1,1,1,1]) : i32[1,4,4,4]
        %b = requantize(%a, %s) : i8[1,4,4,4]
        %d = reshape(%b, shape=[1,64]) : i8[1,64]
        %y = matmul(%d, %f) : i32[1,5]
        yield(%y, %d)
        """,
        '(%x: i8[1,2,4,4]) -> ("y", "d")',
        {"transpose": 2, "conv": 1, "requantize": 1, "reshape": 1, "matmul": 1},
    )


def test_element_wise_operands_follow() -> None:
    converts(
        """
        %w = constant(@w) : f32[3,2,3,3]
        %k = constant(f32 [1.0, 2.0]) : f32[2]
        %a = conv(%x, %w) : f32[1,3,2,2]
        %r = slice(%x, starts=[0,0,0,0], stops=[1,1,2,2]) : f32[1,1,2,2]
        %q = reshape(%r, shape=[2,2]) : f32[2,2]
        %b = mul(%a, %k) : f32[1,3,2,2]
        %c = add(%b, %r) : f32[1,3,2,2]
        %d = sub(%q, %c) : f32[1,3,2,2]
        %e = less(%d, %a) : i1[1,3,2,2]
        %f = where(%e, %a, %d) : f32[1,3,2,2]
        %g = softmax(%f, axis=1) : f32[1,3,2,2]
        %h = reduce_mean(%g, axes=[1], keepdims=true) : f32[1,1,2,2]
        %y = reduce_max(%h, axes=[0,1,2,3]) : f32[]
        yield(%y)
        """,
        NCHW,
        {
            "transpose": 1,
            "conv": 1,
            "slice": 1,
            "reshape": 2,
            "mul": 1,
            "add": 1,
            "sub": 1,
            "less": 1,
            "where": 1,
            "softmax": 1,
            "reduce_mean": 1,
            "reduce_max": 1,
        },
        exact=False,
    )


def test_sampling_follows_its_axis() -> None:
    converts(
        """
        %w = constant(@w) : f32[3,2,3,3]
        %i = constant(i64 [0, 0, 1, 1]) : i64[4]
        %j = constant(@j) : i64[2,2]
        %f = constant(@g) : f32[2,2]
        %a = conv(%x, %w) : f32[1,3,2,2]
        %b = gather(%a, %i, axis=3) : f32[1,3,2,4]
        %c = resample(%b, %j, %f, axis=2) : f32[1,3,2,4]
        %y = reduce_max(%c, axes=[0,1,2,3]) : f32[]
        yield(%y)
        """,
        NCHW,
        {"transpose": 1, "conv": 1, "gather": 1, "resample": 1, "reduce_max": 1},
        exact=False,
    )


def test_per_channel_scales_follow_their_axis() -> None:
    converts(
        """
        %w = constant(@w) : f32[3,2,3,3]
        %s = constant(f32 [0.5, 0.25, 0.125]) : f32[3]
        %z = constant(i8 [0, 1, 2]) : i8[3]
        %a = conv(%x, %w) : f32[1,3,2,2]
        %q = quantize(%a, %s, %z) : i8[1,3,2,2] quant([0.5, 0.25, 0.125], [0, 1, 2], 1)
        %d = dequantize(%q, %s, %z) : f32[1,3,2,2]
        %y = reduce_max(%d, axes=[2,3]) : f32[1,3]
        yield(%y)
        """,
        NCHW,
        {"transpose": 1, "conv": 1, "quantize": 1, "dequantize": 1, "reduce_max": 1},
    )


@pytest.mark.parametrize(("rank", "pool"), [(3, "[2]"), (5, "[2,2,2]")])
def test_other_ranks_have_their_channels_last_too(rank: int, pool: str) -> None:
    dims = ",".join(["1", "3"] + ["4"] * (rank - 2))
    out = ",".join(["1", "3"] + ["3"] * (rank - 2))
    module = converts(
        f"%a = max_pool(%x, kernel={pool}) : f32[{out}]\n"
        f"%y = reduce_max(%a, axes=[1]) : f32[{out.replace(',3', '', 1)}]\nyield(%y)",
        f'(%x: f32[{dims}]) -> ("y")',
        {"transpose": 1, "max_pool": 1, "reduce_max": 1},
    )
    (op,) = [op for op in module.ops() if op.op_name == "max_pool"]
    assert op.result.axes == (0, *range(2, rank), 1)


@st.composite
def movements(draw: st.DrawFn) -> Module:
    """Reshapes, transposes and element-wise ops around pools, at random."""
    shape = draw(st.lists(st.integers(1, 4), min_size=3, max_size=4))
    lines: list[str] = []
    signature = f'(%v0: i8[{",".join(map(str, shape))}]) -> ("y")'
    for i in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["reshape", "transpose", "pool", "relu", "add", "slice"]))
        x = f"%v{i}"
        match kind:
            case "reshape":
                shape = draw(regrouped(shape))
                call = f"reshape({x}, shape={shape})"
            case "transpose":
                perm = draw(st.permutations(range(len(shape))))
                shape = [shape[axis] for axis in perm]
                call = f"transpose({x}, perm={list(perm)})"
            case "pool" if len(shape) > 2:
                call = f"max_pool({x}, kernel={[1] * (len(shape) - 2)})"
            case "slice":
                stops = [draw(st.integers(1, dim)) for dim in shape]
                call = f"slice({x}, starts={[0] * len(shape)}, stops={stops})"
                shape = stops
            case "add":
                call = f"add({x}, {x})"
            case _:
                call = f"relu({x})"
        lines.append(f"%v{i + 1} = {call} : i8[{','.join(map(str, shape))}]")
    lines.append(f"yield(%v{len(lines)})")
    return module_of("\n".join(lines), signature)


@st.composite
def regrouped(draw: st.DrawFn, shape: list[int]) -> list[int]:
    """A shape of as many elements: neighbours merged, axes of extent 1 inserted."""
    dims = list(shape)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(dims)))
        if at < len(dims) - 1 and draw(st.booleans()):
            dims[at : at + 2] = [dims[at] * dims[at + 1]]
        elif len(dims) < 5:
            dims.insert(at, 1)
    return dims


@given(movements())
def test_any_movement_computes_the_same(module: Module) -> None:
    feeds = feeds_of(module)
    tensors: dict[str, Array] = {}

    def keep(value: Value, array: Array) -> None:
        tensors[value.name] = array

    expected = evaluate(module, feeds, observe=keep)

    def compare(value: Value, array: Array) -> None:
        if value.name in tensors:
            assert np.array_equal(to_onnx_layout(array, value), tensors[value.name])

    run(module, "layout,dce")
    found = evaluate(module, feeds, observe=compare)
    assert np.array_equal(expected["y"], found["y"])
