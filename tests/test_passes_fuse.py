"""Batch-norm folding and the fusions: IR before, IR after."""

from collections.abc import Mapping

import numpy as np
import pytest
from pass_cases import (
    assert_same_outputs,
    declines,
    feeds_of,
    module_of,
    op_counts,
    rewrites,
    run,
)

from mcc.ir import Array, Module, evaluate

X = '(%x: f32[1,2,4,4]) -> ("y")'
RNG = np.random.default_rng(1)
WEIGHTS: Mapping[str, Array] = {
    "w": RNG.standard_normal((3, 2, 3, 3)).astype(np.float32),
    "v": RNG.standard_normal((3, 3, 1, 1)).astype(np.float32),
    "d": RNG.standard_normal((2, 1, 3, 3)).astype(np.float32),
    "m": RNG.standard_normal((4, 3)).astype(np.float32),
    "c": RNG.standard_normal((3, 1, 1)).astype(np.float32),
}
BATCH_NORM = """
    %scale = constant(f32 [0.5, 2.0, -1.0]) : f32[3]
    %bias = constant(f32 [1.0, 0.0, -3.0]) : f32[3]
    %mean = constant(f32 [0.25, -1.0, 4.0]) : f32[3]
    %var = constant(f32 [1.0, 0.5, 9.0]) : f32[3]
"""


def folds(passes: str, text: str, signature: str, counts: dict[str, int]) -> Module:
    """Assert what is left after the passes, and that it computes the same."""
    module = module_of(text, signature, WEIGHTS)
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)
    nodes = {node for op in module.ops() for node in op.nodes}
    run(module, passes)
    assert op_counts(module) == counts
    assert_same_outputs(expected, evaluate(module, feeds), exact=False)
    assert nodes == {node for op in module.ops() for node in op.nodes}
    return module


def test_a_batch_norm_moves_into_the_convolution_before_it() -> None:
    module = folds(
        "fold-batch-norm,dce",
        f"""
        %w = constant(@w) : f32[3,2,3,3]
        %c = conv(%x, %w, pads=[1,1,1,1]) : f32[1,3,4,4] from "/conv"
        {BATCH_NORM}
        %y = batch_norm(%c, %scale, %bias, %mean, %var) : f32[1,3,4,4] from "/bn"
        yield(%y)
        """,
        X,
        {"conv": 1},
    )
    conv = module.outputs[0].op
    assert conv is not None
    assert conv.nodes == ("/conv", "/bn")
    assert module.outputs[0].name == "y"


def test_a_batch_norm_moves_into_the_matmul_before_it() -> None:
    folds(
        "fuse-bias,fold-batch-norm,dce",
        f"""
        %w = constant(@m) : f32[4,3]
        %b = constant(f32 [1.0, 2.0, 3.0]) : f32[3]
        %m = matmul(%x, %w) : f32[5,3] from "/Gemm"
        %a = add(%m, %b) : f32[5,3] from "/Gemm"
        {BATCH_NORM}
        %y = batch_norm(%a, %scale, %bias, %mean, %var) : f32[5,3] from "/bn"
        yield(%y)
        """,
        '(%x: f32[5,4]) -> ("y")',
        {"matmul": 1},
    )


@pytest.mark.parametrize("groups", [1, 3])
def test_a_batch_norm_moves_into_the_convolution_behind_it(groups: int) -> None:
    weights = "@d3" if groups == 3 else "@v"
    shape = "f32[3,1,2,2]" if groups == 3 else "f32[3,3,1,1]"
    out = "f32[1,3,3,3]" if groups == 3 else "f32[1,3,4,4]"
    text = f"""
        {BATCH_NORM}
        %n = batch_norm(%x, %scale, %bias, %mean, %var) : f32[1,3,4,4] from "/bn"
        %w = constant({weights}) : {shape}
        %y = conv(%n, %w, b=%bias, groups={groups}) : {out} from "/conv"
        yield(%y)
    """
    module = module_of(
        text,
        '(%x: f32[1,3,4,4]) -> ("y")',
        {**WEIGHTS, "d3": RNG.standard_normal((3, 1, 2, 2)).astype(np.float32)},
    )
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)
    run(module, "fold-batch-norm,dce")
    assert op_counts(module) == {"conv": 1}
    assert_same_outputs(expected, evaluate(module, feeds), exact=False)


