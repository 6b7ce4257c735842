"""What a reader of a module's text is told: the messages themselves, as goldens."""

from pathlib import Path

import numpy as np
import pytest
from support import ir_test_ops

import mcc.ops
from mcc.ir import (
    Array,
    Constant,
    Data,
    DType,
    Module,
    OpError,
    Quant,
    Region,
    Symbol,
    Tensor,
    UserError,
    VerifyError,
    Yield,
    constant,
    evaluate,
    load_module,
    parse,
    save_module,
    verify,
)
from mcc.ops import Matmul, Relu

REGISTRY = (mcc.ops, ir_test_ops)

CASES = {
    "unknown-op": "%y = matmull(%x, %x) : f32[2,2]\n  yield(%y)",
    "unknown-op-without-a-guess": "%y = frobnicate(%x) : f32[2,2]\n  yield(%y)",
    "undefined-value": "%y = relu(%input) : f32[2,2]\n  yield(%y)",
    "undefined-value-close": "%y = relu(%xx) : f32[2,2]\n  yield(%y)",
    "wrong-result-type": "%y = relu(%x) : f32[2,3]\n  yield(%y)",
    "broken-shape-rule": "%y = matmul(%x, %v) : f32[2]\n  yield(%y)",
    "missing-operand": "%y = matmul(%x) : f32[2]\n  yield(%y)",
    "too-many-operands": "%y = relu(%x, %v) : f32[2]\n  yield(%y)",
    "operand-twice": "%y = relu(%x, x=%x) : f32[2]\n  yield(%y)",
    "not-a-value": "%y = relu(3) : f32[2]\n  yield(%y)",
    "missing-weight": "%y = constant(@w) : f32[2,2]\n  yield(%y)",
    "wrong-attribute-type": '%y = leaky_relu(%x, alpha="a") : f32[2,2]\n  yield(%y)',
    "wrong-literal": '%y = conv(%x, %x, layout="chwn") : f32[2,2]\n  yield(%y)',
    "wrong-word": "%y = cast(%x, to=float) : f32[2,2]\n  yield(%y)",
    "unknown-field": "%y = leaky_relu(%x, beta=0.5) : f32[2,2]\n  yield(%y)",
    "wrong-constant": "%y = constant(i8 [1, 300]) : i8[2]\n  yield(%y)",
    "defined-twice": "%x = relu(%x) : f32[2,2]\n  yield(%x)",
    "number-of-results": "%y, %z = relu(%x) : f32[2,2], f32[2,2]\n  yield(%y)",
    "number-of-regions": "%y = test.repeat(%x, count=1) : f32[2,2]\n  yield(%y)",
    "bad-dimension": "%y = relu(%x) : f32[2,-2]\n  yield(%y)",
    "bad-note": "%y = relu(%x) : f32[2,2] quant([0.5], [1], 0, 3)\n  yield(%y)",
    "bad-string": '%y = relu(%x) : f32[2,2] from "a\\q"\n  yield(%y)',
    "no-closing-quote": '%y = relu(%x) : f32[2,2] from "a\n  yield(%y)',
    "odd-character": "%y = relu(%x) ; f32[2,2]\n  yield(%y)",
    "unexpected-word": "%y relu(%x) : f32[2,2]\n  yield(%y)",
    "a-list-is-needed": "%y = test.everything(%x, more=%x) : f32[2,2]\n  yield(%y)",
}


def text_of(lines: str) -> str:
    return f'module @m(%x: f32[2,2], %v: f32[3]) -> ("y") {{\n  {lines}\n}}\n'


def message(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(text, source="m.mir")
    return str(caught.value)


def test_parser_messages(golden: "Golden") -> None:
    shown = [f"== {name}\n{message(text_of(lines))}\n" for name, lines in CASES.items()]
    shown.append(f"== no-yield\n{message(text_of('%y = relu(%x) : f32[2,2]'))}\n")
    shown.append(f"== ends-early\n{message(text_of('yield(%x)')[:-3])}\n")
    shown.append(f"== empty\n{message('')}\n")
    golden.check("ir_parser_messages.txt", "\n".join(shown))


class Golden:
    """Text that people read, kept in tests/golden."""

    def __init__(self, update: bool) -> None:
        self.update = update

    def check(self, name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if self.update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"write {path.name} with UPDATE_GOLDEN=1"
        assert text == path.read_text(encoding="utf-8"), "UPDATE_GOLDEN=1 rewrites it"


@pytest.fixture
def golden() -> Golden:
    import os

    return Golden("UPDATE_GOLDEN" in os.environ)


def small() -> tuple[Module, Relu, Relu]:
    """relu(relu(x)), the first from the ONNX node "/act/Relu"."""
    body = Region([Tensor(DType.F32, (2, 2))], ["x"])
    first = body.append(Relu(body.args[0]).named("h", ["/act/Relu"]))
    second = body.append(Relu(first.result).named("y"))
    body.append(Yield((second.result,)))
    return Module("m", body, ["y"]), first, second


def test_the_verifier_shows_the_op_with_a_caret_and_its_node() -> None:
    module, first, _ = small()
    first.result.type = Tensor(DType.F32, (3,))
    with pytest.raises(VerifyError) as caught:
        verify(module)
    assert str(caught.value) == (
        "relu: its rule gives f32[2,2]\n"
        '  %h = relu(%x) : f32[3] from "/act/Relu"\n'
        "       ^^^^\n"
        '  from ONNX node "/act/Relu"'
    )


def test_the_verifier_sees_a_value_used_before_its_definition() -> None:
    module, first, second = small()
    first.__dict__["x"] = second.result
    with pytest.raises(VerifyError, match=r"relu: x is not defined before, or in another region"):
        verify(module)


def test_the_verifier_sees_stale_uses() -> None:
    module, first, _ = small()
    first.result.uses.clear()
    with pytest.raises(VerifyError, match=r"use list of %h.*is out of date"):
        verify(module)


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ([], "module m names 0 outputs and yields 1"),
        (["a", "b"], "names 2 outputs and yields 1"),
    ],
)
def test_the_verifier_counts_outputs(outputs: list[str], complaint: str) -> None:
    module, _, _ = small()
    module.output_names = tuple(outputs)
    with pytest.raises(VerifyError, match=complaint):
        verify(module)


