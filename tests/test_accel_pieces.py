"""How a run of pixels falls into pieces for the array, and what that takes."""

import numpy as np
import pytest

from mcc.backends.riscv_accel.pieces import array_cycles, pieces
from mcc.runtime import isa, load_target
from mcc.runtime.simulator import CycleModel

DIM = 16


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("pixels", [1, 7, 15, 16, 17, 35, 49, 55, 64, 198, 215])
def test_pieces_cover_every_pixel_once_and_end_with_a_whole_one(pixels: int, aligned: bool) -> None:
    found = pieces(pixels, DIM, aligned=aligned)
    covered = np.concatenate([np.arange(first, first + count) for first, count in found])
    assert sorted(covered.tolist()) == list(range(pixels))
    assert found[-1][1] == min(pixels, DIM)
    assert all(first // DIM == (first + count - 1) // DIM for first, count in found) or not aligned


@pytest.mark.parametrize("pixels", [33, 49, 50, 51, 97])
def test_no_pixel_takes_a_product_of_its_own(pixels: int) -> None:
    assert simulated([pixels]) == pytest.approx(pixels, abs=0.5)


def simulated(runs: list[int], weights: int = 40) -> float:
    """Cycles of a tile of weights over runs of pixels, on the cycle model."""
    parts: list[isa.Commands] = []
    into = isa.accumulator(np.arange(1), accumulate=True)
    for tile in range(weights):
        for number, (first, count) in enumerate(p for run in runs for p in pieces(run, DIM)):
            local = isa.GARBAGE if number else 4096 + tile * DIM
            parts.append(
                isa.Preload.pack(
                    local=local, cols=DIM, rows=DIM, destination=into + first,
                    destination_cols=DIM, destination_rows=count,
                )
            )  # fmt: skip
            kind = isa.ComputeKept if number else isa.ComputePreloaded
            parts.append(kind.pack(local=first, cols=DIM, rows=count))
    model = CycleModel(load_target("riscv-accel"), gap=1)
    half = len(parts) // 2
    model.run(isa.concatenate(parts[:half]))
    return model.run(isa.concatenate(parts[half:])).total / (weights / 2)


@pytest.mark.parametrize(
    "runs", [[16], [17], [33], [49], [50], [55], [64], [8] * 8, [14] * 14, [28] * 6, [5], [24]]
)
def test_the_array_takes_what_is_said(runs: list[int]) -> None:
    assert array_cycles(runs[0], len(runs), DIM) == pytest.approx(simulated(runs), rel=0.08)