PADDED = f"""
    {BATCH_NORM}
    %n = batch_norm(%x, %scale, %bias, %mean, %var) : f32[1,3,4,4] from "/bn"
    %w = constant(@v) : f32[3,3,1,1]
    %y = conv(%n, %w, pads=[1,1,1,1]) : f32[1,3,6,6] from "/conv"
    yield(%y)
"""


def test_padding_behind_a_batch_norm_keeps_it() -> None:
    declines(
        "fold-batch-norm{leftover=keep}",
        PADDED,
        '(%x: f32[1,3,4,4]) -> ("y")',
        "padding inserts 0 behind the batch_norm, and its shift is not 0",
        WEIGHTS,
    )


@pytest.mark.parametrize(
    ("leftover", "counts"),
    [("mul-add", {"mul": 1, "add": 1, "conv": 1}), ("depthwise", {"conv": 2})],
)
def test_a_batch_norm_that_nobody_takes(leftover: str, counts: dict[str, int]) -> None:
    text = f"fold-batch-norm{{leftover={leftover}}},dce"
    folds(text, PADDED, '(%x: f32[1,3,4,4]) -> ("y")', counts)


def test_a_shared_convolution_keeps_its_batch_norm() -> None:
    declines(
        "fold-batch-norm{leftover=keep}",
        f"""
        %w = constant(@v) : f32[3,3,1,1]
        %c = conv(%x, %w) : f32[1,3,4,4] from "/conv"
        {BATCH_NORM}
        %n = batch_norm(%c, %scale, %bias, %mean, %var) : f32[1,3,4,4] from "/bn"
        %y = add(%n, %c) : f32[1,3,4,4]
        yield(%y)
        """,
        '(%x: f32[1,3,4,4]) -> ("y")',
        "the conv has 2 readers, and would be computed for each",
        WEIGHTS,
    )


def test_a_constant_per_channel_is_a_bias() -> None:
    module = folds(
        "fuse-bias,fold-constants,dce",
        """
        %w = constant(@w) : f32[3,2,3,3]
        %c = constant(@c) : f32[3,1,1]
        %s = constant(f32 0.5) : f32[]
        %a = conv(%x, %w) : f32[1,3,2,2] from "/conv"
        %b = add(%c, %a) : f32[1,3,2,2] from "/bias"
        %d = mul(%b, %s) : f32[1,3,2,2] from "/scale"
        %y = add(%d, %c, hi=1.0) : f32[1,3,2,2] from "/again"
        yield(%y)
        """,
        X,
        {"conv": 1},
    )
    assert module.outputs[0].op is not None
    assert module.outputs[0].op.attributes["hi"] == 1.0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("%y = add(%r, %k) : f32[1,3,2,2]", "the conv clamps its result first"),
        ("%y = mul(%s, %k) : f32[1,3,2,2]", "the conv adds a residual first"),
    ],
)
def test_a_constant_behind_a_clamp_or_a_residual_stays(line: str, reason: str) -> None:
    text = f"""
        %w = constant(@w) : f32[3,2,3,3]
        %k = constant(@c) : f32[3,1,1]
        %a = conv(%x, %w) : f32[1,3,2,2]
        %r = conv(%x, %w, lo=0.0) : f32[1,3,2,2]
        %s = conv(%x, %w, r=%a) : f32[1,3,2,2]
        {line}
        yield(%y, %a)
    """
    declines("fuse-bias", text, X.replace('"y"', '"y", "a"'), reason, WEIGHTS)


