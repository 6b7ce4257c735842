"""A system on a chip: an RV64 core emulated by unicorn, our accelerator, a console."""

from collections.abc import Callable
from dataclasses import dataclass

from mcc.ir import UserError

from ..target import Target
from .accelerator import Attached
from .core import Core, CoreError
from .elf import Elf
from .host_interface import Htif, Semihosting
from .windows import Registers, Uart

Output = Callable[[str], None]

PAGE = 4096
_CUSTOM_3, _FUNCT3_MASK = 0x7B, 0x7000
_ILLEGAL = 2
_EBREAK = 0x00100073
_CYCLE, _TIME, _RETIRED = (0xC00, 0xB00), (0xC01,), (0xC02, 0xB02)


@dataclass(frozen=True)
class SocResult:
    """How a program ended and what it took."""

    exit_code: int
    console: str
    instructions: int
    """Retired by the core."""
    cycles: int
    """The modelled clock: instructions, and waiting for the accelerator."""
    commands: int
    macs: int
    load_busy: int
    array_busy: int
    store_busy: int


def run_elf(
    content: bytes,
    target: Target,
    *,
    output: Output | None = None,
    limit: int = 20_000_000_000,
    where: str = "",
) -> SocResult:
    """Run a bare-metal program to its end.

    Args:
        content: The ELF file.
        target: The machine: core, accelerator, board.
        output: Called with each piece of text that the program prints.
        limit: Instructions after which a program counts as hung.
        where: The file's name, for errors.

    Raises:
        UserError: For a file that is no such program, or one that touches what is not there.
        SimulatorFault: For a command that the accelerator refuses.
    """
    return Soc(Elf.read(content, where), target, output, limit, where).run()


