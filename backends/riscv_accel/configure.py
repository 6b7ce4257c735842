"""Stage `configured`: the commands that set the machine up for the tiles that follow.

A tile op says all that it means; the machine wants part of that said before, in registers that keep
their values. This pass follows the registers through the loops and sets one where it must change:
before a loop, where everything inside agrees. Fields that no tile asks about keep what they hold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatch

from mcc.ir import Buffer, Module, Op, Region, Rewriter, RewriteReport, Space, Value
from mcc.passes import Pass
from mcc.runtime import Target, isa

from . import tiles
from .machines import target_named
from .structure import For, Kernel

Fields = Mapping[str, object]


class SetUp(Op, name="accel.set_up", writes=(Space.SCRATCHPAD, Space.ACCUMULATOR)):
    """One configuration command, in the words of the assembler. Evaluation passes over it."""

    command: str
    at: tuple[Value, ...] = ()
    row: tiles.Affine = ()  # of config_scales, where it is not a constant

    def infer(self) -> tuple[()]:
        return ()

    def evaluate(self, at: tuple[int, ...]) -> None:
        pass


@dataclass(frozen=True)
class Register:
    """What one configuration command sets, and with which of its fields fixed."""

    instruction: type[isa.Instruction]
    fixed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class AffineRow:
    """A row of the table of multipliers that follows the loops."""

    terms: tiles.Affine
    at: tuple[Value, ...]


Needs = dict[Register, Fields]

EXECUTE = Register(isa.ConfigExecute)
LOADS = tuple(Register(isa.ConfigLoad, (("state", state),)) for state in range(3))
PADS = tuple(Register(isa.ConfigPad, (("state", state),)) for state in range(3))
STORE = Register(isa.ConfigStore)
REQUANTIZE = Register(isa.ConfigRequantize)
SCALES = Register(isa.ConfigScales)
TABLE = Register(isa.ConfigTable)
POOL = Register(isa.ConfigPool)

_STOCK_POOL = (
    "pool_size",
    "pool_stride",
    "pool_up",
    "pool_left",
    "image_rows",
    "image_cols",
    "output_rows",
    "output_cols",
    "output_pitch",
)
_POOL = (
    "height",
    "width",
    "stride_rows",
    "stride_cols",
    "pad_up",
    "pad_left",
    "image_rows",
    "image_cols",
    "output_rows",
    "output_cols",
    "output_pitch",
)


class Configure(Pass, name="accel-configure"):
    """Puts in the configuration commands, as few as the loops allow."""

    target: str = "riscv-accel"

    def run(self, module: Module, report: RewriteReport) -> Module:
        target = target_named(self.target)
        rewriter = Rewriter(module)
        state: dict[Register, Fields | None] = {}
        # Registers keep their values from one kernel to the next.
        configurator = _Configurator(target, rewriter)
        for op in module.body:
            if isinstance(op, Kernel):
                configurator.region(op.body, state)
                report.fired["configure"] += 1
        return module


@dataclass(frozen=True)
class _Configurator:
    target: Target
    rewriter: Rewriter

    def region(self, region: Region, state: dict[Register, Fields | None]) -> None:
        """Configures a region in place; `state` is what registers hold, before and after."""
        for op in region:
            if isinstance(op, SetUp):
                self.rewriter.erase(op)  # found anew
            elif isinstance(op, For):
                for register, agreed in self._agreed(op).items():
                    if agreed is not None:
                        self._set(op, register, agreed, state)
                    else:
                        state[register] = None
                self.region(op.body, state)
                for register, held in state.items():
                    if held is not None and _depends(held, op.body):
                        state[register] = None
            else:
                for register, fields in needs(op, self.target).items():
                    self._set(op, register, fields, state)

    def _agreed(self, loop: For) -> dict[Register, Fields | None]:
        """What all ops of a loop need of each register; None where they disagree."""
        merged: dict[Register, Fields | None] = {}
        for op in _inner(loop.body):
            for register, fields in needs(op, self.target).items():
                known = merged.get(register, {})
                if known is None or not _compatible(known, fields) or _depends(fields, loop.body):
                    merged[register] = None
                else:
                    merged[register] = {**known, **fields}
        return merged

    def _set(
        self,
        anchor: Op,
        register: Register,
        fields: Fields,
        state: dict[Register, Fields | None],
    ) -> None:
        """Make a register hold `fields` before an op."""
        known = state.get(register)
        if not fields or (
            known is not None
            and all(name in known and known[name] == value for name, value in fields.items())
        ):
            return
        held = {**(known or {}), **fields}
        state[register] = held
        self.rewriter.insert_effect(anchor, _command(register, held))


def _command(register: Register, held: Fields) -> SetUp:
    numbers: dict[str, int | float] = dict(register.fixed)
    row: AffineRow | None = None
    for name, value in held.items():
        if isinstance(value, AffineRow):
            row = value
        else:
            assert isinstance(value, int | float)
            numbers[name] = value
    text = isa.format_instruction(register.instruction.from_fields(numbers))
    return SetUp(text) if row is None else SetUp(text, row.at, row.terms)


def _inner(region: Region) -> Iterator[Op]:
    for op in region:
        if isinstance(op, For):
            yield from _inner(op.body)
        else:
            yield op


def _compatible(left: Fields, right: Fields) -> bool:
    return all(left.get(name, value) == value for name, value in right.items())


def _depends(fields: Fields, region: Region) -> bool:
    """Whether a field follows the index of this loop or of one inside it."""
    return any(
        isinstance(value, AffineRow) and any(_within(index, region) for index in value.at)
        for value in fields.values()
    )


def _within(index: Value, region: Region) -> bool:
    owner = index.owner
    while isinstance(owner, Region):
        if owner is region:
            return True
        holder = owner.parent
        owner = holder.region if isinstance(holder, Op) else None
    return False


@singledispatch
def needs(op: Op, target: Target) -> Needs:
    """What a tile op wants the registers to hold, without the fields that do not matter to it."""
    return {}


@needs.register
def _(op: tiles.MoveIn, target: Target) -> Needs:
    load: dict[str, object] = {"scale": 1.0, "shrink": 0, "packed": int(op.packed), "wide": 0}
    if op.factor:
        load |= {"scale": float(op.factor), "shrink": 1, "wide": 1}
    wide = op.cols > target.machine.dim
    if op.dram is not None and op.rows > 1:
        load["stride"] = op.stride
    if wide:
        load["block_stride"] = op.block
    found: Needs = {LOADS[op.state]: load}
    in_scratchpad = isinstance(op.local.type, Buffer) and op.local.type.space is Space.SCRATCHPAD
    if op.dram is None and in_scratchpad and target.has("zero_point"):
        found[PADS[op.state]] = {"pad": op.pad}
    return found


@needs.register
def _(op: tiles.Multiply, target: Target) -> Needs:
    return {EXECUTE: {"a_stride": op.a_stride, "c_stride": 1}}


@needs.register
def _(op: tiles.MoveOut, target: Target) -> Needs:
    scaled = isinstance(op.local.type, Buffer) and op.local.type.space is Space.ACCUMULATOR
    store: dict[str, object] = {"pool_stride": 0}
    in_dram = isinstance(op.target.type, Buffer) and op.target.type.space is Space.DRAM
    if in_dram and (op.rows > 1 or op.pool):
        store["stride"] = op.stride
    if scaled:
        store["activation"] = int(op.relu)
        if op.scales is None:
            store["scale"] = op.scale
    found: Needs = {STORE: store}
    requantize: dict[str, object] = {}
    if scaled:
        requantize |= {"zero": op.zero, "low": op.lo, "high": op.hi}
    if op.pool:
        requantize["pad"] = op.pad
    if target.has("zero_point"):
        found[REQUANTIZE] = requantize
    if target.has("per_channel") and scaled:
        found[SCALES] = {"enable": int(op.scales is not None)}
        if op.scales is not None:
            found[SCALES] = {"enable": 1, "row": _row(op)}
    if target.has("lut"):
        found[TABLE] = {"enable": int(op.tables is not None)}
        if op.tables is not None:
            found[TABLE] = {"enable": 1, "table": op.table}
    if target.has("pool"):
        found[POOL] = {"mode": 0}
        if op.pool:
            found[POOL] = {"mode": 1, **dict(zip(_POOL, op.pool, strict=True))}
    elif op.pool:
        size, _, stride, _, *rest = op.pool
        store |= dict(zip(_STOCK_POOL, (size, stride, *rest), strict=True))
    return found


def _row(op: tiles.MoveOut) -> object:
    terms = op.scales_row
    moving = [i for i, step in enumerate(terms[1:]) if step]
    if not moving:
        return terms[0]
    return AffineRow((terms[0], *(terms[1 + i] for i in moving)), tuple(op.at[i] for i in moving))
