"""Products of bytes in tile registers (AMX), against the op's definition."""

import os
from typing import Any

import numpy as np
import pytest
from cpu_cases import Array, Cases, Chain, bind, chained
from hypothesis import given, settings
from hypothesis import strategies as st
from processors import native_without

from mcc.backends.cpu import library_members
from mcc.backends.cpu.kernels import tiled, tiles
from mcc.backends.cpu.kernels.tile_blocking import (
    SIGNED,
    TileBlocking,
    choose_tile_blocking,
    pack_tiles,
    unit_order,
)
from mcc.ir import DType, Module, Op, Region, Tensor, UserError, Value, Yield, constant, evaluate
from mcc.ops import Conv, Matmul, Requantize
from mcc.runtime import processor, processor_flags
from mcc.runtime.library import Library
from mcc.runtime.table import Table

needs_tiles = pytest.mark.skipif(
    "amx_int8" not in processor_flags(), reason="this processor has no AMX for bytes"
)


@pytest.fixture
def always_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cost of vectors be no argument, so that small shapes use tiles as well."""

    def endless(*arguments: object) -> float:
        return float("inf")

    monkeypatch.setattr(tiled, "contraction_cycles", endless)


def small(rng: np.random.Generator, *shape: int, dtype: str = "i1") -> Array:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    per_group = draw(st.sampled_from([3, 4, 16, 24, 68, 100]))
    if groups > 1:
        per_group -= per_group % 4 - 4 * (per_group < 4)
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    return {
        "x": (
            draw(st.integers(1, 3)),
            groups * per_group,
            *(draw(st.integers(5, 21)) for _ in kernel),
        ),
        "w": (groups * draw(st.integers(1, 70)), per_group, *kernel),
        "strides": tuple(draw(st.integers(1, 2)) for _ in kernel),
        "pads": tuple(draw(st.integers(0, 2)) for _ in kernel * 2),
        "dilations": tuple(draw(st.integers(1, 2)) for _ in kernel),
        "groups": groups,
        "layout": draw(st.sampled_from(["nchw", "nhwc"])),
        "dtype": draw(st.sampled_from(["i1", "u1"])),
        "sides": draw(st.integers(0, 3)),
        "seed": draw(st.integers(0, 2**31)),
    }


def add_convolution(cases: Cases, case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    x, w = small(rng, *case["x"], dtype=case["dtype"]), small(rng, *case["w"])
    x = x if case["layout"] == "nchw" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    names = ("strides", "pads", "dilations", "groups", "layout")
    plain = bind(Conv, **{name: case[name] for name in names}, pad_value=3)
    outputs: int = case["w"][0]
    probe = plain(Value(Tensor(DType.of(x), x.shape)), Value(Tensor(DType.I8, w.shape)))
    sides: list[Array] = [small(rng, outputs, dtype="i2").astype("i4")] * min(case["sides"], 1)
    if case["sides"] > 1:
        sides += [small(rng, *probe.result.tensor.dims), small(rng, outputs).astype("i4")]
    scale: Array = (rng.random(outputs) * 1e-3 + 1e-5).astype("f4")

    @chained
    def make(chain: Chain, x: Value, w: Value, multiplier: Value, *sides: Value) -> Op:
        total = chain(plain(x, w, **dict(zip(("b", "r", "k"), sides, strict=False))))
        axis = 1 if case["layout"] == "nchw" else x.tensor.rank - 1
        return Requantize(total, multiplier, zero=-5, axis=axis)

    cases.add(f"{case} requantized", make, x, constants=[w, scale, *sides])
    cases.add(f"{case} sums", plain, x, constants=[w])


@needs_tiles
@pytest.mark.usefixtures("always_tiles")
def test_convolutions() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.lists(convolutions(), min_size=8, max_size=8))
    def check(drawn: list[dict[str, Any]]) -> None:
        cases = Cases()
        for case in drawn:
            add_convolution(cases, case)
        library = cases.check()
        assert {"amx_tile", "amx_int8"} <= set(library.table.machine.flags)

    check()


@needs_tiles
@pytest.mark.usefixtures("always_tiles")
@pytest.mark.parametrize("small_weights", [0, 1 << 20])
def test_threads_share_positions(small_weights: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are the same however positions are cut into pieces, also where none fits."""
    monkeypatch.setattr(tiles, "PARALLEL_WORK", 0)
    monkeypatch.setattr(tiles, "_SMALL_WEIGHTS", small_weights)
    cases = Cases()
    sizes = [(4, 16), (15, 4), (32, 7), (5, 29), (2, 31), (14, 14), (56, 2), (8, 24), (31, 31)]
    for number, size in enumerate(sizes):
        for taps in (1, 3):
            case = {
                "x": (1 + number % 2, 100, *size),
                "w": (40, 100, taps, taps),
                "strides": (1, 1),
                "pads": (taps // 2,) * 4,
                "dilations": (1, 1),
                "groups": 1,
                "layout": "nhwc",
                "dtype": "u1",
                "sides": 3,
                "seed": number,
            }
            add_convolution(cases, case)
    cases.check()


@needs_tiles
@pytest.mark.usefixtures("always_tiles")
def test_matrix_products() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        cases = Cases()
        for number in range(10):
            rng = np.random.default_rng(number)
            m, k, n = (data.draw(st.integers(1, limit)) for limit in (70, 200, 70))
            left = data.draw(st.sampled_from([(), (3,), (2, 3), (2, 1)]))
            right = data.draw(st.sampled_from([(), (), (3,), (1, 3)]))
            dtype = data.draw(st.sampled_from(["i1", "u1"]))
            shape = data.draw(st.sampled_from([(*left, m, k), (k,)]))
            w = data.draw(st.sampled_from([(*right, k, n), (k,), (k, n)]))
            bias = [small(rng, n, dtype="i2").astype("i4")] if len(w) > 1 else []
            x = small(rng, *shape, dtype=dtype)
            cases.add(f"{x.dtype}{shape} {w}", Matmul, x, constants=[small(rng, *w), *bias])
        library = cases.check()
        assert "amx_int8" in library.table.machine.flags

    check()


@needs_tiles
def test_large_products_use_tiles_and_threads() -> None:
    rng = np.random.default_rng(0)
    cases = Cases()
    cases.add("matmul", Matmul, small(rng, 130, 300), constants=[small(rng, 300, 500)])
    image = small(rng, 1, 64, 30, 31, dtype="u1")
    cases.add("conv", bind(Conv, pads=(1, 1, 1, 1)), image, constants=[small(rng, 96, 64, 3, 3)])
    cases.add("empty", Matmul, small(rng, 0, 64), constants=[small(rng, 64, 64)])
    cases.add("nothing", Matmul, small(rng, 5, 0), constants=[small(rng, 0, 64)])
    library = cases.check(layout=True)
    assert "amx_int8" in library.table.machine.flags


def product() -> tuple[Module, dict[str, Array]]:
    rng = np.random.default_rng(1)
    region = Region([Tensor(DType.I8, (64, 256))], ["x"])
    w = region.append(constant(small(rng, 256, 64), "w"))
    y = region.append(Matmul(region.args[0], w.results[0]).named("y"))
    region.append(Yield((y.results[0],)))
    return Module("m", region, ["y"]), {"x": small(rng, 64, 256)}


@pytest.mark.parametrize(
    "features",
    [
        (),
        ("-amx-tile",),
        ("-amx-tile", "-avx512vnni"),
        ("-amx-tile", "-avx512f"),
        ("-amx-tile", "-avx512f", "-avxvnni"),
    ],
)
def test_every_instruction_set_gives_the_same_integers(features: tuple[str, ...]) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("features of x86-64")
    module, feeds = product()
    members = library_members(module, native_without(*(name[1:] for name in features)))
    flags = set(Table.from_json(members["library.json"]).machine.flags)
    for feature in features:
        assert feature[1:].replace("avx512vnni", "avx512_vnni").replace("-", "_") not in flags
    found = Library(members["library.so"], members["library.json"]).run([feeds["x"]])
    np.testing.assert_array_equal(found[0], evaluate(module, feeds)["y"])


def test_a_process_without_permission_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_TILE_DATA", 63)  # no such state
    with pytest.raises(UserError, match=r"does not let this process use AMX (?s:.)*-amx-tile"):
        processor.permit_tiles()


def test_blockings_cover_every_position_in_registers() -> None:
    for positions in range(1, 200):
        blocking = choose_tile_blocking(positions, 3, 40, 25)
        assert 1 <= blocking.rows <= 16
        assert positions > 16 or blocking.rows == positions
        assert blocking.units == 13
        assert blocking.columns == 2


def test_a_run_that_ends_in_part_of_a_tile_is_padded_with_zeros() -> None:
    blocking = TileBlocking(rows=4, tiles=1, columns=1, units=3)
    order = unit_order(5, blocking)
    assert order == [0, 1, 2, -1, 3, 4]
    rows = np.arange(20 * 2, dtype="i1").reshape(20, 2)
    packed = pack_tiles(rows, order, SIGNED, 16)
    assert packed.shape == (1, 6, 16, 4)
    np.testing.assert_array_equal(packed[0, 4, :2], rows[12:16].T)
    assert not packed[0, 3].any()
    assert not packed[0, :, 2:].any()