def test_integer_products_take_a_bias_and_no_factor() -> None:
    text = """
        %w = constant(@w) : i8[4,3]
        %c = constant(i32 [1, -2, 3]) : i32[3]
        %m = matmul(%x, %w) : i32[5,3]
        %y = {}(%m, %c) : i32[5,3]
        yield(%y)
    """
    weights = {"w": np.arange(12, dtype=np.int8).reshape(4, 3)}
    signature = '(%x: i8[5,4]) -> ("y")'
    rewrites(
        "fuse-bias,dce",
        text.format("add"),
        "%w = constant(@w) : i8[4,3]\n%w.bias = constant(i32 [1, -2, 3]) : i32[3]\n"
        "%y = matmul(%x, %w, b=%w.bias) : i32[5,3]\nyield(%y)",
        signature,
        weights=weights,
    )
    declines("fuse-bias", text.format("mul"), signature, "may make an integer product", weights)


def test_zero_padding_moves_into_the_convolution() -> None:
    rewrites(
        "fuse-pad,dce",
        """
        %w = constant(@w) : f32[3,2,3,3]
        %p = pad(%x, pads=[0,0,0,1,0,0,2,1]) : f32[1,2,6,6] from "/pad"
        %y = conv(%p, %w, pads=[1,0,0,0]) : f32[1,3,5,4] from "/conv"
        yield(%y)
        """,
        """
        %w = constant(@w) : f32[3,2,3,3]
        %y = conv(%x, %w, pads=[1, 1, 2, 1]) : f32[1,3,5,4] from "/pad", "/conv"
        yield(%y)
        """,
        X,
        weights=WEIGHTS,
    )


@pytest.mark.parametrize(
    ("pad", "reader", "reason"),
    [
        ("pads=[0,0,1,1,0,0,1,1], value=1.0", "conv", "the border is 1.0, a convolution pads"),
        ("pads=[0,0,1,1,0,0,1,1], mode=\"edge\"", "conv", "the border is filled by edge"),
        ("pads=[0,0,1,1,0,0,-1,1]", "conv", "the pad crops"),
        ("pads=[1,0,1,1,0,0,1,1]", "conv", "the pad grows the batch or the channels"),
        ("pads=[0,0,1,1,0,0,1,1]", "max_pool", "may win, a max_pool's own padding never does"),
        ("pads=[0,0,1,1,0,0,1,1]", "avg_pool", "does not count its own padding, but the border"),
        ("pads=[0,0,3,1,0,0,1,1], value=-inf", "max_pool", "the padding is as wide as the window"),
    ],
)  # fmt: skip
def test_other_borders_stay(pad: str, reader: str, reason: str) -> None:
    probe = module_of(f"%p = pad(%x, {pad}) : {_padded(pad)}\nyield(%p)", X)
    shape = probe.outputs[0].tensor
    n, _, h, w = shape.dims
    if reader == "conv":
        call = f"conv(%p, %w) : f32[{n},3,{h - 2},{w - 2}]"
    else:
        call = f"{reader}(%p, kernel=[3,3], pads=[1,1,1,1], strides=[1,1]) : f32[{n},2,{h},{w}]"
    text = (
        f"%w = constant(@w) : f32[3,2,3,3]\n%p = pad(%x, {pad}) : {shape}\n%y = {call}\nyield(%y)"
    )
    declines("fuse-pad", text, X, reason, WEIGHTS)


def _padded(pad: str) -> str:
    numbers = [int(n) for n in pad.partition("[")[2].partition("]")[0].split(",")]
    dims = [d + numbers[i] + numbers[4 + i] for i, d in enumerate((1, 2, 4, 4))]
    return f"f32[{','.join(map(str, dims))}]"


def test_zeros_around_a_relu_never_win() -> None:
    rewrites(
        "fuse-pad,dce",
        """
        %r = relu(%x) : f32[1,2,4,4]
        %p = pad(%r, pads=[0,0,1,1,0,0,0,0]) : f32[1,2,5,5]
        %y = max_pool(%p, kernel=[2,2], strides=[1,1]) : f32[1,2,4,4]
        yield(%y)
        """,
        """
        %r = relu(%x) : f32[1,2,4,4]
        %y = max_pool(%r, kernel=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0]) : f32[1,2,4,4]
        yield(%y)
        """,
        X,
    )


