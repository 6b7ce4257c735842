"""The rewriter: what a change keeps, what it removes, and what it refuses."""

import numpy as np
import pytest
from support import ir_test_ops
from support.ir_test_ops import Split, Store

import mcc.ops
from mcc.ir import (
    Because,
    DType,
    Module,
    OpError,
    Quant,
    Region,
    Rewriter,
    Tensor,
    Value,
    Yield,
    apply_rules,
    constant,
    evaluate,
    parse,
    verify,
)
from mcc.ops import Add, Mul, Neg, Relu, Reshape

REGISTRY = (mcc.ops, ir_test_ops)
F4 = Tensor(DType.F32, (4,))


def module(text: str) -> Module:
    """A module from the body's lines; %x and %z are f32[4]."""
    return parse(f'module @m(%x: f32[4], %z: f32[4]) -> ("y") {{\n{text}\n}}')


def body(module: Module) -> str:
    """The lines between the braces, without indentation."""
    return "\n".join(line.strip() for line in str(module).split("\n")[1:-2])


def find(module: Module, name: str) -> Value:
    return next(value for value in module.values() if value.name == name)


def drop_relu(op: Relu) -> Value:
    """relu(x) -> x."""
    return op.x


def neg_neg(op: Neg) -> Value | None:
    """neg(neg(x)) -> x."""
    return op.x.op.x if isinstance(op.x.op, Neg) else None


def test_a_replacement_takes_over_name_notes_and_nodes() -> None:
    before = module(
        '%h = neg(%x) : f32[4] from "a"\n'
        '%y = relu(%h) : f32[4] quant(0.5, 3) axes(0) from "b"\n'
        "yield(%y)"
    )

    def fuse(op: Relu) -> Value | None:
        """relu(neg(x)) -> add(neg(x), x), which means nothing and will do."""
        if not isinstance(op.x.op, Neg):
            return None
        x = op.x.op.x
        return Add(Neg(x).result, x).result

    report = apply_rules(before, [fuse])
    verify(before)
    assert report.fired == {"fuse": 1}
    assert body(before) == (
        '%0 = neg(%x) : f32[4] from "b"\n'
        '%y = add(%0, %x) : f32[4] quant(0.5, 3) axes(0) from "a", "b"\n'
        "yield(%y)"
    )


def test_a_name_that_is_there_stays() -> None:
    before = module("%h = neg(%x) : f32[4]\n%y = relu(%h) : f32[4]\nyield(%y)")
    apply_rules(before, [drop_relu])
    assert body(before) == "%h = neg(%x) : f32[4]\nyield(%h)"
    assert before.output_names == ("y",)


def test_the_heir_inherits_what_died_with_the_op() -> None:
    before = module(
        '%a = abs(%x) : f32[4] from "abs"\n'
        '%h = neg(%a) : f32[4] from "one"\n'
        '%y = neg(%h) : f32[4] from "two"\n'
        "yield(%y)"
    )
    apply_rules(before, [neg_neg])
    assert body(before) == '%a = abs(%x) : f32[4] from "abs", "one", "two"\nyield(%a)'


def test_constants_inherit_nothing() -> None:
    before = module('%y = relu(%x) : f32[4] from "r"\nyield(%y)')

    def fold(op: Relu) -> Value:
        return constant(np.zeros(4, np.float32)).result

    apply_rules(before, [fold])
    assert body(before) == "%y = constant(f32 [0.0, 0.0, 0.0, 0.0]) : f32[4]\nyield(%y)"


def test_stale_handles_fail() -> None:
    before = module("%h = neg(%x) : f32[4]\n%y = neg(%h) : f32[4]\nyield(%y)")
    gone = find(before, "y").op
    inner = find(before, "h").op
    assert isinstance(gone, Neg)
    assert inner is not None
    rewriter = Rewriter(before)
    rewriter.replace(gone, find(before, "x"))
    with pytest.raises(RuntimeError, match="not attached to a module"):
        rewriter.replace(gone, find(before, "z"))
    with pytest.raises(RuntimeError, match="neg is not attached to a module"):
        rewriter.erase(gone)
    last = before.body.last
    assert last is not None
    with pytest.raises(RuntimeError, match="neg was erased, build a new op"):
        rewriter.insert_before(last, [Relu(inner.results[0]).result])
    with pytest.raises(RuntimeError, match="neg was erased"):
        before.body.append(inner)


