"""Magnitude pruning."""

from collections.abc import Callable

import numpy as np
import pytest
from pass_cases import constants, declines, module_of, run

from mcc.ir import Array, Module
from mcc.passes import PassRun

RNG = np.random.default_rng(3)
MATMUL = "%w = constant(@w) : f32[40,33]\n%y = matmul(%x, %w) : f32[2,33]\nyield(%y)"
CONV = "%w = constant(@w) : f32[20,18,3,3]\n%y = conv(%x, %w) : f32[1,20,2,2]\nyield(%y)"


def matmul() -> Module:
    w = RNG.standard_normal((40, 33)).astype(np.float32)
    return module_of(MATMUL, '(%x: f32[2,40]) -> ("y")', {"w": w})


def conv() -> Module:
    w = RNG.standard_normal((20, 18, 3, 3)).astype(np.float32)
    return module_of(CONV, '(%x: f32[1,18,4,4]) -> ("y")', {"w": w})


def pruned(module: Module, pipeline: str) -> tuple[Array, Array, PassRun]:
    """The weights before and after, and the record."""
    (before,) = constants(module)
    (record,) = run(module, pipeline)
    (after,) = constants(module)
    kept = after != 0
    assert np.array_equal(after[kept], before[kept])
    return before, after, record


@pytest.mark.parametrize("make", [matmul, conv])
def test_the_smallest_elements_become_zero(make: Callable[[], Module]) -> None:
    before, after, record = pruned(make(), "prune{sparsity=0.75}")
    gone = after == 0
    assert gone.sum() == int(0.75 * before.size)
    assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
    assert dict(record.fired) == {"zeros in w": int(gone.sum())}


def test_a_channel_goes_as_a_whole() -> None:
    before, after, _ = pruned(conv(), "prune{sparsity=0.25 structure=channel}")
    strength = (before.astype(np.float64) ** 2).mean((1, 2, 3))
    gone = (after == 0).all((1, 2, 3))
    assert gone.sum() == 5
    assert (after[~gone] != 0).all()
    assert strength[gone].max() <= strength[~gone].min()
    _, after, _ = pruned(matmul(), "prune{sparsity=0.5 structure=channel}")
    assert (after == 0).all(0).sum() == 16


def test_a_tile_of_the_array_goes_as_a_whole() -> None:
    _, after, _ = pruned(matmul(), "prune{sparsity=0.5 structure=block16}")
    empty = strengths = 0
    for row in range(0, 40, 16):
        for column in range(0, 33, 16):
            tile = after[row : row + 16, column : column + 16]
            assert (tile == 0).all() or (tile != 0).all()
            empty += int((tile == 0).all())
            strengths += 1
    assert (empty, strengths) == (4, 9)


def test_a_tile_of_a_convolution_is_one_tap() -> None:
    _, after, _ = pruned(conv(), "prune{sparsity=0.5 structure=block16}")
    states: list[bool] = []
    for tap in np.ndindex(3, 3):
        for out in (slice(0, 16), slice(16, 20)):
            for channel in (slice(0, 16), slice(16, 18)):
                tile = after[out, channel, *tap]
                assert (tile == 0).all() or (tile != 0).all()
                states.append(bool((tile == 0).all()))
    assert sum(states) == len(states) // 2


def test_pruning_again_changes_nothing() -> None:
    module = matmul()
    run(module, "prune{sparsity=0.6}")
    (once,) = constants(module)
    assert run(module, "prune{sparsity=0.6}")[0].rewrites == 0
    assert constants(module)[0] is once


@pytest.mark.parametrize(
    ("text", "signature", "options", "reason"),
    [
        (
            MATMUL.replace("yield(%y)", "yield(%y, %w)"),
            '(%x: f32[2,40]) -> ("y", "w")',
            "",
            "the weights are read otherwise too",
        ),
        (
            MATMUL.replace("f32", "i8").replace(": i8[2,", ": i32[2,"),
            '(%x: i8[2,40]) -> ("y")',
            "",
            "the weights are integers: prune before quantizing",
        ),
        (
            "%w = constant(@d) : f32[8,1,3,3]\n"
            "%y = conv(%x, %w, groups=8) : f32[1,8,2,2]\nyield(%y)",
            '(%x: f32[1,8,4,4]) -> ("y")',
            "{structure=block16}",
            "a convolution with groups has no tiles of 16 x 16",
        ),
        (
            "%w = constant(@b) : f32[2,4,3]\n%y = matmul(%x, %w) : f32[2,5,3]\nyield(%y)",
            '(%x: f32[5,4]) -> ("y")',
            "",
            "the weights are no matrix",
        ),
    ],
)
def test_other_weights_stay(text: str, signature: str, options: str, reason: str) -> None:
    dtype = np.int8 if "i8" in signature else np.float32
    weights = {
        "w": np.ones((40, 33), dtype),
        "d": np.ones((8, 1, 3, 3), np.float32),
        "b": np.ones((2, 4, 3), np.float32),
    }
    used = {name: array for name, array in weights.items() if f"@{name})" in text}
    declines(f"prune{options}", text, signature, reason, used)