class Soc:
    """One program on one machine. `run` may be called once."""

    def __init__(
        self, elf: Elf, target: Target, output: Output | None, limit: int, where: str
    ) -> None:
        self.elf = elf
        self.target = target
        self.where = where
        self.limit = limit
        self.retired = 0
        self.exit_code: int | None = None
        self.fault: Exception | None = None
        self._output = output
        self._printed: list[str] = []
        self._lengths: dict[int, int] = {}
        self._decoded: dict[int, tuple[int, int, int] | None] = {}
        board = target.board
        end = max((segment.address + segment.size for segment in elf.segments), default=0)
        size = -(-(end - board.ram_base) // PAGE) * PAGE
        low = min((segment.address for segment in elf.segments), default=0)
        if low < board.ram_base or size > board.ram_bytes:
            raise UserError(
                f"the program lies at {low:#x} to {end:#x}, the memory of {target.name} at "
                f"{board.ram_base:#x} to {board.ram_base + board.ram_bytes:#x}",
                where=where,
                remedy="give the target that it was built for, with --target",
            )
        self.accelerator = Attached(target, board.ram_base, size, elf.near)
        self.core = self._new_core(size)

    def run(self) -> SocResult:
        """From the entry point until the program ends itself."""
        try:
            self.core.start(self.elf.entry)
        except CoreError as error:
            if self.fault is None:
                raise UserError(
                    f"the core stops at {self.elf.near(self.core.pc)}: {error}", where=self.where
                ) from None
        if self.fault is not None:
            raise self.fault
        if self.exit_code is None:
            raise UserError(
                f"the program stops at {self.elf.near(self.core.pc)} without an exit",
                where=self.where,
            )
        cycles = self.accelerator.cycles(self.retired)
        totals = self.accelerator.totals
        return SocResult(
            self.exit_code,
            "".join(self._printed),
            self.retired,
            cycles,
            totals.commands,
            totals.macs,
            totals.load_busy,
            totals.array_busy,
            totals.store_busy,
        )

    # Devices call these.

    def write_text(self, text: str) -> None:
        """Text from the program."""
        self._printed.append(text)
        if self._output is not None:
            self._output(text)

    def finish(self, code: int) -> None:
        """The program ends."""
        self.exit_code = code
        self.core.stop()

    def guard(self, action: Callable[[], None]) -> None:
        """Run; an error of ours stops the core and is raised from `run`."""
        try:
            action()
        except Exception as error:
            # The emulator's C code in between would print and drop it.
            self.fault = error
            self.core.stop()

    # The core.

    def _new_core(self, size: int) -> Core:
        board = self.target.board
        core = Core(fpu=self.target.host.fpu)
        # One memory: what the accelerator stores, the core loads.
        dram = self.accelerator.machine.dram
        core.map_memory(board.ram_base, size, dram.ctypes.data)
        for segment in self.elf.segments:
            core.store(segment.address, segment.content)
        core.on_block(self._count)
        core.on_exception(self._on_exception)
        semihosting = Semihosting(core, self.write_text, self.finish, self.guard)
        for address, word in self.elf.instructions():
            if word & 0x707F == 0x000F:
                core.on_instruction(address, self._on_fence)
            elif word & 0x0FF07F == 0x002073 and word >> 20 in (*_CYCLE, *_TIME, *_RETIRED):
                core.on_instruction(address, self._on_counter)
            elif word == _EBREAK and board.console == "semihosting":
                core.on_instruction(address, semihosting.on_break)
        if board.console == "htif":
            places = [self.elf.symbols.get(name) for name in ("tohost", "fromhost")]
            if places[0] is None or places[1] is None:
                raise UserError(
                    "the program has no symbols `tohost` and `fromhost`",
                    where=self.where,
                    remedy="its board speaks by another console: give the target it was built for",
                )
            Htif(core, self.write_text, self.finish, self.guard).attach(places[0], places[1])
        if board.console == "uart":
            Uart(self.write_text, self.finish).attach(core, board.uart_base, board.exit_base)
        if self.target.machine.attachment == "mmio":
            now = (lambda: self.retired, lambda: core.pc)
            registers = Registers(self.accelerator, *now, self.guard)
            registers.attach(core, board.accelerator_base)
        return core

    def _count(self, address: int, size: int) -> None:
        """Count the instructions of a block that is about to run."""
        key = address << 16 | size
        count = self._lengths.get(key)
        if count is None:
            code = self.core.load(address, size)
            count = position = 0
            while position < size:
                position += 4 if code[position] & 3 == 3 else 2
                count += 1
            self._lengths[key] = count
        self.retired += count
        if self.retired > self.limit:
            self.fault = UserError(
                f"the program has not ended after {self.limit:,} instructions, "
                f"it is at {self.elf.near(address)}",
                where=self.where,
            )
            self.core.stop()

    def _on_fence(self, address: int, size: int) -> None:
        del size
        self.guard(lambda: self.accelerator.fence(self.retired, address))

    def _on_counter(self, address: int, size: int) -> None:
        def read() -> None:
            word = int.from_bytes(self.core.load(address, 4), "little")
            counts = word >> 20 in _RETIRED
            value = self.retired if counts else self.accelerator.cycles(self.retired)
            self.core.set_register(word >> 7 & 31, value)
            self.core.jump(address + size)

        self.guard(read)

    def _on_exception(self, number: int) -> None:
        pc = self.core.pc
        if number == _ILLEGAL and self.target.machine.attachment == "rocc":
            at = pc - 4  # it is past the instruction
            if at not in self._decoded:
                self._decoded[at] = _custom(self.core.load(at, 4))
            operands = self._decoded[at]
            if operands is not None:
                funct7, first, second = operands
                rs1, rs2 = self.core.register(first), self.core.register(second)
                self.guard(lambda: self.accelerator.issue(funct7, rs1, rs2, self.retired, pc))
                return
        if not self.core.trap(number, pc):
            self.fault = UserError(
                f"exception {number} near {self.elf.near(pc)}, and no handler is set",
                where=self.where,
            )
            self.core.stop()


def _custom(code: bytes) -> tuple[int, int, int] | None:
    """funct7 and the operand registers of a custom-3 instruction in RoCC form."""
    word = int.from_bytes(code, "little")
    if word & 0x7F != _CUSTOM_3 or word & _FUNCT3_MASK != 0x3000:
        return None
    return word >> 25, word >> 15 & 31, word >> 20 & 31
