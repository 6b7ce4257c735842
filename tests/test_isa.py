"""The instruction set: encodings, text, relocation, and what a machine refuses."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcc.ir import UserError
from mcc.runtime import isa
from mcc.runtime.isa import COMMAND, INSTRUCTIONS, Bits, Instruction
from mcc.runtime.target import load_target

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "accelerator.md"


def field_values(bits: Bits) -> st.SearchStrategy[int | float]:
    match bits.kind:
        case "real":
            return st.floats(width=32, allow_nan=False)
        case "signed":
            return st.integers(-(1 << (bits.width - 1)), bits.mask >> 1)
        case _:
            return st.integers(0, bits.mask)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    kind = draw(st.sampled_from(INSTRUCTIONS))
    given_fields = draw(st.sets(st.sampled_from(sorted(kind.bits)))) if kind.bits else set[str]()
    return kind.from_fields(
        {name: draw(field_values(kind.bits[name])) for name in sorted(given_fields)}
    )


raw_commands = st.tuples(
    st.integers(0, 127), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)
)


def same(left: isa.Commands, right: isa.Commands) -> bool:
    return bool(left.tolist() == right.tolist())


@given(st.lists(instructions(), max_size=8))
def test_decode_inverts_encode(program: list[Instruction]) -> None:
    assert isa.decode(isa.encode(program)) == program


@given(st.lists(instructions(), max_size=8))
def test_assembly_round_trip(program: list[Instruction]) -> None:
    commands = isa.encode(program)
    assert same(isa.assemble(isa.disassemble(commands)), commands)


@given(st.lists(raw_commands, max_size=8))
def test_every_command_survives_assembly(rows: list[tuple[int, int, int]]) -> None:
    commands = np.array(rows, COMMAND)
    assert same(isa.assemble(isa.disassemble(commands)), commands)


@given(instructions())
def test_pack_agrees_with_encode(instruction: Instruction) -> None:
    packed = type(instruction).pack(**instruction.fields())
    assert packed[0].tolist() == instruction.encode()


def test_fields_do_not_overlap_and_no_two_classes_share_a_number() -> None:
    numbers = [(kind.funct7, kind.selector) for kind in INSTRUCTIONS]
    assert len(set(numbers)) == len(numbers)
    for kind in INSTRUCTIONS:
        taken = {"rs1": 0b11 if kind.selector >= 0 else 0, "rs2": 0}
        for name, bits in kind.bits.items():
            mask = bits.mask << bits.low
            assert not taken[bits.word] & mask, f"{kind.mnemonic} {name}"
            taken[bits.word] |= mask


def test_extensions_have_their_own_numbers_and_names() -> None:
    for kind in INSTRUCTIONS:
        # Gemmini's own loops for convolutions are one too: lean machines lack them.
        own = 32 <= kind.funct7 < 64
        assert bool(kind.extension) == (own or 15 <= kind.funct7 <= 21), kind.mnemonic


def test_encodings_are_gemmini_s() -> None:
    # Values read off the recorded streams of the stock hardware.
    assert isa.ConfigExecute().encode() == (0, 0x3F800000_0001_0004, 0x0001_0000_0000_0000)
    load = isa.ConfigLoad(state=1, block_stride=16, stride=16, pixel_repeats=1)
    assert load.encode() == (0, 0x3F800000_0010_0109, 0x10)
    move = isa.MoveIn(dram=0x80100000, local=isa.accumulator(8), cols=16, rows=1)
    assert move.encode() == (2, 0x80100000, 0x0001_0010_8000_0008)
    preload = isa.Preload(
        local=0x2000, cols=16, rows=16, destination=isa.accumulator(0, accumulate=True),
        destination_cols=16, destination_rows=16,
    )  # fmt: skip
    assert preload.encode() == (6, 0x0010_0010_0000_2000, 0x0010_0010_C000_0000)


def test_pack_broadcasts() -> None:
    commands = isa.MoveIn.pack(
        dram=np.arange(3) * 64 + 64, local=isa.scratchpad(7), cols=16, rows=2
    )
    text = [line.split() for line in isa.disassemble(commands).splitlines()]
    assert [line[1] for line in text] == ["dram=0x40", "dram=0x80", "dram=0xc0"]
    assert {line[2] for line in text} == {"local=sp[7]"}


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mvin cols=65536 does not fit: allowed are 0 to 65535"):
        isa.MoveIn(cols=65536).encode()
    with pytest.raises(ValueError, match=r"config_pad pad=128 does not fit"):
        isa.ConfigPad(pad=128).encode()
    with pytest.raises(ValueError, match=r"mvin has no field columns; it has dram, local"):
        isa.MoveIn.pack(columns=3)


def test_relocation_leaves_padding_alone() -> None:
    commands = isa.encode(
        [isa.MoveIn(dram=0), isa.MoveIn2(dram=64), isa.MoveOut(dram=128), isa.LoadTable(dram=192),
         isa.LoadScales(dram=256), isa.Preload()]
    )  # fmt: skip
    moved = isa.decode(isa.relocate(commands, 0x8000_0000))
    bases = [m.dram for m in moved if isinstance(m, isa.MoveIn | isa.MoveOut)]
    assert bases == [0, 0x8000_0040, 0x8000_0080]
    assert [m.dram for m in moved if isinstance(m, isa.LoadTable | isa.LoadScales)] == [
        0x8000_00C0,
        0x8000_0100,
    ]
    assert moved[-1] == isa.Preload()
    assert same(isa.relocate(isa.relocate(commands, 4096), -4096), commands)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mvinn", r"3: unknown instruction 'mvinn'; known: config_ex"),
        ("mvin row=3", r"3: mvin has no field 'row'; it has dram, local, cols, rows"),
        ("mvin rows", r"3: 'rows' is not FIELD=VALUE"),
        ("mvin rows=x", r"3: mvin rows=x: not a integer"),
        ("mvin local=sp[x]", r"3: mvin local=sp\[x\]: not a local"),
        ("mvin rows=1 rows=2", r"3: rows is given twice"),
        ("mvin rows=65536", r"3: mvin rows=65536 does not fit"),
        ("raw funct7=1", r"3: raw needs funct7, rs1, rs2"),
        ("raw funct7=300 rs1=0 rs2=0", r"3: funct7 has 7 bits"),
    ],
)
def test_assembly_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"x\.s:{message}"):
        isa.assemble(f"fence\n# a comment\n{text}\n", where="x.s")


def test_stock_hardware_refuses_every_extension() -> None:
    for kind in INSTRUCTIONS:
        if not kind.extension:
            continue
        illegal = isa.check_portable(isa.encode([isa.Fence(), kind()]))
        assert illegal is not None
        assert (illegal.index, illegal.reason) == (
            1,
            f"gemmini lacks the extension {kind.extension}",
        )


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (isa.ConfigExecute(dataflow=0), "only the weight-stationary dataflow"),
        (isa.ConfigExecute(activation=1), "activation belongs to config_st"),
        (isa.ConfigExecute(transpose_a=1, transpose_b=1), "only one of A and B may be transposed"),
        (isa.ConfigLoad(state=3), "only load states 0, 1 and 2"),
        (isa.ConfigLoad(pixel_repeats=2), "pixel repeats"),
        (isa.ConfigStore(activation=2), "only no activation and relu"),
        (isa.ConfigStore(scale=-0.5), "scale must not be negative"),
        (isa.ConfigStore(scale=float("nan")), "scale must not be negative"),
        (isa.ConfigStore(pool_stride=2, pool_size=3, pool_up=1), "right after relu only"),
        (isa.ConfigStore(pool_stride=2), "window of at least 1"),
        (isa.MoveIn(dram=64, cols=65, rows=1), "cols must be 1 to 64"),
        (isa.MoveIn(dram=64, cols=16, rows=17), "rows must be 1 to 16"),
        (isa.MoveIn(dram=64, local=isa.GARBAGE, cols=1, rows=1), "the destination must be a row"),
        (isa.MoveOut(dram=0, cols=16, rows=1), "needs a DRAM address"),
        (isa.MoveOut(dram=64, local=0xA0000000, cols=16, rows=1), "full-width"),
        (isa.MoveOut(dram=64, local=0x84000000, cols=16, rows=1), "the source must be a row"),
        (isa.Preload(destination=0, destination_cols=1), "results must go to a row of the acc"),
        (isa.Preload(local=isa.accumulator(0)), "weights must come from a row of the scratchpad"),
        (isa.Preload(cols=17), "cols must be at most 16"),
        (isa.ComputePreloaded(cols=16, rows=1, bias=0), "D must be none"),
        (isa.ComputeKept(local=isa.accumulator(1), cols=1, rows=1), "A must come from a row"),
        (isa.ComputeKept(local=0, cols=0, rows=1), "cols must be 1 to 16"),
    ],
)
def test_limits_of_the_portable_subset(instruction: Instruction, reason: str) -> None:
    illegal = isa.check_portable(isa.encode([instruction]))
    assert illegal is not None
    assert reason in illegal.reason
    assert illegal.text == isa.format_instruction(instruction)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (isa.ConfigRequantize(low=5, high=4), "low is above its high"),
        (isa.ConfigPad(state=3), "only load states"),
        (isa.LoadScales(dram=64, row=63, count=17), "the table has 64 rows of 16"),
        (isa.LoadScales(count=16), "needs a DRAM address"),
        (isa.ConfigScales(row=64), "the table has 64 rows"),
        (isa.LoadTable(dram=64, table=4), "there are 4 tables"),
        (isa.LoadTable(), "needs a DRAM address"),
        (isa.ConfigTable(table=4), "there are 4 tables"),
        (isa.ConfigPool(mode=3), "the mode is 0"),
        (isa.ConfigPool(mode=1, height=0), "height must be at least 1"),
        (isa.ConfigPool(mode=1, height=3, pad_up=3), "pad_up must be less"),
        (isa.MoveOutScratchpad(destination=isa.accumulator(0), cols=1), "the destination must be"),
        (isa.MoveOutScratchpad(cols=0), "cols must be 1 to 64"),
        (isa.PreloadSparse(local=0, cols=16, rows=6), "rows must be a multiple of 4"),
        (isa.PreloadSparse(local=isa.accumulator(0)), "weights must come from a row of the scr"),
        (isa.ComputeSparsePreloaded(cols=16, rows=1), "second_cols must be 1 to 16"),
        (
            isa.ComputeSparseKept(cols=1, rows=1, second=isa.GARBAGE, second_cols=1),
            "A must come from rows of the scratchpad",
        ),
    ],
)
def test_limits_of_the_extensions(instruction: Instruction, reason: str) -> None:
    illegal = isa.illegal_for(load_target("riscv-accel"), isa.encode([instruction]))
    assert illegal is not None
    assert reason in illegal.reason


def test_unknown_commands_and_stray_bits_are_illegal() -> None:
    for row, reason in (((22, 0, 0), "no such instruction"), ((7, 2, 0), "bits set that belong")):
        illegal = isa.check_portable(np.array([isa.Fence().encode(), row], COMMAND))
        assert illegal is not None
        assert illegal.index == 1
        assert reason in illegal.reason


def test_the_first_illegal_command_is_told() -> None:
    program = isa.encode([isa.Fence(), isa.ConfigLoad(state=3), isa.ConfigPad(), isa.MoveIn()])
    illegal = isa.check_portable(program)
    assert illegal is not None
    assert str(illegal) == ("command 1: config_ld state=3: there are only load states 0, 1 and 2")


def test_the_documented_table_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    start, end = "<!-- instruction table -->\n", "<!-- end -->"
    assert isa.instruction_table() in text, (
        "docs/accelerator.md is out of date; call mcc.runtime.isa.update_document on it"
    )
    assert start + isa.instruction_table() + end in text