def test_what_is_in_use_cannot_be_erased() -> None:
    before = module("%h = neg(%x) : f32[4]\n%y = neg(%h) : f32[4]\nyield(%y)")
    used = find(before, "h").op
    assert used is not None
    with pytest.raises(RuntimeError, match="neg is still in use"):
        Rewriter(before).erase(used)


def test_types_must_agree() -> None:
    before = module("%y = neg(%x) : f32[4]\nyield(%y)")
    op = find(before, "y").op
    assert op is not None
    with pytest.raises(RuntimeError, match=r"a f32\[4\] cannot become a f32\[2,2\]"):
        Rewriter(before).replace(op, Reshape(find(before, "x"), (2, 2)).result)
    with pytest.raises(RuntimeError, match="neg has 1 results, 2 were given"):
        Rewriter(before).replace(op, (find(before, "x"), find(before, "z")))


def test_a_replacement_cannot_read_what_it_replaces() -> None:
    before = module("%y = neg(%x) : f32[4]\nyield(%y)")
    y = find(before, "y")
    assert y.op is not None
    with pytest.raises(RuntimeError, match="reads what it shall replace"):
        Rewriter(before).replace(y.op, Relu(y).result)


def test_a_value_is_wrapped_by_keeping_its_first_reader() -> None:
    before = module("%h = neg(%x) : f32[4]\n%y = neg(%h) : f32[4]\nyield(%y)")
    h = find(before, "h")
    assert h.op is not None
    assert h.op.next is not None
    rewriter = Rewriter(before)
    relu = Relu(h)
    rewriter.insert_before(h.op.next, [relu.result], ["new"])
    with pytest.raises(RuntimeError, match="it must be kept"):
        rewriter.replace_value(h, relu.result)
    rewriter.replace_value(h, relu.result, keep=[relu])
    relu.result.name = "r"
    verify(before)
    assert body(before) == (
        '%h = neg(%x) : f32[4]\n%r = relu(%h) : f32[4] from "new"\n%y = neg(%r) : f32[4]\nyield(%y)'
    )


def test_several_results_are_replaced_at_once() -> None:
    before = module(
        "%a, %b = test.split(%x) : f32[4], f32[4]\n%y = add(%a, %b) : f32[4]\nyield(%y)"
    )

    def join(op: Split) -> tuple[Value, ...]:
        return op.x, Neg(op.x).result

    apply_rules(before, [join])
    assert body(before) == "%b = neg(%x) : f32[4]\n%y = add(%x, %b) : f32[4]\nyield(%y)"


def test_ops_with_effects_are_never_removed() -> None:
    before = module("test.store(%x)\n%u = neg(%x) : f32[4]\nyield(%z)")
    dead = Rewriter(before).erase_dead(list(before.ops()))
    assert [op.op_name for op in dead] == ["neg"]
    assert body(before) == "test.store(%x)\nyield(%z)"
    assert any(isinstance(op, Store) for op in before.ops())


def test_reasons_are_collected_for_the_ops_that_are_left() -> None:
    before = module(
        "%a = relu(%x) : f32[4]\n%b = neg(%a) : f32[4]\n%c = neg(%b) : f32[4]\n"
        "%y = add(%c, %a) : f32[4]\nyield(%y)"
    )

    def single(op: Relu) -> Value | Because:
        readers = sum(op.result.uses.values())
        return op.x if readers == 1 else Because(f"it has {readers} readers")

    def never(op: Add) -> Because:
        return Because("not this one")

    report = apply_rules(before, [single, neg_neg, never])
    assert report.fired == {"neg_neg": 1}
    reasons = [(rule, op.op_name, why) for rule, op, why in report.declined]
    # The relu lost a reader and gained one by neg_neg: the last word counts, and each only once.
    assert sorted(reasons) == [
        ("never", "add", "not this one"),
        ("single", "relu", "it has 2 readers"),
    ]


