"""A small detector in the manner of YOLOX, on both accelerators: in the simulator and as ELF."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Array

import mcc
from mcc.cli import run as run_command
from mcc.runtime import Program, load_target
from mcc.runtime.soc import run_elf
from mcc.verify import verify

TARGETS = ["gemmini", "riscv-accel"]
SIDE = 32


@dataclass
class Detector:
    """Nodes and weights, under way. Every method returns the name of the value that it makes."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    weights: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])

    def constant(self, array: Array) -> str:
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(self, x: str, *shape: int, stride: int = 1, groups: int = 1) -> str:
        """A convolution as wide as it reads, without activation; `shape` is that of its weights."""
        spread = np.sqrt(2 / np.prod(shape[1:]))
        w = (self.rng.standard_normal(shape) * spread).astype(np.float32)
        b = (self.rng.standard_normal(shape[0]) * 0.1).astype(np.float32)
        return self.op(
            "Conv",
            x,
            self.constant(w),
            self.constant(b),
            pads=[shape[2] // 2] * 4,
            strides=[stride] * 2,
            group=groups,
        )

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def block(self, x: str, inputs: int, outputs: int, stride: int = 1) -> str:
        """A depthwise convolution and a 1x1 one."""
        deep = self.silu(self.conv(x, inputs, 1, 3, 3, stride=stride, groups=inputs))
        return self.silu(self.conv(deep, outputs, inputs, 1, 1))

    def focus(self, x: str) -> str:
        """Each square of 2x2 pixels as channels."""
        axes, steps = (self.constant(np.array(of)) for of in ([2, 3], [2, 2]))
        ends = self.constant(np.array([SIDE, SIDE]))
        parts = [
            self.op("Slice", x, self.constant(np.array(start)), ends, axes, steps)
            for start in ([0, 0], [1, 0], [0, 1], [1, 1])
        ]
        return self.op("Concat", *parts, axis=1)

    def pyramid(self, x: str) -> str:
        """Maxima of 5x5 and of 9x9 beside the pixels."""
        maxima = [
            self.op("MaxPool", x, kernel_shape=[size] * 2, pads=[size // 2] * 4, strides=[1, 1])
            for size in (5, 9)
        ]
        return self.op("Concat", x, *maxima, axis=1)

    def upsample(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.op(
            "Resize",
            x,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def head(self, x: str, channels: int) -> str:
        """Box, score and classes of every pixel, as columns."""
        x = self.block(x, channels, 16)
        box = self.conv(x, 4, 16, 1, 1)
        score, classes = (self.op("Sigmoid", self.conv(x, n, 16, 1, 1)) for n in (1, 5))
        shape = self.constant(np.array([1, 10, -1]))
        return self.op("Reshape", self.op("Concat", box, score, classes, axis=1), shape)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = Detector()
    x = net.silu(net.conv(net.focus("image"), 16, 12, 3, 3))
    fine = net.block(x, 16, 24, stride=2)
    same = net.op("Add", fine, net.block(fine, 24, 24))
    coarse = net.silu(net.conv(net.pyramid(net.block(same, 24, 24, stride=2)), 32, 72, 1, 1))
    fine = net.block(net.op("Concat", net.upsample(coarse), same, axis=1), 56, 24)
    rows = net.op("Concat", net.head(fine, 24), net.head(coarse, 32), axis=2)
    boxes = net.op("Transpose", rows, perm=[0, 2, 1])
    count = (SIDE // 4) ** 2 + (SIDE // 8) ** 2
    graph = helper.make_graph(
        net.nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(boxes, TensorProto.FLOAT, [1, count, 10])],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("detector") / "detector.onnx"
    onnx.save(model, path)
    return path


def image(seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"image": rng.uniform(0, 1, (1, 3, SIDE, SIDE)).astype(np.float32)}


@pytest.mark.parametrize("target", TARGETS)
def test_every_tensor_is_the_evaluators(detector: Path, target: str) -> None:
    artifact = mcc.compile(detector, target=target)
    found = verify(artifact, [image(1), image(2)])
    assert found.passed, found
    assert len(found.machine) > 20


def test_a_tensor_may_need_no_command(
    detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The second pool reads what the first one reads, and both are stored behind the layer before.
    artifact = mcc.compile(detector, target="riscv-accel")
    program = Program.from_artifact(artifact)
    empty = [layer.tensor for layer in program.layers if layer.start == layer.stop]
    assert empty
    artifact.save(path := tmp_path / "detector.mcc")
    assert run_command(["disasm", str(path), "--layer", empty[0]]) == 0
    header = capsys.readouterr().out
    assert header.startswith(f"# {empty[0]}: no command of its own, from ")
    assert header.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.skipif(find_spec("unicorn") is None, reason="needs unicorn (extra `riscv`)")
@pytest.mark.skipif(find_spec("ziglang") is None, reason="needs ziglang (extra `riscv`)")
def test_it_passes_on_the_core(detector: Path, target: str, tmp_path: Path) -> None:
    path = tmp_path / "detector.elf"
    assert run_command([str(detector), "--target", target, "--emit", "elf", "-o", str(path)]) == 0
    result = run_elf(path.read_bytes(), load_target(target))
    assert result.exit_code == 0, result.console
    assert result.console.endswith("PASS\n")
