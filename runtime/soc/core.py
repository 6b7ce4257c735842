"""The emulated core: unicorn's RV64, behind the few calls that a system needs, with types."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from mcc.ir import UserError

_PAGE = 4096


class CoreError(Exception):
    """The core cannot go on: memory that is not there, an instruction that it does not know."""


class Core:
    """One hart in machine mode."""

    def __init__(self, *, fpu: bool) -> None:
        """A core with RV64GC, or without `fpu` RV64IMAC."""
        try:
            # The library has no types; this file is its edge.
            self._unicorn: Any = import_module("unicorn")
            self._names: Any = import_module("unicorn.riscv_const")
        except ImportError:
            raise UserError(
                "running an ELF needs the package unicorn",
                remedy="pip install 'mcc-compiler[riscv]'",
            ) from None
        self._uc: Any = self._unicorn.Uc(self._unicorn.UC_ARCH_RISCV, self._unicorn.UC_MODE_RISCV64)
        if not fpu:
            self._uc.ctl_set_cpu_model(self._names.UC_CPU_RISCV64_SIFIVE_E51)

    # Memory.

    def map_memory(self, address: int, size: int, pointer: int) -> None:
        """Memory of this process, from `pointer` on, as the core's."""
        self._uc.mem_map_ptr(address, size, self._unicorn.UC_PROT_ALL, pointer)

    def map_registers(
        self,
        base: int,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
    ) -> None:
        """A page of device registers: `read(offset, size)`, `write(offset, size, value)`."""

        def reading(uc: object, offset: int, size: int, data: object) -> int:
            return read(offset, size)

        def writing(uc: object, offset: int, size: int, value: int, data: object) -> None:
            write(offset, size, value)

        self._uc.mmio_map(base, _PAGE, reading, None, writing, None)

    def load(self, address: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(address, size))

    def store(self, address: int, content: bytes) -> None:
        self._uc.mem_write(address, content)

    # Registers.

    def register(self, number: int) -> int:
        """An integer register."""
        return int(self._uc.reg_read(self._names.UC_RISCV_REG_X0 + number)) if number else 0

    def set_register(self, number: int, value: int) -> None:
        if number:
            self._uc.reg_write(self._names.UC_RISCV_REG_X0 + number, value)

    @property
    def pc(self) -> int:
        return int(self._uc.reg_read(self._names.UC_RISCV_REG_PC))

    def jump(self, address: int) -> None:
        """Go on at `address`, from within a callback."""
        self._uc.reg_write(self._names.UC_RISCV_REG_PC, address)

    def trap(self, cause: int, pc: int) -> bool:
        """Go on at the program's trap handler; False where none is set."""
        handler = int(self._uc.reg_read(self._names.UC_RISCV_REG_MTVEC)) & ~3
        if not handler:
            return False
        self._uc.reg_write(self._names.UC_RISCV_REG_MEPC, pc)
        self._uc.reg_write(self._names.UC_RISCV_REG_MCAUSE, cause)
        self.jump(handler)
        return True

    # What a system wants to hear of.

    def on_block(self, callback: Callable[[int, int], None]) -> None:
        """Before each straight piece of code, with its address and bytes."""

        def called(uc: object, address: int, size: int, data: object) -> None:
            callback(address, size)

        self._uc.hook_add(self._unicorn.UC_HOOK_BLOCK, called)

    def on_exception(self, callback: Callable[[int], None]) -> None:
        """At an exception, with its number; the core does nothing itself."""

        def called(uc: object, number: int, data: object) -> None:
            callback(number)

        self._uc.hook_add(self._unicorn.UC_HOOK_INTR, called)

    def on_instruction(self, address: int, callback: Callable[[int, int], None]) -> None:
        """Before the instruction at `address`, with address and size; nothing else is slowed."""

        def called(uc: object, at: int, size: int, data: object) -> None:
            callback(at, size)

        self._uc.hook_add(self._unicorn.UC_HOOK_CODE, called, None, address, address)

    def on_store(self, address: int, callback: Callable[[int], None]) -> None:
        """Before a store to the 8 bytes at `address`, with its value."""

        def called(uc: object, access: int, at: int, size: int, value: int, data: object) -> None:
            callback(value & 0xFFFF_FFFF_FFFF_FFFF)

        self._uc.hook_add(self._unicorn.UC_HOOK_MEM_WRITE, called, None, address, address + 7)

    def on_load(self, address: int, callback: Callable[[], None]) -> None:
        """Before a load from the 8 bytes at `address`."""

        def called(uc: object, access: int, at: int, size: int, value: int, data: object) -> None:
            callback()

        self._uc.hook_add(self._unicorn.UC_HOOK_MEM_READ, called, None, address, address + 7)

    def start(self, entry: int) -> None:
        """Run from `entry` until `stop`. `CoreError` where the core cannot go on."""
        try:
            self._uc.emu_start(entry, 0)
        except self._unicorn.UcError as error:
            raise CoreError(str(error)) from None

    def stop(self) -> None:
        self._uc.emu_stop()