def test_the_last_reader_is_looked_at_again() -> None:
    """A rule that wants a single reader fires once the other reader is gone."""
    before = module(
        "%h = neg(%x) : f32[4]\n%y = relu(%h) : f32[4]\n%u = abs(%h) : f32[4]\n"
        "%p = mul(%u, %z) : f32[4]\n%s = add(%y, %p) : f32[4]\nyield(%s)"
    )

    def lonely(op: Relu) -> Value | Because:
        return op.x if len(op.x.uses) == 1 else Because("others read x")

    def second(op: Mul) -> Value:
        return op.b

    report = apply_rules(before, [lonely, second])
    assert report.fired == {"second": 1, "lonely": 1}
    assert not report.declined
    assert body(before) == "%h = neg(%x) : f32[4]\n%s = add(%h, %z) : f32[4]\nyield(%s)"


def test_rules_that_do_not_come_to_rest_are_stopped() -> None:
    before = module("%y = neg(%x) : f32[4]\nyield(%y)")

    def again(op: Neg) -> Value:
        return Neg(op.x).result

    with pytest.raises(RuntimeError, match="rules do not come to rest; the last was again on"):
        apply_rules(before, [again])


def test_an_error_in_a_rule_names_the_rule_and_the_op() -> None:
    before = module("%y = neg(%x) : f32[4]\nyield(%y)")

    def broken(op: Neg) -> Value:
        return Reshape(op.x, (3,)).result

    with pytest.raises(OpError, match=r"reshape: x f32\[4\] has 4 elements") as caught:
        apply_rules(before, [broken])
    assert caught.value.__notes__ == ["in rule broken, applied to %y = neg(%x) : f32[4]"]


def test_rules_are_told_apart_by_their_annotation() -> None:
    before = module("%h = neg(%x) : f32[4]\n%y = relu(%h) : f32[4]\nyield(%y)")
    seen: list[str] = []

    def either(op: Neg | Relu) -> None:
        seen.append(op.op_name)

    def unused(op: Add) -> None:
        seen.append(op.op_name)

    apply_rules(before, [either, unused])
    assert seen == ["neg", "relu"]

    def wrong(op: int) -> None:
        del op

    with pytest.raises(TypeError, match="must annotate its first parameter with op classes"):
        apply_rules(before, [wrong])


def test_rules_reach_into_regions() -> None:
    before = module(
        "%y = test.repeat(%x, count=2) (%i: f32[4]) {\n"
        "  %r = relu(%i) : f32[4]\n  %s = neg(%r) : f32[4]\n  yield(%s)\n} : f32[4]\nyield(%y)"
    )
    apply_rules(before, [drop_relu])
    verify(before)
    feeds = {"x": np.arange(4, dtype=np.float32) - 2, "z": np.zeros(4, np.float32)}
    np.testing.assert_array_equal(evaluate(before, feeds)["y"], feeds["x"])


def test_a_conversion_folds_into_the_input() -> None:
    before = parse(
        'module @m(%x: f32[4]) -> ("y") {\n  %s = constant(f32 0.5) : f32[]\n'
        "  %z = constant(i8 0) : i8[]\n  %q = quantize(%x, %s, %z) : i8[4]\n  yield(%q)\n}"
    )
    op = find(before, "q").op
    assert op is not None
    note = Quant((0.5,), (0,))
    Rewriter(before).retype_argument(before.inputs[0], op, note)
    assert str(before.inputs[0].type) == "i8[4]"
    assert before.inputs[0].quant == note
    verify(before)


def test_ops_may_go_while_they_are_walked() -> None:
    built = Region([F4], ["x"])
    value = built.args[0]
    for _ in range(6):
        value = built.append(Neg(value)).result
    built.append(Yield((built.args[0],)))
    before = Module("m", built, ["y"])
    rewriter = Rewriter(before)
    seen: list[str] = []
    for op in before.body:
        seen.append(op.op_name)
        if len(seen) == 1:
            # All of them, those just ahead too.
            rewriter.erase_dead(reversed([other for other in before.body if other.results]))
    assert seen == ["neg", "yield"]
