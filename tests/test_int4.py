"""4-bit weights: from the option to the moves that unpack them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accel_checks import check, lowered
from accel_layers import Builder, Case, Exit
from quant_cases import quantized, residual_network

from mcc import compile as compile_model
from mcc.backends.riscv_accel import link
from mcc.ir import Constant, Op, UserError, constant_of
from mcc.ops import Add, Conv, Dequantize, Matmul
from mcc.passes.quantization import scheme_for
from mcc.passes.quantization.encoding import Encoding
from mcc.passes.quantization.products import fit_product
from mcc.passes.quantization.weights import largest
from mcc.runtime import isa
from mcc.runtime.target import load_target
from mcc.verify import verify

TARGET = load_target("riscv-accel")


def dense(top: int, bottom: int) -> Case:
    """128 to 128 channels, with one weight that is `top` and one that is `bottom`."""
    builder = Builder(3)
    (x,) = builder.start(x=(16, 128))
    weights = builder.integers(128, 128, largest=6)
    weights[7, 9], weights[100, 3] = top, bottom
    product = builder.add(Matmul(x, builder.data(weights)), "y.acc")
    return builder.finish(Exit().apply(builder, product, 3000.0))


def weight_loads(case: Case, machine: str) -> tuple[int, int]:
    """How many moves-in with a packed load state a program has, and the bytes of its weights."""
    target = load_target(machine)
    module = lowered(case, target)
    stored = [op.result for op in module.body if isinstance(op, Constant)]
    linked = link(module, target)
    packed, moves = [False] * 3, 0
    for command in isa.decode(linked.program.commands):
        match command:
            case isa.ConfigLoad():
                packed[command.state] = bool(command.packed)
            case isa.MoveIn():
                moves += packed[command.load_state]
            case _:
                pass
    return moves, sum(v.tensor.nbytes for v in stored if v.name.endswith(".weights"))


def test_weights_that_all_take_four_bits_are_stored_packed() -> None:
    moves, size = weight_loads(dense(7, -8), "riscv-accel")
    assert moves == 128 * 128 // (16 * 128)
    assert size == 128 * 128 // 2
    for top, bottom in ((8, -8), (7, -9)):
        moves, size = weight_loads(dense(top, bottom), "riscv-accel")
        assert moves == 0
        assert size == 128 * 128
    moves, size = weight_loads(dense(7, -8), "gemmini")
    assert moves == 0
    assert size == 128 * 128


def users(op: Op) -> list[Op]:
    return [user for result in op.results for user in result.uses]


@pytest.mark.parametrize("machine", ["riscv-accel", "gemmini"])
def test_packed_weights_change_no_bit(machine: str) -> None:
    check(dense(7, -8), machine)


def test_a_network_s_weights_get_four_bits_where_no_residual_enters() -> None:
    """What is added to something keeps 8 bits: either operand may take in the other."""
    scheme = replace(scheme_for(TARGET.extensions, TARGET.backend), weight_bits=4)
    network = residual_network()
    added = {op.nodes[0] for op in network.ops() if any(isinstance(u, Add) for u in users(op))}
    form = quantized(network, scheme)
    sizes: dict[bool, int] = {}
    for op in form.ops():
        if isinstance(op, Conv | Matmul) and isinstance(op.w.op, Dequantize):
            weights = constant_of(op.w.op.x)
            assert weights is not None
            assert op.r is None or op.nodes[0] in added
            most = int(np.abs(weights.astype(np.int64)).max())
            meets = op.nodes[0] in added
            sizes[meets] = max(sizes.get(meets, 0), most)
    assert sizes[False] == 7
    assert sizes[True] > 7


def test_four_bits_take_the_scale_of_the_least_squared_error() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8, 400)).astype(np.float32)
    builder = Builder(0)
    (x,) = builder.start(x=(1, 400))
    op = Matmul(x, builder.weights(400, 8))
    scheme = scheme_for(TARGET.extensions, TARGET.backend)

    def error(*, clip: bool) -> float:
        peak = largest(rows, per_channel=True, clip=clip, most=7)
        found = fit_product(op, rows, peak, Encoding(1.0), scheme, most=7).weights
        assert np.abs(found.integers.astype(np.int64)).max() == 7
        return float(((found.real - rows) ** 2).mean())

    steps = np.abs(rows).max(1) / 7
    plain = float((steps**2).mean() / 12)
    assert error(clip=False) == pytest.approx(plain, rel=0.1)
    assert error(clip=True) < 0.8 * error(clip=False)


def test_the_option_reaches_the_program(examples: Path) -> None:
    """The example model, as `mcc --weight-bits 4` compiles it."""
    model, samples = examples / "digits.onnx", examples / "digits_calibration.npz"
    sizes: dict[int, int] = {}
    for bits in (8, 4):
        artifact = compile_model(model, target="riscv-accel", calibrate=samples, weight_bits=bits)
        sizes[bits] = json.loads(artifact.members["report.json"])["totals"]["weight_bytes"]
    # Half, but for the convolutions whose results are added, and for biases and multipliers.
    assert sizes[4] < 0.8 * sizes[8]
    with np.load(examples / "digits_samples.npz") as file:
        images = file["image"][:2]
    found = verify(artifact, [{"image": image[None]} for image in images])
    assert found.passed
    assert not any(check.differing for check in found.machine)
    for checks in found.onnxruntime.values():
        assert not any(check.differing for check in checks)
    with pytest.raises(UserError, match="option 'weight_bits'"):
        compile_model(model, target="riscv-accel", weight_bits=3)