def test_an_average_counts_the_zeros_around_it() -> None:
    rewrites(
        "fuse-pad,dce",
        """
        %p = pad(%x, pads=[0,0,1,1,0,0,1,1]) : f32[1,2,6,6]
        %y = avg_pool(%p, kernel=[3,3], strides=[1,1]) : f32[1,2,4,4]
        yield(%y)
        """,
        """
        %y = avg_pool(%x, kernel=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], include_pad=true) : f32[1,2,4,4]
        yield(%y)
        """,  # noqa: E501  # one op is one line
        X,
    )


def test_an_integer_border_is_the_zero_point() -> None:
    rewrites(
        "fuse-pad,dce",
        """
        %w = constant(@w) : i8[3,2,3,3]
        %p = pad(%x, pads=[0,0,1,1,0,0,1,1], value=-5.0) : i8[1,2,6,6]
        %c = conv(%p, %w) : i32[1,3,4,4]
        %s = sum_pool(%p, kernel=[6,6], zero=-5) : i32[1,2,1,1]
        yield(%c, %s)
        """,
        """
        %w = constant(@w) : i8[3,2,3,3]
        %p = pad(%x, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=-5.0) : i8[1,2,6,6]
        %c = conv(%x, %w, pads=[1, 1, 1, 1], pad_value=-5) : i32[1,3,4,4]
        %s = sum_pool(%x, kernel=[6, 6], pads=[1, 1, 1, 1], zero=-5) : i32[1,2,1,1]
        yield(%c, %s)
        """.replace("%p = pad(%x, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=-5.0) : i8[1,2,6,6]\n", ""),
        '(%x: i8[1,2,4,4]) -> ("c", "s")',
        weights={"w": np.arange(54, dtype=np.int8).reshape(3, 2, 3, 3)},
    )


def test_a_clamp_moves_into_what_it_clamps() -> None:
    rewrites(
        "fuse-activation,dce",
        """
        %w = constant(@w) : f32[3,2,3,3]
        %c = conv(%x, %w) : f32[1,3,2,2] from "/conv"
        %r = relu(%c) : f32[1,3,2,2] from "/relu"
        %h = clip(%r, lo=-1.0, hi=6.0) : f32[1,3,2,2] from "/clip"
        %a = add(%h, %h) : f32[1,3,2,2] from "/add"
        %y = clip(%a, lo=1.0) : f32[1,3,2,2] from "/last"
        yield(%y)
        """,
        """
        %w = constant(@w) : f32[3,2,3,3]
        %h = conv(%x, %w, lo=0.0, hi=6.0) : f32[1,3,2,2] from "/conv", "/relu", "/clip"
        %y = add(%h, %h, lo=1.0) : f32[1,3,2,2] from "/add", "/last"
        yield(%y)
        """,
        X,
        weights=WEIGHTS,
        special=True,
    )


def test_a_clamp_moves_through_a_max_pool() -> None:
    rewrites(
        "fuse-activation,dce",
        """
        %w = constant(@w) : f32[3,2,3,3]
        %c = conv(%x, %w) : f32[1,3,2,2]
        %p = max_pool(%c, kernel=[2,2], strides=[1,1], pads=[1,0,0,0]) : f32[1,3,2,1]
        %y = relu(%p) : f32[1,3,2,1]
        yield(%y)
        """,
        """
        %w = constant(@w) : f32[3,2,3,3]
        %0 = conv(%x, %w, lo=0.0) : f32[1,3,2,2]
        %y = max_pool(%0, kernel=[2, 2], strides=[1, 1], pads=[1, 0, 0, 0]) : f32[1,3,2,1]
        yield(%y)
        """,
        X,
        weights=WEIGHTS,
    )


def test_a_value_that_is_read_unclamped_stays() -> None:
    declines(
        "fuse-activation",
        "%a = add(%x, %x) : f32[4]\n%r = relu(%a) : f32[4]\n%y = add(%r, %a) : f32[4]\nyield(%y)",
        '(%x: f32[4]) -> ("y")',
        "the add has 2 readers, which need it unclamped",
    )


