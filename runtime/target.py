"""What a machine is: a frozen record, read from a TOML file and from nowhere else.

Every number of a machine that the simulator, the cycle model, the scheduler and the emitter need
stands in `targets/*.toml` (or a user's own file). Each field here states its unit.
"""

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from mcc.ir import UserError

from .accelerator import EXTENSIONS, Accelerator, CommandQueue, Record, tuple_from_list

_FOLDER = Path(__file__).parent / "targets"


class Host(Record):
    """The core that runs the host part and, on an accelerator, issues its commands."""

    isa: str = "native"
    """RISC-V isa string (`rv64gc`), or `native` for the machine that compiles."""
    triple: str = ""
    """LLVM triple to compile for; empty means this machine."""
    cpu: str = ""
    """LLVM name of the processor; empty means this machine's."""
    features: tuple[str, ...] = ()
    """LLVM features, such as `+avx2`."""
    clock_mhz: float = Field(default=0.0, ge=0)
    """Clock in MHz; 0 means unknown, and times are then reported in cycles only."""
    fpu: bool = True
    """Whether float32 arithmetic is in hardware."""
    cycles_per_command: float = Field(default=7.0, gt=0)
    """Cycles between two commands issued from a compiled loop."""
    cache_bytes: int = Field(default=16384, gt=0)
    """Bytes of the instruction cache, and of the data cache."""
    cache_ways: int = Field(default=4, gt=0)
    cache_line_bytes: int = Field(default=64, gt=0)
    code_hit: int = Field(default=17, ge=0)
    """Cycles that the host waits for a line of code from the cache that it shares with the
    accelerator."""
    code_miss: int = Field(default=25, ge=0)
    """Cycles that it waits for one from DRAM, besides `dma.dram_latency`."""
    data_hit: int = Field(default=12, ge=0)
    """The same of operands."""
    data_miss: int = Field(default=19, ge=0)

    @field_validator("features", mode="before")
    @classmethod
    def _features_from_a_toml_array(cls, value: object) -> object:
        return tuple_from_list(value)


class Board(Record):
    """What is around the core: where its memory lies, and how a program speaks and ends."""

    ram_base: int = 0x8000_0000
    """First address of the memory; a program starts there."""
    ram_bytes: int = Field(default=256 << 20, gt=0)
    console: Literal["htif", "uart", "semihosting"] = "htif"
    """Output and exit: Spike's host interface, a 16550 (exit then by SiFive's test device), or
    RISC-V semihosting."""
    uart_base: int = 0x1000_0000
    exit_base: int = 0x0010_0000
    """The test device that ends a program where the console is a UART."""
    accelerator_base: int = 0x4000_0000
    """The accelerator's registers, where it is attached by `mmio` (docs/riscv.md)."""


class Target(Record):
    """A machine to compile for. `load_target` reads one; a compiled artifact carries it."""

    name: str = Field(min_length=1)
    backend: Literal["cpu", "riscv_accel"]
    description: str = ""
    host: Host = Host()
    board: Board = Board()
    accelerator: Accelerator | None = None

    @model_validator(mode="after")
    def _backend_has_its_machine(self) -> Self:
        if (self.backend == "riscv_accel") != (self.accelerator is not None):
            raise ValueError(
                "backend riscv_accel needs a section [accelerator], and only it may have one"
            )
        return self

    @property
    def machine(self) -> Accelerator:
        """The accelerator. A `UserError` where the target has none."""
        if self.accelerator is None:
            raise UserError(
                f"target {self.name} has no accelerator", remedy="use --target riscv-accel"
            )
        return self.accelerator

    @property
    def queue(self) -> CommandQueue | None:
        """The accelerator's command queue, if it has that extension."""
        return self.machine.command_queue if "command_queue" in self.extensions else None

    @property
    def cycles_per_command(self) -> float:
        """Cycles between two commands: those of the queue if there is one, else the host's."""
        return self.queue.decode if self.queue else self.host.cycles_per_command

    @cached_property
    def extensions(self) -> frozenset[str]:
        return frozenset(self.accelerator.extensions if self.accelerator else ())

    def has(self, extension: str) -> bool:
        """Whether the accelerator has `extension`, one of `EXTENSIONS`."""
        if extension not in EXTENSIONS:
            raise KeyError(f"unknown extension {extension!r}; known: {', '.join(EXTENSIONS)}")
        return extension in self.extensions

    def to_dict(self) -> dict[str, object]:
        """The record as plain values, for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, record: object, *, where: str = "") -> Self:
        """The inverse of `to_dict`. `where` names the file in a `UserError`."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            raise _explain(error, where) from None


def target_names() -> list[str]:
    """Names of the targets that ship with mcc, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_target(name_or_path: str | Path) -> Target:
    """The target of that name, or the one in that TOML file (anything with a slash or `.toml`)."""
    text = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml")
    if not is_path and text not in target_names():
        raise UserError(
            f"unknown target {text!r}; known: {', '.join(target_names())}",
            remedy="give one of these, or the path of a target file (machine.toml)",
        )
    path = Path(text) if is_path else _FOLDER / f"{text}.toml"
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read the target file: {error.strerror}",
            where=str(path),
            remedy=f"shipped targets: {', '.join(target_names())}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not a TOML file: {error}", where=str(path)) from None
    return Target.from_dict(record, where=str(path))


def _explain(error: ValidationError, where: str) -> UserError:
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        field = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{field}: {message}" if field else message)
    return UserError(
        "; ".join(lines),
        where=where,
        remedy="fields and units: docs/accelerator.md, and the shipped target files",
    )