def test_the_verifier_wants_distinct_names_at_the_edge() -> None:
    body = Region([Tensor(DType.F32, ()), Tensor(DType.F32, ())], ["x", "x"])
    body.append(Yield(body.args))
    with pytest.raises(VerifyError, match="two inputs called 'x'"):
        verify(Module("m", body, ["a", "b"]))
    body.args[1].name = "z"
    with pytest.raises(VerifyError, match="two outputs called 'a'"):
        verify(Module("m", body, ["a", "a"]))


def test_the_verifier_wants_a_yield() -> None:
    with pytest.raises(VerifyError, match="must end in a yield; it is empty"):
        verify(Module("m", Region(), []))
    body = Region([Tensor(DType.F32, ())], ["x"])
    body.append(Relu(body.args[0]))
    with pytest.raises(VerifyError, match="must end in a yield; it ends in relu"):
        verify(Module("m", body, []))
    module, _, second = small()
    body = module.body
    body.append(Relu(second.result))
    body.append(Yield((second.result,)))
    with pytest.raises(VerifyError, match="yield must be the last op of its region"):
        verify(module)


def test_an_op_that_breaks_its_rule_shows_itself() -> None:
    body = Region([Tensor(DType.F32, (2, 3)), Tensor(DType.F32, (4, 5))], ["x", "w"])
    with pytest.raises(OpError) as caught:
        Matmul(body.args[0], body.args[1])
    assert str(caught.value) == (
        "matmul: x f32[2,3] has 3 columns, w f32[4,5] has 4 rows\n  matmul(%x, %w)\n             ^^"
    )
    assert caught.value.field == "w"


def test_constructors_check_what_types_cannot() -> None:
    x = Region([Tensor(DType.F32, (2,))]).args[0]
    with pytest.raises(OpError, match=r"relu has no field 'y' \(known: x\)"):
        Relu(x, y=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(OpError, match="relu needs x"):
        Relu()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(OpError, match="relu takes 1 fields, got 2"):
        Relu(x, x)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(OpError, match=r"relu: x must be Value \(operand\), got 3"):
        Relu(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(AttributeError, match=r"ops are frozen; change relu\.x through the rewr"):
        Relu(x).x = x  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(OpError, match="a quant note needs one scale and zero"):
        Quant((0.5, 0.5), (0, 0))
    with pytest.raises(OpError, match="the array is f32, which cannot hold b1"):
        Constant(Data(np.zeros(3, np.float32)), DType.B1)
    with pytest.raises(OpError, match=r"f32\[\?N\] has a symbolic dimension"):
        _ = Tensor(DType.F32, (Symbol("N"),)).dims
    with pytest.raises(OpError, match="numpy type complex128 has no counterpart"):
        constant(np.zeros(3, np.complex128))


FEEDS = {"x": np.zeros((2, 2), np.float32)}


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({}, "input 'x' is missing\n  it is f32[2,2]"),
        ({"a": FEEDS["x"]}, "the model has no input 'a'\n  known: x"),
        (
            {"x": np.zeros((2, 2))},
            "input 'x' has dtype float64, the model expects f32[2,2]",
        ),
        (
            {"x": np.zeros((3, 2), np.float32)},
            "input 'x' has shape [3, 2], the model expects f32[2,2]",
        ),
        (
            {"x": np.zeros(2, np.float32)},
            "input 'x' has shape [2], the model expects f32[2,2]",
        ),
    ],
)
def test_feeds_are_held_against_the_inputs(feeds: dict[str, Array], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        evaluate(small()[0], feeds)
    assert str(caught.value) == complaint


def test_a_symbol_means_one_number() -> None:
    kind = Tensor(DType.F32, (Symbol("N"),))
    body = Region([kind, kind], ["a", "b"])
    body.append(Yield(()))
    module = Module("m", body, [])
    evaluate(module, {"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"input 'b' has shape \[4\], the model expects f32\[\?N\]"):
        evaluate(module, {"a": np.zeros(3, np.float32), "b": np.zeros(4, np.float32)})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.mir: no such file"):
        load_module(tmp_path / "none.mir")
    with pytest.raises(UserError, match="cannot be read"):
        load_module(tmp_path)
    (tmp_path / "latin.mir").write_bytes(b"module @\xe9")
    with pytest.raises(UserError, match=r"latin\.mir: cannot be read: 'utf-8' codec"):
        load_module(tmp_path / "latin.mir")
    body = Region()
    body.append(Yield((body.append(constant(np.zeros((3, 3)), "w")).result,)))
    save_module(Module("m", body, ["w"]), tmp_path / "m.mir")
    weights = tmp_path / "m.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"m\.safetensors: not a valid safetensors file"):
        load_module(tmp_path / "m.mir")
    weights.unlink()
    with pytest.raises(UserError, match=r"no weights are given for @w \(none are\)"):
        load_module(tmp_path / "m.mir")
    with pytest.raises(UserError, match="cannot be written"):
        save_module(Module("m", body, ["w"]), tmp_path / "no" / "folder.mir")
