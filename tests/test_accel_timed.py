"""Stores and biases among products by time: none is lost, and the order that matters stays."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from mcc.backends.riscv_accel import tiles
from mcc.backends.riscv_accel.rolling import Node, tile
from mcc.backends.riscv_accel.spans import meet
from mcc.backends.riscv_accel.timed import due, on_time
from mcc.runtime import load_target

MACHINE = load_target("riscv-accel").machine


def product(row: int) -> Node:
    memories = {"local": "scratchpad", "sums": "accumulator"}
    return tile(
        tiles.Multiply, memories, {"a": row, "b": 9000, "c": row}, rows=16, depth=16, cols=16
    )


def store(row: int, rows: int) -> Node:
    window = (1, 1, 1, 1, 0, 0, 1, rows, 1, rows, rows)
    memories = {"target": "scratchpad", "local": "accumulator"}
    addresses = {"offset": 100, "row": row}
    return tile(tiles.MoveOut, memories, addresses, rows=0, cols=16, stride=1, pool=window)


def bias(row: int) -> Node:
    memories = {"local": "accumulator", "dram": "bias"}
    return tile(tiles.MoveIn, memories, {"row": row, "offset": 0}, rows=16, cols=16)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.randoms())
def test_biases_follow_the_stores_of_what_lay_there_and_precede_their_products(
    now: int, after: int, parts: int, shuffle: random.Random
) -> None:
    """Rounds in both halves of the accumulator in turn: a first one, and one behind it."""
    first = [product(512 + 16 * i) for i in range(now)]
    second = [product(16 * i) for i in range(after)]
    stores = [store(16 * after * i // parts, 16 * after // parts) for i in range(parts)]
    biases = [bias(16 * i) for i in range(after)]
    shuffle.shuffle(biases)
    wanted = due(biases, second, MACHINE.dim)
    nodes, later = on_time(first, stores, [], wanted, MACHINE)
    last, left = on_time(second, [], later, [], MACHINE)
    assert not left
    order = [*nodes, *last]
    assert sorted(map(id, order)) == sorted(map(id, [*first, *second, *stores, *biases]))
    assert [node for node in order if node.shape is first[0].shape] == [*first, *second]
    assert [node for node in order if node in stores] == stores
    place = {id(node): at for at, node in enumerate(order)}
    for one in biases:
        for other in (*stores, *second):
            if meet([one], [other], MACHINE.dim):
                earlier, later_one = (other, one) if other in stores else (one, other)
                assert place[id(earlier)] < place[id(later_one)]


def test_stores_come_when_their_engine_is_free() -> None:
    products = [product(512 + 16 * i) for i in range(30)]
    stores = [store(64 * i, 64) for i in range(3)]
    nodes, _ = on_time(products, stores, [], [], MACHINE)
    places = [at for at, node in enumerate(nodes) if node in stores]
    # 64 rows leave in 108 cycles; a product takes 16.
    assert places[0] == 0
    assert [5 <= b - a <= 8 for a, b in itertools.pairwise(places)] == [True, True]
