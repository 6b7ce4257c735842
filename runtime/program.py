"""An accelerator program, and how it runs: host ops by definition, launches on a machine."""

import io
import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from mcc.ir import DType, Module, Op, OpError, Tensor, UserError, Value, evaluate, known_names

from .accelerator import Accelerator
from .artifact import Artifact
from .frame import Frame
from .isa import RECORD, Commands, QueueError, Records, RunQueue, Stream, count_out
from .outcome import LayerStats, Observer, RunOutcome, RunStats, onnx_axes
from .target import Target

if TYPE_CHECKING:
    from .simulator import RunResult


class Launch(Op, name="accel.launch"):
    """Runs the program's commands from `start` up to `stop` on the accelerator.

    The operands are written into DRAM at the offsets `inputs` before, the results read at `outputs`
    after.
    """

    xs: tuple[Value, ...]
    start: int
    stop: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]

    def infer(self) -> tuple[Tensor, ...]:
        if len(self.inputs) != len(self.xs):
            raise OpError(f"{len(self.xs)} operands need as many offsets", "inputs")
        if len(self.outputs) != len(self.shapes):
            raise OpError(f"{len(self.shapes)} results need as many offsets", "outputs")
        for value in self.xs:
            if value.tensor.dtype is not DType.I8:
                raise OpError(f"operands must be i8, one is {value.tensor}", "xs")
        return tuple(Tensor(DType.I8, shape) for shape in self.shapes)


@dataclass(frozen=True)
class TensorRecord:
    """An activation in DRAM, or in the scratchpad."""

    offset: int
    """In DRAM; -1 for one that stays on the chip."""
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    """Axis i here is axis `axes[i]` of the ONNX tensor."""
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = ()
    frame: tuple[int, ...] = ()
    """The numbers of the `Frame` in which it lies on the chip."""


@dataclass(frozen=True)
class LayerRecord:
    """A run of commands that computes one tensor."""

    tensor: str
    """Its key in the table of tensors; the ONNX tensor's name where it has one."""
    nodes: tuple[str, ...]
    start: int
    stop: int
    macs: int
    records: tuple[int, ...] = ()
    """Where a command queue finds them in DRAM, and how many records those are."""


@dataclass(frozen=True)
class HostRecord:
    """An op that the host runs, and why."""

    op: str
    tensor: str
    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Program:
    """Commands, the DRAM image that they work in, and what lies where.

    Commands are numbered as the accelerator runs them, those of a queue behind its start.
    """

    issued: Commands
    """Those of the host."""
    image: npt.NDArray[np.uint8]
    """DRAM from address 0: constants in place, zeros where activations go."""
    tensors: Mapping[str, TensorRecord]
    layers: tuple[LayerRecord, ...]
    host: tuple[HostRecord, ...] = ()

    @cached_property
    def commands(self) -> Commands:
        """What the accelerator runs."""
        return self._stream.commands

    @cached_property
    def _stream(self) -> Stream:
        return self._counted_out(None)

    def stream(self, target: Target) -> Stream:
        """What the accelerator runs, and how a machine with a queue gets it from DRAM."""
        return self._counted_out(target.machine) if target.queue else self._stream

    def _counted_out(self, machine: Accelerator | None) -> Stream:
        try:
            return count_out(self.issued, self.image, machine)
        except QueueError as error:
            raise UserError(
                f"the accelerator program is damaged: {error}",
                where=f"command {error.index}, record {error.record}",
                remedy="compile the model again",
            ) from None

    def issued_for(self, start: int, stop: int) -> Commands:
        """What the host issues for the commands `start` to `stop`."""
        if start == stop:
            return self.issued[:0]
        origin = self._stream.origin
        return self.issued[origin[start] : origin[stop - 1] + 1]

    def records_of(self, layer: LayerRecord) -> Records:
        """A layer's part of the queue; nothing where the host issues its commands."""
        start, count = layer.records or (0, 0)
        return self.image[start : start + count * RECORD.itemsize].view(RECORD)

    def node_of(self, index: int) -> str:
        """The ONNX nodes that the command at `index` works for."""
        layer = bisect_right([layer.start for layer in self.layers], index) - 1
        if layer < 0 or index >= self.layers[layer].stop:
            return ""
        return ", ".join(self.layers[layer].nodes)

    def to_members(self) -> dict[str, bytes]:
        """The program as files of an artifact."""
        tables = {
            "tensors": {name: asdict(record) for name, record in self.tensors.items()},
            "layers": [asdict(layer) for layer in self.layers],
            "host": [asdict(op) for op in self.host],
        }
        return {
            "commands.npy": _npy(_without_gaps(self.issued)),
            "image.npy": _npy(self.image),
            "program.json": json.dumps(tables, indent=1).encode(),
        }

    @classmethod
    def from_members(cls, members: Mapping[str, bytes]) -> Self:
        """The inverse of `to_members`; other members are ignored. `UserError` for damaged ones."""
        try:
            tables: dict[str, Any] = json.loads(members["program.json"])
            return cls(
                issued=_array(members["commands.npy"]),
                image=_array(members["image.npy"]),
                tensors={
                    name: TensorRecord(**_tuples(record, "shape", "axes", "scale", "zero", "frame"))
                    for name, record in tables["tensors"].items()
                },
                layers=tuple(
                    LayerRecord(**_tuples(record, "nodes", "records"))
                    for record in tables["layers"]
                ),
                host=tuple(HostRecord(**_tuples(record, "nodes")) for record in tables["host"]),
            )
        except KeyError as error:
            raise UserError(
                f"the accelerator program lacks {error}", remedy="compile the model again"
            ) from None
        except (ValueError, TypeError, EOFError) as error:
            raise UserError(
                f"the accelerator program is damaged: {error}", remedy="compile the model again"
            ) from None

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """The program of an artifact; `UserError` where it has none."""
        if "program.json" not in artifact.members:
            raise UserError(
                f"an artifact for target {artifact.target.name} has no accelerator program",
                remedy="compile with --target riscv-accel or another accelerator",
            )
        return cls.from_members(artifact.members)

    def layers_named(self, tensor: str | None) -> tuple[LayerRecord, ...]:
        """The layers that compute a tensor, or all of them; `UserError` listing the tensors."""
        found = tuple(layer for layer in self.layers if tensor in (None, layer.tensor))
        if not found and tensor is not None:
            raise UserError(
                f"the program has no layer {tensor!r}",
                remedy=known_names(layer.tensor for layer in self.layers),
            )
        return found


