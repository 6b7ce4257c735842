"""A system on a chip: an RV64 core emulated by unicorn, our accelerator, a console."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcc.ir import UserError

from ..target import Target
from .accelerator import Attached
from .elf import Elf
from .windows import Registers, Uart

if TYPE_CHECKING:
    from unicorn import Uc

Output = Callable[[str], None]

PAGE = 4096
_CUSTOM_3, _FUNCT3_MASK = 0x7B, 0x7000
_ILLEGAL, _BREAKPOINT = 2, 3
_CYCLE, _TIME, _RETIRED = (0xC00, 0xB00), (0xC01,), (0xC02, 0xB02)
_SEMIHOSTING = (0x01F01013, 0x40705013)
"""What stands before and behind the ebreak of a semihosting call."""


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
        self.accelerator = Attached(target, board.ram_base, size)
        self.core = self._new_core(size)

    def run(self) -> SocResult:
        """From the entry point until the program ends itself."""
        from unicorn import UcError

        try:
            self.core.emu_start(self.elf.entry, 0)
        except UcError as error:
            if self.fault is None:
                raise UserError(
                    f"the core stops at {self.elf.near(self._pc())}: {error}", where=self.where
                ) from None
        if self.fault is not None:
            raise self.fault
        if self.exit_code is None:
            raise UserError(
                f"the program stops at {self.elf.near(self._pc())} without an exit",
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
        self.core.emu_stop()

    # The core.

    def _new_core(self, size: int) -> "Uc":
        from unicorn import (
            UC_ARCH_RISCV,
            UC_HOOK_BLOCK,
            UC_HOOK_INTR,
            UC_MODE_RISCV64,
            UC_PROT_ALL,
            Uc,
        )
        from unicorn.riscv_const import UC_CPU_RISCV64_SIFIVE_E51

        board = self.target.board
        core = Uc(UC_ARCH_RISCV, UC_MODE_RISCV64)
        if not self.target.host.fpu:
            core.ctl_set_cpu_model(UC_CPU_RISCV64_SIFIVE_E51)  # RV64IMAC
        # One memory: what the accelerator stores, the core loads.
        dram = self.accelerator.machine.dram
        core.mem_map_ptr(board.ram_base, size, UC_PROT_ALL, dram.ctypes.data)
        for segment in self.elf.segments:
            core.mem_write(segment.address, segment.content)
        core.hook_add(UC_HOOK_BLOCK, self._on_block)
        core.hook_add(UC_HOOK_INTR, self._on_exception)
        self._hook_instructions(core)
        match board.console:
            case "htif":
                self._attach_htif(core)
            case "uart":
                Uart(self.write_text, self.finish).attach(core, board.uart_base, board.exit_base)
            case "semihosting":
                pass  # an exception
        if self.target.machine.attachment == "mmio":
            Registers(self.accelerator, lambda: self.retired, self._guard).attach(
                core, board.accelerator_base
            )
        return core

    def _hook_instructions(self, core: "Uc") -> None:
        """Watch fences and reads of counters where they stand, so that nothing else is slowed."""
        from unicorn import UC_HOOK_CODE

        for address, word in self.elf.instructions():
            if word & 0x707F == 0x000F:
                core.hook_add(UC_HOOK_CODE, self._on_fence, None, address, address)
            elif word & 0x0FF07F == 0x002073 and word >> 20 in (*_CYCLE, *_TIME, *_RETIRED):
                core.hook_add(UC_HOOK_CODE, self._on_counter, None, address, address)

    def _attach_htif(self, core: "Uc") -> None:
        from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE

        place = self.elf.symbols.get("tohost")
        if place is None or "fromhost" not in self.elf.symbols:
            raise UserError(
                "the program has no symbols `tohost` and `fromhost`",
                where=self.where,
                remedy="its board speaks by another console: give the target that it was built for",
            )
        core.hook_add(UC_HOOK_MEM_WRITE, self._on_tohost, None, place, place + 7)
        core.hook_add(UC_HOOK_MEM_READ, self._on_tohost_read, None, place, place + 7)

    def _pc(self) -> int:
        from unicorn.riscv_const import UC_RISCV_REG_PC

        return self._register(UC_RISCV_REG_PC)

    def _register(self, number: int) -> int:
        return int(self.core.reg_read(number))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    def _guard(self, action: Callable[[], None]) -> None:
        """Run; an error of ours stops the core and is raised from `run`."""
        try:
            action()
        except Exception as error:
            # ctypes would print and drop it.
            self.fault = error
            self.core.emu_stop()

    def _on_block(self, core: "Uc", address: int, size: int, _: object) -> None:
        count = self._lengths.get(address * 65536 + size)
        if count is None:
            code = bytes(core.mem_read(address, size))
            count = position = 0
            while position < size:
                position += 4 if code[position] & 3 == 3 else 2
                count += 1
            self._lengths[address * 65536 + size] = count
        self.retired += count
        if self.retired > self.limit:
            self.fault = UserError(
                f"the program has not ended after {self.limit:,} instructions, "
                f"it is at {self.elf.near(address)}",
                where=self.where,
            )
            core.emu_stop()

    def _on_fence(self, core: "Uc", address: int, size: int, _: object) -> None:
        del core, address, size
        self._guard(lambda: self.accelerator.fence(self.retired))

    def _on_counter(self, core: "Uc", address: int, size: int, _: object) -> None:
        from unicorn.riscv_const import UC_RISCV_REG_PC, UC_RISCV_REG_X0

        def read() -> None:
            word = struct.unpack("<I", core.mem_read(address, 4))[0]
            counts = word >> 20 in _RETIRED
            value = self.retired if counts else self.accelerator.cycles(self.retired)
            if register := word >> 7 & 31:
                core.reg_write(UC_RISCV_REG_X0 + register, value)
            core.reg_write(UC_RISCV_REG_PC, address + size)

        self._guard(read)

    def _on_exception(self, core: "Uc", number: int, _: object) -> None:
        from unicorn.riscv_const import UC_RISCV_REG_X0

        if number == _ILLEGAL:
            pc = self._pc() - 4  # it is past the instruction
            if pc not in self._decoded:
                self._decoded[pc] = _custom(bytes(core.mem_read(pc, 4)))
            operands = self._decoded[pc]
            if operands is not None and self.target.machine.attachment == "rocc":
                funct7, first, second = operands
                rs1 = self._register(UC_RISCV_REG_X0 + first) if first else 0
                rs2 = self._register(UC_RISCV_REG_X0 + second) if second else 0
                self._guard(lambda: self.accelerator.issue(funct7, rs1, rs2, self.retired))
                return
        if number == _BREAKPOINT and self.target.board.console == "semihosting":
            self._guard(self._semihost)
            return
        self._trap(number)

    def _trap(self, number: int) -> None:
        """What the core would do itself: on to the program's handler."""
        from unicorn.riscv_const import (
            UC_RISCV_REG_MCAUSE,
            UC_RISCV_REG_MEPC,
            UC_RISCV_REG_MTVEC,
            UC_RISCV_REG_PC,
        )

        pc = self._pc()
        handler = self._register(UC_RISCV_REG_MTVEC) & ~3
        if handler == 0:
            self.fault = UserError(
                f"exception {number} near {self.elf.near(pc)}, and no handler is set",
                where=self.where,
            )
            self.core.emu_stop()
            return
        self.core.reg_write(UC_RISCV_REG_MEPC, pc)
        self.core.reg_write(UC_RISCV_REG_MCAUSE, number)
        self.core.reg_write(UC_RISCV_REG_PC, handler)

    def _on_tohost(
        self, core: "Uc", access: int, address: int, size: int, value: int, _: object
    ) -> None:
        del access, address, size
        value &= 0xFFFF_FFFF_FFFF_FFFF
        device, command, payload = value >> 56, value >> 48 & 255, value & ((1 << 48) - 1)
        if device == 1 and command == 1:
            self.write_text(chr(payload & 255))
        elif device == 0 and payload & 1:
            self.finish(payload >> 1)
        elif device == 0 and payload:
            self._guard(lambda: self._system_call(payload))

    def _on_tohost_read(
        self, core: "Uc", access: int, address: int, size: int, value: int, _: object
    ) -> None:
        # The host has taken what was written.
        del access, address, size, value
        core.mem_write(self.elf.symbols["tohost"], bytes(8))

    def _system_call(self, place: int) -> None:
        """The front-end server's calls; a bare-metal program needs `write` and `exit`."""
        number, _, address, size = struct.unpack("<4Q", self.core.mem_read(place, 32))
        result = -38  # ENOSYS
        if number == 64:
            text = bytes(self.core.mem_read(address, size))
            self.write_text(text.decode(errors="replace"))
            result = size
        elif number == 93:
            self.finish(struct.unpack("<2Q", self.core.mem_read(place, 16))[1] & 255)
        self.core.mem_write(place, struct.pack("<q", result))
        self.core.mem_write(self.elf.symbols["fromhost"], struct.pack("<Q", 1))

    def _semihost(self) -> None:
        """RISC-V semihosting: a0 is the operation, a1 its argument."""
        from unicorn.riscv_const import UC_RISCV_REG_A0, UC_RISCV_REG_A1, UC_RISCV_REG_PC

        pc = self._pc()
        ebreak = pc if bytes(self.core.mem_read(pc, 4)) == b"\x73\x00\x10\x00" else pc - 4
        around = struct.unpack("<3I", self.core.mem_read(ebreak - 4, 12))
        if (around[0], around[2]) != _SEMIHOSTING:
            self._trap(_BREAKPOINT)
            return
        operation, argument = self._register(UC_RISCV_REG_A0), self._register(UC_RISCV_REG_A1)
        result = 0
        if operation == 3:
            self.write_text(bytes(self.core.mem_read(argument, 1)).decode(errors="replace"))
        elif operation == 4:
            while (letter := bytes(self.core.mem_read(argument, 1))) != b"\0":
                self.write_text(letter.decode(errors="replace"))
                argument += 1
        elif operation == 0x20:
            _, code = struct.unpack("<2Q", self.core.mem_read(argument, 16))
            self.finish(code)
        else:
            result = (1 << 64) - 1
        self.core.reg_write(UC_RISCV_REG_A0, result)
        self.core.reg_write(UC_RISCV_REG_PC, ebreak + 4)


def _custom(code: bytes) -> tuple[int, int, int] | None:
    """funct7 and the operand registers of a custom-3 instruction in RoCC form."""
    word = int.from_bytes(code, "little")
    if word & 0x7F != _CUSTOM_3 or word & _FUNCT3_MASK != 0x3000:
        return None
    return word >> 25, word >> 15 & 31, word >> 20 & 31
