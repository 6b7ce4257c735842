"""Records of decoded commands against what the instruction classes read."""

import numpy as np
import pytest

from mcc.runtime import isa
from mcc.runtime.isa import INSTRUCTIONS, Commands, Instruction
from mcc.runtime.simulator.operands import OPERANDS, Codes, decode_operands, prefix

COUNT = 200
DECODED = [kind for kind in INSTRUCTIONS if kind.mnemonic in Codes._fields]
"""Not loops, nor what starts a queue: these are counted out before."""


def any_commands(kind: type[Instruction], rng: np.random.Generator) -> Commands:
    """Commands of one class with any bits in their fields."""
    commands = np.broadcast_to(kind.pack(), COUNT).copy()
    for word in ("rs1", "rs2"):
        known = sum(bits.mask << bits.low for bits in kind.bits.values() if bits.word == word)
        noise = rng.integers(0, 2**64, COUNT, np.uint64, endpoint=False) & np.uint64(known)
        commands[word] = (commands[word] & np.uint64(~known & (2**64 - 1))) | noise
    return commands


@pytest.mark.parametrize("kind", DECODED, ids=lambda kind: kind.mnemonic)
def test_a_record_has_every_field(kind: type[Instruction]) -> None:
    commands = any_commands(kind, np.random.default_rng(3))
    records = decode_operands(commands)
    assert np.all(records["operation"] == isa.operation(kind))
    for name, column in kind.unpack(commands).items():
        field = f"{prefix(kind)}_{name}"
        wanted = column.astype(OPERANDS[field], casting="unsafe")
        np.testing.assert_array_equal(records[field], wanted, name)
