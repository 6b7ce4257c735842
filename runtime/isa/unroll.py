"""The hardware's unrollers: loop commands become the commands that the array's units take.

Two loops are in flight, each in its own half of the scratchpad and of the accumulator.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from . import loops
from .configure import ConfigExecute, ConfigStore
from .convolution import Convolution
from .encoding import COMMAND, Commands, Instruction
from .interleave import Streams, interleaved
from .loop_conv import unrolled
from .loop_ws import (
    Place,
    Product,
    moves_of_a,
    moves_of_addends,
    moves_of_b,
    moves_of_c,
    moves_of_d,
    products,
    tile_rows,
)

if TYPE_CHECKING:
    from ..accelerator import Accelerator

Kind = TypeVar("Kind", bound=Instruction)

_LOOPS: dict[int, type[Instruction]] = {
    kind.funct7: kind
    for kind in (
        loops.LoopWs,
        loops.LoopWsBounds,
        loops.LoopWsAddressesAB,
        loops.LoopWsAddressesDC,
        loops.LoopWsStridesAB,
        loops.LoopWsStridesDC,
        loops.LoopConvWs,
        loops.LoopConvConfig1,
        loops.LoopConvConfig2,
        loops.LoopConvConfig3,
        loops.LoopConvConfig4,
        loops.LoopConvConfig5,
        loops.LoopConvConfig6,
    )
}


@dataclass(frozen=True)
class Unrolled:
    """Commands without loops, and for each the command that it comes from."""

    commands: Commands
    origin: npt.NDArray[np.intp]


class LoopError(ValueError):
    """A loop that cannot run. `index` is its command's."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class Unroller:
    """Unrolls programs; the loops' configuration and halves persist from one to the next."""

    def __init__(self, machine: "Accelerator") -> None:
        self._machine = machine
        self._set: dict[type[Instruction], Instruction] = {}
        self._store, self._execute = ConfigStore(), ConfigExecute()
        self._products, self._convolutions = _Halves(machine), _Halves(machine)

    def unroll(self, commands: Commands) -> Unrolled:
        """What the hardware makes of a program whose commands are legal.

        Raises:
            LoopError: For a loop that is too large, or that this model does not know.
        """
        where = np.flatnonzero(np.isin(commands["funct7"], list(_LOOPS)))
        every = np.arange(len(commands))
        if not where.size:
            self._remember(commands)
            return Unrolled(commands, every)
        parts: list[Commands] = []
        origins: list[npt.NDArray[np.intp]] = []
        waiting: list[tuple[Product, int]] = []
        position = 0

        def finish() -> None:
            if waiting:
                made = list(self._run(waiting))
                parts.append(np.array([one.encode() for one, _ in made], COMMAND))
                origins.append(np.array([index for _, index in made], np.intp))
                waiting.clear()

        for at in where.tolist():
            if at > position:
                finish()
                self._remember(commands[position:at])
                parts.append(commands[position:at])
                origins.append(every[position:at])
            position = at + 1
            kind = _LOOPS[int(commands["funct7"][at])]
            fields = kind.unpack(commands[at : at + 1])
            one = kind.from_fields({name: column[0].item() for name, column in fields.items()})
            if isinstance(one, loops.LoopWs):
                waiting.append((self._product(one, at), at))
            elif isinstance(one, loops.LoopConvWs):
                finish()
                made = list(self._convolved(one, at))
                parts.append(np.array([step.encode() for step in made], COMMAND))
                origins.append(np.full(len(made), at))
            else:
                self._set[kind] = one
        finish()
        self._remember(commands[position:])
        parts.append(commands[position:])
        origins.append(every[position:])
        return Unrolled(np.concatenate(parts), np.concatenate(origins))

    def _remember(self, commands: Commands) -> None:
        """Loops that configure keep the last scale of stores, and the array's transposes."""
        self._store = _latest(ConfigStore, commands) or self._store
        self._execute = _latest(ConfigExecute, commands) or self._execute

    def _last(self, kind: type[Kind]) -> Kind:
        """The last configuration of a kind, or what it is after reset."""
        found = self._set.get(kind)
        return found if isinstance(found, kind) else kind()

    def _product(self, loop: loops.LoopWs, index: int) -> Product:
        product = Product(
            loop,
            self._last(loops.LoopWsBounds),
            self._last(loops.LoopWsAddressesAB),
            self._last(loops.LoopWsAddressesDC),
            self._last(loops.LoopWsStridesAB),
            self._last(loops.LoopWsStridesDC),
        )
        needed = tile_rows(product, self._machine.dim)
        self._check(product.refusal(), *needed, index)
        return product

    def _run(self, waiting: list[tuple[Product, int]]) -> Iterator[tuple[Instruction, int]]:
        dim = self._machine.dim
        most = self._machine.max_move_bytes // dim
        streams: list[Streams] = []
        for product, index in waiting:
            place = self._products.next(product.loop, stores=bool(product.dc.c))
            adds = bool(product.loop.resadd)
            if adds:
                a, b = moves_of_addends(product, place, dim, most)
            else:
                a = moves_of_a(product, place, dim, most)
                b = moves_of_b(product, place, dim, most)
            streams.append(
                Streams(
                    index,
                    deque(() if adds else moves_of_d(product, place, dim, most)),
                    deque(b),
                    deque(a),
                    deque(() if adds else products(product, place, dim)),
                    deque(moves_of_c(product, place, dim, most)),
                    product.bounds.k,
                    adds,
                )
            )
        return interleaved(streams, self._machine)

    def _convolved(self, loop: loops.LoopConvWs, index: int) -> Iterator[Instruction]:
        conv = Convolution(
            loop,
            self._last(loops.LoopConvConfig1),
            self._last(loops.LoopConvConfig2),
            self._last(loops.LoopConvConfig3),
            self._last(loops.LoopConvConfig4),
            self._last(loops.LoopConvConfig5),
            self._last(loops.LoopConvConfig6),
            self._machine.dim,
            self._machine.max_move_bytes // self._machine.dim,
        )
        refusal = conv.refusal()
        rows = (0, 0) if refusal else (conv.input_rows + conv.weight_rows, conv.sum_rows)
        self._check(refusal, *rows, index)
        place = self._convolutions.next(loop, stores=bool(conv.weights_output.output))
        for one in unrolled(conv, place):
            if isinstance(one, ConfigStore):
                self._store = one = replace(one, scale=self._store.scale)
            elif isinstance(one, ConfigExecute):
                strides = {"a_stride": one.a_stride, "c_stride": one.c_stride}
                self._execute = one = replace(self._execute, **strides)
            yield one

    def _check(self, refusal: str, rows: int, sums: int, index: int) -> None:
        if refusal:
            raise LoopError(refusal, index)
        scratchpad, accumulator = self._machine.scratchpad, self._machine.accumulator
        for needed, there, name in (
            (rows, scratchpad.total_rows // 2, "scratchpad"),
            (sums, accumulator.total_rows // 2, "accumulator"),
        ):
            if needed > there:
                raise LoopError(
                    f"the loop needs {needed} {name} rows, and has {there} (half of them)", index
                )


def _latest(kind: type[Kind], commands: Commands) -> Kind | None:
    """The last configuration of a kind among some commands, if there is one."""
    selected = commands["rs1"] & np.uint64(3) == kind.selector
    where = np.flatnonzero((commands["funct7"] == kind.funct7) & selected)
    if not where.size:
        return None
    fields = kind.unpack(commands[where[-1] :][:1])
    return kind.from_fields({name: column[0].item() for name, column in fields.items()})


class _Halves:
    """The halves that consecutive loops use in turn."""

    def __init__(self, machine: "Accelerator") -> None:
        self._scratchpad = machine.scratchpad.total_rows // 2
        self._accumulator = machine.accumulator.total_rows // 2
        self._half = self._sums = 0

    def next(self, loop: loops.LoopWs | loops.LoopConvWs, *, stores: bool) -> Place:
        """The next loop's; one that stores nothing leaves its sums to the one behind it.

        A loop may say in which half its A or its B lies.
        """
        a, b = (chosen - 1 if chosen else self._half for chosen in (loop.a_spad_id, loop.b_spad_id))
        sums = self._sums * self._accumulator
        self._half ^= 1
        self._sums ^= stores
        return Place(a * self._scratchpad, (b + 1) * self._scratchpad, sums)
