"""Where a CPU program keeps its results: one workspace, residuals in place, nothing overlapping."""

import numpy as np
import pytest
from cpu_cases import Array, attach, difference
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.backends.cpu import library_members
from mcc.backends.cpu.compile import lower_module
from mcc.backends.cpu.program import Program, nbytes
from mcc.ir import DType, Module, Op, Region, Tensor, Value, Yield, constant, evaluate
from mcc.ops import Add, Conv, Matmul, Mul, Relu, Reshape, Softmax, Transpose
from mcc.runtime import load_target
from mcc.runtime.library import Library

TARGET = load_target("cpu")


def module_of(x: Region, *outputs: Value) -> Module:
    for number, value in enumerate(outputs):
        if value.op is not None and not value.name:
            value.op.named(f"y{number}")
    x.append(Yield(outputs))
    return Module("m", x, [f"out{number}" for number in range(len(outputs))])


def weights(region: Region, *shape: int) -> Value:
    data = np.random.default_rng(len(shape)).standard_normal(shape).astype("f4")
    return attach(region, constant(data))


def apart(found: Array, wanted: Array) -> str:
    return difference(found, wanted, 1e-5 if found.dtype.kind == "f" else 0.0)


def check(module: Module, *arrays: Array) -> None:
    """Outputs and every observed value are the evaluator's."""
    members = library_members(module, TARGET)
    library = Library(members["library.so"], members["library.json"])
    feeds = {value.name: array for value, array in zip(module.inputs, arrays, strict=True)}
    exact: dict[str, Array] = {}
    wanted = evaluate(module, feeds, lambda value, array: exact.update({value.name: array}))
    for found, name in zip(library.run(arrays), module.output_names, strict=True):
        assert not apart(found, wanted[name]), name
    for name, found in library.observe(arrays).items():
        assert not apart(found, exact[name]), name


def program_of(module: Module) -> Program:
    return lower_module(module, TARGET, "m", "m").program


def residual_blocks(count: int) -> Module:
    """x = relu(conv(conv(x)) + x), `count` times."""
    region = Region([Tensor(DType.F32, (1, 9, 9, 16))], ["x"])
    value = attach(region, Relu(region.args[0]), "start")
    for number in range(count):
        w = weights(region, 16, 16, 1, 1)
        inner = attach(region, Conv(value, w, layout="nhwc"), f"inner{number}")
        outer = attach(region, Conv(inner, w, layout="nhwc"), f"outer{number}")
        total = attach(region, Add(outer, value), f"sum{number}")
        value = attach(region, Relu(total), f"relu{number}")
    return module_of(region, attach(region, Softmax(value, axis=3), "last"))


def test_residuals_are_added_in_place() -> None:
    program = program_of(residual_blocks(3))
    block = 9 * 9 * 16 * 4
    assert len(program.replaced) == 3
    assert program.workspace == program.lower_bound == 2 * (block + -block % 64)


def test_what_is_replaced_is_still_observed() -> None:
    x = np.random.default_rng(0).standard_normal((1, 9, 9, 16)).astype("f4")
    check(residual_blocks(3), x)


def test_a_value_that_is_read_again_is_not_replaced() -> None:
    region = Region([Tensor(DType.F32, (5, 7))], ["x"])
    start = attach(region, Softmax(region.args[0], axis=1), "start")
    first = attach(region, Matmul(start, weights(region, 7, 7)), "first")
    total = attach(region, Add(first, start), "total")
    again = attach(region, Matmul(total, weights(region, 7, 7)), "again")
    module = module_of(region, attach(region, Mul(again, start), "end"))
    assert not program_of(module).replaced
    check(module, np.random.default_rng(1).standard_normal((5, 7)).astype("f4"))


def test_inputs_and_outputs_are_not_written_over() -> None:
    region = Region([Tensor(DType.F32, (4, 4))], ["x"])
    (x,) = region.args
    y = attach(region, Add(attach(region, Matmul(x, weights(region, 4, 4))), x), "y")
    z = attach(region, Add(attach(region, Matmul(y, weights(region, 4, 4))), y), "z")
    module = module_of(region, y, z)
    assert not program_of(module).replaced
    check(module, np.eye(4, dtype="f4"))


def test_outputs_that_no_kernel_makes() -> None:
    region = Region([Tensor(DType.F32, (2, 3)), Tensor(DType.I1, (0, 3))], ["x", "none"])
    x, none = region.args
    fixed = attach(region, constant(np.arange(4, dtype="i8")), "fixed")
    flat = attach(region, Reshape(x, (6,)), "flat")
    twice = attach(region, Add(x, x), "twice")
    region.append(Yield((x, flat, twice, twice, fixed, none)))
    module = Module("m", region, ["a", "b", "c", "d", "e", "f"])
    check(module, np.ones((2, 3), "f4"), np.zeros((0, 3), "?"))


@st.composite
def graphs(draw: st.DrawFn) -> Module:
    """Sums, products and matrix products of random earlier values; some values are outputs."""
    region = Region([Tensor(DType.F32, (6, 6)), Tensor(DType.F32, (6, 6))], ["x0", "x1"])
    values: list[Value] = list(region.args)
    for number in range(draw(st.integers(2, 14))):
        a, b = (values[draw(st.integers(0, len(values) - 1))] for _ in range(2))
        op: Op
        match draw(st.integers(0, 3)):
            case 0:
                op = Matmul(a, b)
            case 1:
                op = Softmax(a, axis=1)
            case 2:
                op = Add(a, b)
            case _:
                op = Mul(a, b)
        values.append(attach(region, op, f"v{number}"))
    chosen = draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=3))
    return module_of(region, *(values[number] for number in chosen))


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_nothing_that_is_still_read_is_written_over(module: Module) -> None:
    """The places of every step's operands hold what was written there last for that operand."""
    program = program_of(module)
    holder: dict[int, object] = {}
    for number in program.steps:
        call = program.plan.calls[number]
        for slot in call.inputs:
            if slot in program.offsets:
                begin = program.offsets[slot]
                assert all(holder[byte] is slot for byte in range(begin, begin + nbytes(slot), 4))
        if call.output in program.offsets:
            begin = program.offsets[call.output]
            assert begin + nbytes(call.output) <= program.workspace
            for byte in range(begin, begin + nbytes(call.output), 4):
                holder[byte] = call.output
        # Only the operand that is replaced may lie where the result goes.
        for position, slot in enumerate(call.inputs):
            if slot in program.offsets and call.output in program.offsets:
                disjoint = (
                    program.offsets[slot] + nbytes(slot) <= program.offsets[call.output]
                    or program.offsets[call.output] + nbytes(call.output) <= program.offsets[slot]
                )
                assert disjoint or program.replaced.get(number) == position
    assert program.lower_bound <= program.workspace


@pytest.mark.slow
@given(graphs(), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_random_graphs_compute_what_they_mean(module: Module, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(module, *(rng.uniform(-0.5, 0.5, (6, 6)).astype("f4") for _ in range(2)))


def test_bfloat16_goes_in_and_out_where_nothing_computes_with_it() -> None:
    region = Region([Tensor(DType.BF16, (2, 3))], ["x"])
    y = attach(region, Transpose(region.args[0], (1, 0)), "y")
    x = np.arange(6).reshape(2, 3).astype(DType.BF16.numpy)
    members = library_members(module_of(region, y), TARGET)
    (found,) = Library(members["library.so"], members["library.json"]).run([x])
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x.T)
