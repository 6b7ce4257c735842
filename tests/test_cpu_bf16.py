"""`--precision bf16`: what it means, that the CPU computes just that, and where it is refused."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cpu_cases import Array, Cases, Chain, chained
from hypothesis import given, settings
from hypothesis import strategies as st
from processors import native_without

from mcc import compile
from mcc.backends.cpu import library_members
from mcc.ir import DType, Module, Op, Region, Tensor, UserError, Value, Yield, constant, evaluate
from mcc.ops import Add, Cast, Conv, Dequantize, Matmul, Quantize, Relu
from mcc.passes import Bf16, run_passes
from mcc.runtime import Session, load_target, processor_flags
from mcc.verify import verify

needs_bf16 = pytest.mark.skipif(
    "amx_bf16" not in processor_flags(), reason="this processor has no AMX for bfloat16"
)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype("f4")


def rounded(array: Array) -> Array:
    return array.astype(ml_dtypes.bfloat16).astype("f4")


def short(chain: Chain, x: Value) -> Value:
    """X rounded to bfloat16 and widened again."""
    return chain(Cast(chain(Cast(x, DType.BF16)), DType.F32))


@needs_bf16
def test_casts_round_to_nearest_even_and_keep_nan() -> None:
    special = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, 3.4e38, -3.4e38], "f4")
    halves = (np.arange(0x3F800000, 0x3F800000 + 2**18, 0x2000, dtype="u4")).view("f4")
    all_ones = np.array([0x7FFFFFFF, 0xFFFFFFFF], "u4").view("f4")
    x = np.concatenate([special, halves, all_ones, floats(np.random.default_rng(0), 1001) * 100])
    cases = Cases()

    @chained
    def both(chain: Chain, x: Value) -> Op:
        return Cast(chain(Cast(x, DType.BF16)), DType.F32)

    cases.add("casts", both, x)
    cases.check()


@needs_bf16
def test_products_are_those_of_rounded_operands() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        cases = Cases()
        for number in range(8):
            rng = np.random.default_rng(number)
            groups = data.draw(st.sampled_from([1, 1, 2]))
            per_group = 2 * data.draw(st.integers(1, 25)) - (groups == 1)
            kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(2))
            image = (2, groups * per_group, *(data.draw(st.integers(4, 19)) for _ in kernel))
            w = rounded(floats(rng, groups * data.draw(st.integers(1, 40)), per_group, *kernel))
            options: dict[str, Any] = {
                "strides": tuple(data.draw(st.integers(1, 2)) for _ in kernel),
                "pads": tuple(data.draw(st.integers(0, 2)) for _ in kernel * 2),
                "groups": groups,
                "hi": 3.0,
            }

            @chained
            def conv(
                chain: Chain, x: Value, w: Value, b: Value, options: dict[str, Any] = options
            ) -> Op:
                return Conv(short(chain, x), w, b, **options)

            bias = floats(rng, len(w))
            label = f"conv {image} {w.shape} {options}"
            cases.add(label, conv, floats(rng, *image), constants=[w, bias], tolerance=1e-4)

            m, k, n = (data.draw(st.integers(1, limit)) for limit in (40, 150, 70))

            @chained
            def matmul(chain: Chain, x: Value, w: Value) -> Op:
                return Matmul(short(chain, x), w)

            left, right = floats(rng, m, k), rounded(floats(rng, k, n))
            cases.add(f"matmul {m} {k} {n}", matmul, left, constants=[right], tolerance=1e-4)
            cases.add("empty", matmul, left[:0], constants=[right])
        library = cases.check(layout=data.draw(st.booleans()))
        assert {"amx_tile", "amx_bf16"} <= set(library.table.machine.flags)

    check()


@needs_bf16
@pytest.mark.parametrize("depth", [6, 32, 100, 600])
def test_results_that_wait_for_the_next_block_are_all_stored(depth: int) -> None:
    rng = np.random.default_rng(depth)
    cases = Cases()

    @chained
    def matmul(chain: Chain, x: Value, r: Value, w: Value) -> Op:
        return Relu(chain(Add(chain(Matmul(short(chain, x), w)), r)))

    @chained
    def conv(chain: Chain, x: Value, r: Value, w: Value) -> Op:
        return Relu(chain(Add(chain(Conv(short(chain, x), w, pads=(1, 1, 1, 1))), r)))

    # One, two and many blocks, whole and in part; rows of an image as one tile or as several.
    for rows, columns in ((15, 70), (33, 16), (150, 70), (256, 64)):
        w = rounded(floats(rng, depth, columns))
        feeds = floats(rng, rows, depth), floats(rng, rows, columns)
        cases.add(f"{rows} {columns}", matmul, *feeds, constants=[w], tolerance=1e-4)
    for high, wide in ((9, 13), (20, 16), (5, 41)):
        w = rounded(floats(rng, 40, depth, 3, 3))
        feeds = floats(rng, 1, depth, high, wide), floats(rng, 1, 40, high, wide)
        cases.add(f"conv {high} {wide}", conv, *feeds, constants=[w], tolerance=1e-4)
    library = cases.check()
    assert {"amx_tile", "amx_bf16"} <= set(library.table.machine.flags)


def network() -> tuple[Module, dict[str, Array]]:
    """Two convolutions with a residual, and a classifier; one product is depthwise."""
    rng = np.random.default_rng(3)
    region = Region([Tensor(DType.F32, (1, 8, 9, 9))], ["x"])
    (x,) = region.args

    def held(*shape: int) -> Value:
        return region.append(constant(floats(rng, *shape))).results[0]

    first = region.append(Conv(x, held(16, 8, 3, 3), pads=(1, 1, 1, 1))).results[0]
    one = region.append(Relu(first)).results[0]
    thin = Conv(one, held(16, 1, 3, 3), pads=(1, 1, 1, 1), groups=16)
    depthwise = region.append(thin).results[0]
    two = region.append(Conv(depthwise, held(16, 16, 1, 1))).results[0]
    y = region.append(Add(one, two).named("y"))
    region.append(Yield((y.results[0],)))
    return Module("n", region, ["y"]), {"x": floats(rng, 1, 8, 9, 9)}


def test_the_pass_rounds_what_products_read_and_nothing_else() -> None:
    module, feeds = network()
    exact = evaluate(module, feeds)["y"]
    module = run_passes(module, (Bf16(),))
    casts = [op for op in module.ops() if isinstance(op, Cast)]
    assert [cast.to for cast in casts] == [DType.BF16, DType.F32] * 2
    depthwise = next(op for op in module.ops() if isinstance(op, Conv) and op.groups > 1)
    assert not isinstance(depthwise.x.op, Cast)
    found = evaluate(module, feeds)["y"]
    # Each operand is off by 2^-9 at most; the errors of a sum are not all of one sign.
    assert 0 < np.abs(found - exact).max() < 4 * 2.0**-9 * np.abs(exact).max()


@needs_bf16
def test_a_model_compiled_with_the_option_computes_what_the_pass_says() -> None:
    module, feeds = network()
    wanted = evaluate(run_passes(network()[0], (Bf16(),)), feeds)["y"]
    artifact = compile(module, precision="bf16")
    assert b"amx_bf16" in artifact.member("library.json")
    found = Session(artifact).run(None, feeds)[0]
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * largest)
    plain = compile(network()[0])
    assert b"amx_bf16" not in plain.member("library.json")


def test_a_processor_without_it_is_refused() -> None:
    module = run_passes(network()[0], (Bf16(),))
    with pytest.raises(UserError, match=r"has no products of bfloat16 \(AMX\)(?s:.)*--precision"):
        library_members(module, native_without("amx-bf16"))


def test_other_ops_on_bfloat16_are_refused() -> None:
    region = Region([Tensor(DType.F32, (4,))], ["x"])
    low = region.append(Cast(region.args[0], DType.BF16)).results[0]
    relu = region.append(Relu(low).named("low", ["/low"]))
    y = region.append(Cast(relu.results[0], DType.F32).named("y"))
    region.append(Yield((y.results[0],)))
    with pytest.raises(UserError, match=r"relu \(ONNX node /low\): no kernels for bf16"):
        library_members(Module("m", region, ["y"]), load_target("cpu"))


def test_quantized_models_are_refused() -> None:
    region = Region([Tensor(DType.F32, (4,))], ["x"])
    scale = region.append(constant(np.array(0.5, "f4"))).results[0]
    zero = region.append(constant(np.array(0, "i1"))).results[0]
    q = region.append(Quantize(region.args[0], scale, zero)).results[0]
    y = region.append(Dequantize(q, scale, zero).named("y"))
    region.append(Yield((y.results[0],)))
    with pytest.raises(UserError, match="bf16 is for float models; this one computes in 8-bit"):
        compile(Module("m", region, ["y"]), precision="bf16")
    with pytest.raises(UserError, match="give --quantize none"):
        compile(network()[0], precision="bf16", quantize="int8")


@needs_bf16
def test_verify_allows_for_the_rounding_of_operands() -> None:
    module, feeds = network()
    artifact = compile(module, precision="bf16")
    found = verify(artifact, [feeds], with_onnxruntime=False)
    assert found.passed
    assert found.tolerance == 2.0**-7
    assert verify(compile(network()[0]), [feeds], with_onnxruntime=False).tolerance == 1e-5