def _check(launch: Launch, program: Program) -> None:
    """Refuse a launch outside of the program, or of its DRAM: somebody edited the artifact."""
    sizes = [value.tensor.nbytes for value in (*launch.xs, *launch.results)]
    places = zip((*launch.inputs, *launch.outputs), sizes, strict=True)
    if not 0 <= launch.start <= launch.stop <= len(program.commands) or any(
        not 0 <= offset <= len(program.image) - size for offset, size in places
    ):
        raise UserError(
            f"launch of commands {launch.start} to {launch.stop} lies outside of the program",
            where="program.mir",
            remedy="compile the model again",
        )


def _npy(array: "np.ndarray") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _without_gaps(commands: Commands) -> Commands:
    """The same commands with zeros between their fields, where numpy leaves any bytes."""
    clean = np.zeros(len(commands), commands.dtype)
    for name in commands.dtype.names or ():
        clean[name] = commands[name]
    return clean


def _array(content: bytes) -> "np.ndarray":
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _tuples(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """JSON has lists where records have tuples."""
    changed = {name: tuple(record[name]) for name in names if record[name] is not None}
    return {**record, **changed}


class ProgramRunner:
    """Runs a program on the simulator. The machine and its caches stay between runs."""

    def __init__(self, program: Program, module: Module, target: Target) -> None:
        from .simulator import Machine

        for op in module.body:
            if isinstance(op, Launch):
                _check(op, program)
        self.program = program
        self.module = module
        self.machine = Machine(target, len(program.image))
        self.machine.dram[:] = program.image

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """The runner of an artifact for an accelerator."""
        return cls(Program.from_artifact(artifact), artifact.module("program"), artifact.target)

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        observe: Observer | None = None,
        *,
        by_layer: bool = False,
    ) -> RunOutcome:
        """The outputs by name, and the cost.

        Args:
            feeds: The inputs by name.
            observe: Called with every named tensor: host ops' results, and each layer's tensor as
                it lies in memory after the layer. Layers then run one by one.
            by_layer: Run layers one by one, for the cost of each.
        """
        stats = RunStats()

        def seen(value: Value, array: np.ndarray) -> None:
            # A launch's results were shown as its layers finished.
            if observe is not None and value.name and not isinstance(value.op, Launch):
                observe(value.name, onnx_axes(array, value.axes))

        def launch(op: Launch, xs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
            return self._launch(op, xs, stats, observe, by_layer or observe is not None)

        outputs = evaluate(self.module, feeds, seen if observe else None, {Launch: launch})
        return RunOutcome(outputs, stats)

    def _launch(
        self,
        op: Launch,
        xs: Sequence[np.ndarray],
        stats: RunStats,
        observe: Observer | None,
        by_layer: bool,
    ) -> tuple[np.ndarray, ...]:
        dram = self.machine.dram
        for x, offset in zip(xs, op.inputs, strict=True):
            dram[offset : offset + x.size] = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
        stats.launches += 1
        position = op.start
        if by_layer:
            for layer in self.program.layers:
                if op.start <= layer.start and layer.stop <= op.stop:
                    self._run_layer(layer, stats)
                    position = layer.stop
                    record = self.program.tensors[layer.tensor]
                    if observe is not None:
                        observe(layer.tensor, onnx_axes(self._read(record), record.axes))
            if position > op.start:
                self._run(self.program.commands[position : op.stop], position, stats)
        if position == op.start:
            self._run(self.program.issued_for(op.start, op.stop), op.start, stats)
        return tuple(
            dram[offset : offset + math.prod(shape)].view(np.int8).reshape(shape).copy()
            for offset, shape in zip(op.outputs, op.shapes, strict=True)
        )

    def _run_layer(self, layer: LayerRecord, stats: RunStats) -> None:
        if layer.start == layer.stop:
            return
        if layer.records:
            dram, count = layer.records
            issued, number = RunQueue(dram=dram, count=count).commands(), layer.start - 1
        else:
            issued, number = self.program.commands[layer.start : layer.stop], layer.start
        result = self._run(issued, number, stats)
        commands = layer.stop - layer.start
        stats.layers.append(
            LayerStats(layer.tensor, layer.nodes, commands, layer.macs, result.cycles)
        )

    def _run(self, issued: Commands, number: int, stats: RunStats) -> "RunResult":
        """Runs what the host issues, its first command having that number in the program."""
        result = self.machine.run(issued, number=number, nodes=self.program.node_of)
        stats.cycles += result.cycles
        stats.commands += result.commands
        stats.macs += result.macs
        return result

    def _read(self, record: TensorRecord) -> np.ndarray:
        if record.frame:
            return Frame(*record.frame).read(self.machine.scratchpad, record.shape)
        size = math.prod(record.shape)
        raw = self.machine.dram[record.offset : record.offset + size]
        return raw.view(np.int8).reshape(record.shape).copy()