LAYER_NORM = """
    %s = constant(f32 [0.5, 2.0, -1.0]) : f32[3]
    %b = constant(f32 [1.0, 0.0, -3.0]) : f32[3]
    %e = constant(f32 0.001) : f32[]
    %two = constant(f32 2.0) : f32[]
    %m = reduce_mean(%x, axes=[2], keepdims=true) : f32[2,5,1] from "/mean"
    %c = sub(%x, %m) : f32[2,5,3] from "/sub"
    %q = pow(%c, %two) : f32[2,5,3] from "/pow"
    %v = reduce_mean(%q, axes=[2], keepdims=true) : f32[2,5,1] from "/variance"
    %t = add(%v, %e) : f32[2,5,1] from "/epsilon"
    %r = sqrt(%t) : f32[2,5,1] from "/sqrt"
    %n = div(%c, %r) : f32[2,5,3] from "/div"
    %g = mul(%n, %s) : f32[2,5,3] from "/scale"
    %y = add(%g, %b) : f32[2,5,3] from "/bias"
    yield(%y)
"""


def test_a_layer_norm_is_found_in_its_arithmetic() -> None:
    signature = '(%x: f32[2,5,3]) -> ("y")'
    module = folds("recompose,dce", LAYER_NORM, signature, {"layer_norm": 1})
    assert module.outputs[0].op is not None
    assert len(module.outputs[0].op.nodes) == 9


def test_a_normalization_over_other_axes_is_none() -> None:
    text = LAYER_NORM.replace("axes=[2]", "axes=[1]").replace("f32[2,5,1]", "f32[2,1,3]")
    signature = '(%x: f32[2,5,3]) -> ("y")'
    declines("recompose", text, signature, "it normalizes over other axes than the last ones")


def test_a_residual_enters_the_later_of_two_convolutions() -> None:
    rewrites(
        "fuse-residual,fuse-activation,dce",
        """
        %v = constant(@v) : f32[3,3,1,1]
        %a = conv(%x, %v) : f32[1,3,4,4] from "/a"
        %b = conv(%x, %v) : f32[1,3,4,4] from "/b"
        %s = add(%a, %b) : f32[1,3,4,4] from "/add"
        %y = relu(%s) : f32[1,3,4,4] from "/relu"
        yield(%y)
        """,
        """
        %v = constant(@v) : f32[3,3,1,1]
        %a = conv(%x, %v) : f32[1,3,4,4] from "/a"
        %y = conv(%x, %v, r=%a, lo=0.0) : f32[1,3,4,4] from "/b", "/add", "/relu"
        yield(%y)
        """,
        '(%x: f32[1,3,4,4]) -> ("y")',
        weights=WEIGHTS,
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("%y = add(%a, %c) : f32[1,3,4,4]", "the other operand is a constant"),
        ("%y = add(%a, %t) : f32[1,3,4,4]", "is broadcast"),
        ("%y = add(%a, %a) : f32[1,3,4,4]", "the conv has 2 readers"),
        ("%k = relu(%a) : f32[1,3,4,4]\n%y = add(%a, %k) : f32[1,3,4,4]", "the conv has 2 readers"),
        ("%y = add(%h, %x) : f32[1,3,4,4]", "the conv clamps its result first"),
        ("%y = add(%r, %x) : f32[1,3,4,4]", "the conv has a residual already"),
    ],
)
def test_other_additions_stay(body: str, reason: str) -> None:
    text = f"""
        %v = constant(@v) : f32[3,3,1,1]
        %c = constant(@c) : f32[3,1,1]
        %t = slice(%x, starts=[0,0,0,0], stops=[1,3,1,1]) : f32[1,3,1,1]
        %h = conv(%x, %v, lo=0.0) : f32[1,3,4,4]
        %r = conv(%x, %v, r=%x) : f32[1,3,4,4]
        %a = conv(%x, %v) : f32[1,3,4,4]
        {body}
        yield(%y)
    """
    declines("fuse-residual", text, '(%x: f32[1,3,4,4]) -> ("y")', reason, WEIGHTS)
