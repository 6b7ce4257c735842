"""Everything the IR does is linear: 20,000 ops in seconds, ten times as many in ten times the time.

The limits are generous: they tell linear from quadratic, not a fast machine from a slow one.
"""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from zoo import Zoo

from mcc.frontend import load
from mcc.ir import (
    DType,
    Module,
    Region,
    Rewriter,
    Tensor,
    Value,
    Yield,
    apply_rules,
    constant,
    evaluate,
    load_module,
    parse,
    print_module,
    save_module,
    verify,
)
from mcc.ops import Add, Concat, Neg, Relu

pytestmark = pytest.mark.slow
COUNT = 20_000
F2 = Tensor(DType.F32, (2,))
X = {"x": np.array([-1.0, 2.0], np.float32)}
_Result = TypeVar("_Result")


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """What `work` returns; it must not take longer than `seconds` of processor time."""
    start = time.process_time()
    result = work()
    taken = time.process_time() - start
    assert taken < seconds, f"took {taken:.1f} s of {seconds}"
    return result


def chain(count: int = COUNT) -> Module:
    """relu(relu(... x)), each from its own node."""
    body = Region([F2], ["x"])
    value = body.args[0]
    for i in range(count):
        value = body.append(Relu(value).named(f"block/{i}/relu", [f"node {i}"])).result
    body.append(Yield((value,)))
    return Module("chain", body, ["y"])


def drop(op: Relu) -> Value:
    """relu(x) -> x, which is right for none but a test."""
    return op.x


def test_a_long_chain() -> None:
    module = within(5, chain)
    text = within(5, lambda: print_module(module).text)
    again = within(5, lambda: parse(text))
    within(5, lambda: verify(again))
    within(5, lambda: evaluate(again, X))
    assert within(5, lambda: again == module)
    report = within(5, lambda: apply_rules(again, [drop]))
    assert report.fired["drop"] == COUNT
    assert again.outputs == (again.inputs[0],)


def test_what_a_rewrite_does_to_every_op_of_a_chain() -> None:
    """Each op replaced by a new one, and each pair merged into one: provenance is kept."""
    module = chain()

    def swap(op: Relu) -> Value:
        return Neg(op.x).result

    within(5, lambda: apply_rules(module, [swap]))

    def merge(op: Neg) -> Value | None:
        return Neg(op.x.op.x).result if isinstance(op.x.op, Neg) else None

    within(10, lambda: apply_rules(module, [merge]))
    (left,) = [op for op in module.ops() if isinstance(op, Neg)]
    assert within(1, lambda: len(left.nodes)) == COUNT


def test_identities_under_one_heir() -> None:
    body = Region([F2], ["x"])
    value = head = body.append(Neg(body.args[0]).named("h", ["head"])).result
    for i in range(COUNT):
        value = body.append(Relu(value).named("", [f"node {i}"])).result
    body.append(Yield((value,)))
    module = Module("m", body, ["y"])
    within(5, lambda: apply_rules(module, [drop]))
    assert head.op is not None
    assert head.op.nodes == ("head", *(f"node {i}" for i in range(COUNT)))


def test_many_readers_of_one_value() -> None:
    body = Region([F2], ["x"])
    hub = body.append(Neg(body.args[0])).result
    relus = [body.append(Relu(hub)).result for _ in range(COUNT)]
    body.append(Yield((body.append(Concat(tuple(relus), 0)).result,)))
    module = Module("m", body, ["y"])
    again = within(8, lambda: parse(print_module(module).text))
    within(5, lambda: verify(again))
    assert within(5, lambda: evaluate(again, X))["y"].shape == (2 * COUNT,)
    within(5, lambda: Rewriter(module).replace_value(hub, body.args[0]))
    assert sum(body.args[0].uses.values()) == COUNT + 1
    within(5, lambda: verify(module))


def test_many_nodes_that_end_in_one_value() -> None:
    """Rules that remove the readers of a value one by one."""
    body = Region([F2], ["x"])
    hub = body.append(Neg(body.args[0])).result
    total = hub
    for _ in range(COUNT):
        total = body.append(Add(total, body.append(Relu(hub)).result)).result
    body.append(Yield((total,)))
    module = Module("m", body, ["y"])
    report = within(10, lambda: apply_rules(module, [drop]))
    assert report.fired["drop"] == COUNT
    assert hub.uses
    within(5, lambda: verify(module))


def test_dead_code_goes_at_once() -> None:
    body = Region([F2], ["x"])
    value = body.args[0]
    for _ in range(COUNT):
        value = body.append(Relu(value)).result
    body.append(Yield((body.args[0],)))
    module = Module("m", body, ["y"])
    last = value.op
    assert last is not None
    assert len(within(5, lambda: Rewriter(module).erase_dead([last]))) == COUNT


def test_equal_names_are_told_apart_in_linear_time() -> None:
    body = Region([F2], ["x"])
    for _ in range(COUNT):
        body.append(Neg(body.args[0]).named("same"))
    body.append(Yield(()))
    module = Module("m", body, [])
    text = within(5, lambda: str(module))
    assert str(parse(text)) == text


def test_the_parser_needs_little_memory() -> None:
    text = str(chain(COUNT // 8))
    parse(str(chain(10)))  # the grammar itself is not counted
    tracemalloc.start()
    kept = parse(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.body.last is not None
    assert peak < 20e6, f"{peak / 1e6:.0f} MB for {len(text) / 1e6:.1f} MB of text"


def test_large_weights_go_through_the_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    body = Region()
    arrays = [rng.standard_normal((512, 512)).astype(np.float32) for _ in range(40)]
    values = tuple(body.append(constant(array, f"w{i}")).result for i, array in enumerate(arrays))
    body.append(Yield(values))
    module = Module("m", body, [f"y{i}" for i in range(40)])
    within(5, lambda: save_module(module, tmp_path / "m.mir"))
    assert within(5, lambda: load_module(tmp_path / "m.mir")) == module


def test_mobilenet_evaluates_in_seconds(zoo: Zoo) -> None:
    module = load(zoo.model("mobilenet_v2_100_224"))
    feeds = {value.name: np.zeros(value.tensor.dims, np.float32) for value in module.inputs}
    within(4, lambda: evaluate(module, feeds))  # processor time, of two cores
