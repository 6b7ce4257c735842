"""Declaring ops: what follows from the annotations, for type checkers too; what is refused."""

import types
from typing import Literal, Optional, assert_type

import numpy as np
import pytest

from mcc.ir import OPS, DType, Field, Kind, Op, OpError, Region, Space, Tensor, Value, constant
from mcc.ops import Concat, Conv, LeakyRelu, Relu, Reshape

X = Value(Tensor(DType.F32, (1, 4, 5, 5)))
W = Value(Tensor(DType.F32, (4, 4, 3, 3)))


def test_fields_have_their_annotated_types() -> None:
    op = Conv(X, W, b=None, strides=(2, 2), layout="nchw")
    assert_type(op.x, Value)
    assert_type(op.b, Value | None)
    assert_type(op.strides, tuple[int, ...])
    assert_type(op.lo, float)
    assert_type(op.layout, Literal["nchw", "nhwc"])
    assert_type(op.named("y"), Conv)
    assert_type(op.result, Value)
    assert_type(Region().append(op), Conv)
    assert op.attributes["strides"] == (2, 2)
    assert op.operands == (X, W)


def test_positions_follow_the_declaration() -> None:
    names = [field.name for field in Conv.spec_fields]
    assert names[:5] == ["x", "w", "b", "r", "k"]
    kinds = {field.name: field.kind for field in Conv.spec_fields}
    assert (kinds["x"], kinds["b"], kinds["lo"]) == (Kind.OPERAND, Kind.OPTIONAL, Kind.ATTRIBUTE)
    assert Concat.spec_fields[0].kind is Kind.VARIADIC
    assert [field.name for field in LeakyRelu.spec_fields] == ["x", "alpha"]


def test_an_int_will_do_for_a_float_and_numpy_for_python() -> None:
    op = LeakyRelu(X, alpha=1)
    assert type(op.alpha) is float
    op = LeakyRelu(X, alpha=float(np.float32(0.5)))
    shape = (np.int64(100),)
    found = Reshape(X, shape).shape  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert type(found[0]) is int
    with pytest.raises(OpError, match="alpha must be float"):
        LeakyRelu(X, alpha=True)


def test_a_constant_does_not_change_with_its_source() -> None:
    source = np.zeros(3, np.float32)
    op = constant(source, "c")
    source[0] = 7
    assert op.data.array.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        op.data.array[0] = 1
    assert constant(np.array(["ab", "c"])).data.array.dtype == object
    assert constant(np.arange(6).reshape(2, 3).T).data.array.tolist() == [[0, 3], [1, 4], [2, 5]]


def refuse(complaint: str, body: dict[str, object], name: str = "test.refused") -> None:
    """Defining an op with these annotations must fail, and leave no trace."""
    known = dict(OPS)
    with pytest.raises(TypeError, match=complaint):
        types.new_class(
            "Refused", (Op,), {"name": name}, lambda space: space.update(__annotations__=body)
        )
    OPS.clear()
    OPS.update(known)


def test_what_an_op_cannot_be() -> None:
    refuse("two ops are called 'relu'", {}, "relu")
    refuse("'Relu' cannot be an op's name in the text", {}, "Relu")
    refuse("'results' means something on every op", {"results": int})
    refuse("'evaluate' means something on every op", {"evaluate": Value})
    refuse("the annotation of a field must not be a string", {"x": "Value"})
    refuse(r"Refused\.table: dict\[str, int\] has no text form", {"table": dict[str, int]})
    refuse("has no text form", {"items": tuple[tuple[bytes, ...], ...]})


def test_typing_optional_is_an_optional_operand() -> None:
    class Old(Op, name="test.old"):
        x: Optional[Value] = None  # noqa: UP045 -- what is tested

        def infer(self) -> tuple[()]:
            return ()

    try:
        (field,) = Old.spec_fields
        assert isinstance(field, Field)
        assert field.kind is Kind.OPTIONAL
        assert Old().x is None
    finally:
        del OPS["test.old"]


def test_purity() -> None:
    class Write(Op, name="test.write", writes=(Space.SCRATCHPAD,)):
        def infer(self) -> tuple[()]:
            return ()

    class Loop(Op, name="test.loop"):
        body: Region

        def infer(self) -> tuple[()]:
            return ()

    try:
        assert Relu(X).pure
        assert not Write().pure
        region = Region()
        loop = Loop(region)
        assert loop.pure
        region.append(Write())
        assert not loop.pure
        assert region.parent is loop
    finally:
        del OPS["test.write"], OPS["test.loop"]
