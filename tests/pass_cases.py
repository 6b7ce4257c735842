"""What tests of passes share: IR before, the passes, IR after, and both evaluated on one input."""

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import dedent

import numpy as np

from mcc.ir import Array, Constant, Module, evaluate, parse, verify
from mcc.passes import PassRun, parse_passes, run_passes

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1.0, -1.0)
"""What a rule that only holds for real numbers changes."""


def module_of(body: str, signature: str, weights: Mapping[str, Array] | None = None) -> Module:
    """A module from its lines, with `signature` such as `(%x: f32[4]) -> ("y")`."""
    text = f"module @case{signature} {{\n{dedent(body).strip()}\n}}\n"
    module = parse(text, weights or {})
    verify(module)
    return module


def feeds_of(module: Module, seed: int = 0, *, special: bool = False) -> dict[str, Array]:
    """Random inputs; `special` scatters NaN, infinities, zeros and a subnormal among floats."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for value in module.inputs:
        dtype, dims = value.tensor.dtype, value.tensor.dims
        if dtype.is_float:
            array = rng.standard_normal(dims)
            if special:
                chosen = rng.random(dims) < 0.3
                array = np.where(chosen, rng.choice(SPECIAL, dims), array)
            feeds[value.name] = array.astype(dtype.numpy)
        elif dtype.is_integer:
            low, high = dtype.limits
            feeds[value.name] = rng.integers(max(low, -128), min(high, 127), dims).astype(
                dtype.numpy
            )
        else:
            feeds[value.name] = (rng.random(dims) < 0.5).astype(dtype.numpy)
    return feeds


def run(module: Module, pipeline: str) -> list[PassRun]:
    """Run a textual pipeline in place; returns the records."""
    runs: list[PassRun] = []
    after = run_passes(module, parse_passes(pipeline), record=runs.append)
    assert after is module, "these passes work in place"
    return runs


def same_bits(left: Array, right: Array) -> bool:
    """Equal in every bit but the payload of NaN."""
    if left.dtype.kind != "f":
        return left.dtype == right.dtype and np.array_equal(left, right)
    same = np.array_equal(left, right, equal_nan=True)
    return bool(same and np.all((np.signbit(left) == np.signbit(right)) | np.isnan(left)))


def assert_same_outputs(
    before: Mapping[str, Array], after: Mapping[str, Array], *, exact: bool
) -> None:
    assert before.keys() == after.keys()
    for name, expected in before.items():
        if exact:
            assert same_bits(expected, after[name]), name
        else:
            scale = float(np.abs(expected).max(initial=0.0)) + 1e-6
            np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-5 * scale)


def rewrites(
    pipeline: str,
    before: str,
    after: str,
    signature: str,
    *,
    weights: Mapping[str, Array] | None = None,
    exact: bool = True,
    special: bool = False,
) -> list[PassRun]:
    """Assert that the passes make `after` of `before` and that both compute the same.

    The second run of the passes must change nothing, and every ONNX node must still be named.
    """
    module = module_of(before, signature, weights)
    feeds = feeds_of(module, special=special)
    expected = evaluate(module, feeds)
    nodes = {node for op in module.ops() for node in op.nodes}
    runs = run(module, pipeline)
    body = "\n".join(line.strip() for line in str(module).splitlines()[1:-1])
    assert body == "\n".join(line.strip() for line in dedent(after).strip().splitlines())
    assert_same_outputs(expected, evaluate(module, feeds), exact=exact)
    assert nodes <= {node for op in module.ops() for node in op.nodes}
    text = str(module)
    run(module, pipeline)
    assert str(module) == text, "the second run changes something"
    return runs


def declines(
    pipeline: str,
    text: str,
    signature: str,
    reason: str,
    weights: Mapping[str, Array] | None = None,
) -> None:
    """Assert that the passes change nothing, and say `reason`."""
    module = module_of(text, signature, weights)
    before = str(module)
    runs = run(module, pipeline)
    assert str(module) == before
    reasons = [declined.reason for run in runs for declined in run.declined]
    assert any(reason in given for given in reasons), reasons


def op_counts(module: Module) -> Counter[str]:
    """How many ops of each kind there are, constants and the yield left out."""
    return Counter(op.op_name for op in module.ops() if not isinstance(op, Constant) and op.results)


def constants(module: Module) -> Sequence[Array]:
    """All constants, in order."""
    return [op.data.array for op in module.ops() if isinstance(op, Constant)]
