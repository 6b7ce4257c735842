"""Every pass on graphs made at random: same outputs, and nothing left for a second run."""

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from pass_cases import assert_same_outputs, feeds_of, module_of, run

from mcc.ir import Array, Module, evaluate
from mcc.ops import Clip, Maximum, Minimum, Relu
from mcc.passes import format_passes, pipeline

CHANNELS = 4

EXACT = (
    "canonicalize",
    "fold-constants",
    "cse",
    "dce",
    "fuse-activation",
    "fold-constants,canonicalize,fold-constants,cse,fuse-activation,dce",
)
CLOSE = (
    "canonicalize{exact=false}",
    "fuse-bias",
    "fold-batch-norm",
    "fold-batch-norm{leftover=depthwise}",
    "fold-batch-norm{leftover=keep}",
    "fuse-pad",
    "fuse-residual",
    "layout",
    f"{format_passes(pipeline(2))},layout,dce",
    format_passes(pipeline(3)),
)


class Builder:
    """Lines of a module over images [1, 4, n, n], with constants as they are needed."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.values = [("%x", 6)]
        self.count = 0

    def constant(self, shape: str) -> str:
        self.count += 1
        number = self.draw(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0]))
        numbers = [number] if not shape else [number + i * 0.25 for i in range(int(shape))]
        text = f"[{', '.join(map(str, numbers))}]" if shape else str(number)
        self.lines.append(f"%k{self.count} = constant(f32 {text}) : f32[{shape}]")
        return f"%k{self.count}"

    def weights(self, taps: int) -> str:
        self.count += 1
        shape = f"[{CHANNELS},{CHANNELS},{taps},{taps}]"
        seed = self.constant("8")
        size = CHANNELS * CHANNELS * taps * taps
        rows, name = f"[{size // 8},8]", f"%w{self.count}"
        self.lines.append(f"%e{self.count} = expand({seed}, shape={rows}) : f32{rows}")
        self.lines.append(f"{name} = reshape(%e{self.count}, shape={shape}) : f32{shape}")
        return name

    def step(self, index: int) -> None:
        x, n = self.draw(st.sampled_from(self.values[-4:]))
        kinds = (
            "conv",
            "batch_norm",
            "bias",
            "scalar",
            "relu",
            "clip",
            "add",
            "pad",
            "pool",
            "neg",
        )
        kind = self.draw(st.sampled_from(kinds))
        size = n
        match kind:
            case "conv":
                taps = self.draw(st.sampled_from([1, 3])) if n >= 3 else 1
                pad = self.draw(st.integers(0, 1))
                size = n + 2 * pad - taps + 1
                call = f"conv({x}, {self.weights(taps)}, pads={[pad] * 4})"
            case "batch_norm":
                scale, bias, mean = (self.constant("4") for _ in range(3))
                self.lines.append(f"%var{index} = constant(f32 [1.0, 0.5, 2.0, 4.0]) : f32[4]")
                call = f"batch_norm({x}, {scale}, {bias}, {mean}, %var{index})"
            case "bias":
                vector = self.constant("4")
                self.lines.append(f"%r{index} = reshape({vector}, shape=[4,1,1]) : f32[4,1,1]")
                name = self.draw(st.sampled_from(["add", "mul", "sub"]))
                call = f"{name}({x}, %r{index})"
            case "scalar":
                name = self.draw(st.sampled_from(["add", "mul", "sub", "max", "min"]))
                a, b = self.draw(st.permutations([x, self.constant("")]))
                call = f"{name}({a}, {b})"
            case "clip":
                lo, hi = sorted(self.draw(st.tuples(*[st.sampled_from([-1.0, 0.0, 6.0])] * 2)))
                call = f"clip({x}, lo={lo}, hi={hi})"
            case "add":
                other = self.draw(st.sampled_from([v for v, m in self.values if m == n]))
                call = f"add({x}, {other})"
            case "pad":
                pads = [0, 0, 1, 1, 0, 0, 1, 1]
                size = n + 2
                value = self.draw(st.sampled_from([0.0, 1.0]))
                call = f"pad({x}, pads={pads}, value={value})"
            case "pool" if n >= 2:
                size = n - 1
                name = self.draw(st.sampled_from(["max_pool", "avg_pool"]))
                call = f"{name}({x}, kernel=[2,2])"
            case "neg":
                call = f"neg({x})"
            case _:
                call = f"relu({x})"
        shape = f"f32[1,{CHANNELS},{size},{size}]"
        self.lines.append(f'%v{index} = {call} : {shape} from "/n{index}"')
        self.values.append((f"%v{index}", size))


@st.composite
def graphs(draw: st.DrawFn) -> Module:
    builder = Builder(draw)
    for index in range(draw(st.integers(1, 10))):
        builder.step(index)
    outputs = [builder.values[-1][0], draw(st.sampled_from(builder.values))[0]]
    lines = [*builder.lines, f"yield({', '.join(outputs)})"]
    return module_of("\n".join(lines), f'(%x: f32[1,{CHANNELS},6,6]) -> ("y", "z")')


def without_signs_of_zero(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array + np.zeros((), array.dtype) for name, array in arrays.items()}


def judged(module: Module, pipeline: str, *, exact: bool, special: bool) -> None:
    note(str(module))
    feeds = feeds_of(module, special=special)
    expected = evaluate(module, feeds)
    clamps = any(isinstance(op, Relu | Clip | Maximum | Minimum) for op in module.ops())
    run(module, "dce")
    nodes = {node for op in module.ops() for node in op.nodes}
    folded = run(module, pipeline)
    found = evaluate(module, feeds)
    if clamps:
        # Which of 0.0 and -0.0 is the larger one, numpy leaves to the processor.
        expected, found = without_signs_of_zero(expected), without_signs_of_zero(found)
    assert_same_outputs(expected, found, exact=exact)
    named = {node for op in module.ops() for node in op.nodes}
    # What was a no-op in front of everything may leave no op to carry its node.
    if not any(record.rewrites for record in folded):
        assert nodes == named
    if "," not in pipeline:
        text = str(module)
        run(module, pipeline)
        assert str(module) == text, "the second run changes something"


@pytest.mark.parametrize("pipeline", EXACT)
@settings(max_examples=40, deadline=None)
@given(module=graphs())
def test_exact_passes_keep_every_bit(pipeline: str, module: Module) -> None:
    judged(module, pipeline, exact=True, special=True)


@pytest.mark.parametrize("pipeline", CLOSE)
@settings(max_examples=40, deadline=None)
@given(module=graphs())
def test_the_others_keep_the_numbers(pipeline: str, module: Module) -> None:
    judged(module, pipeline, exact=False, special=False)
