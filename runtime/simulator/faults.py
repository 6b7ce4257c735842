"""What can go wrong when a program runs: numbers for the kernels, sentences for people."""

from mcc.ir import UserError

(
    NONE,
    DRAM_BOUNDS,
    SCRATCHPAD_BOUNDS,
    ACCUMULATOR_BOUNDS,
    MOVE_TOO_WIDE,
    BLOCKS_OVERLAP,
    MOVE_OVERLAPS,
    POOL_TOO_WIDE,
    READ_UNDEFINED_SCRATCHPAD,
    READ_UNDEFINED_ACCUMULATOR,
    ACCUMULATE_UNDEFINED,
    READ_UNDEFINED_SCALES,
    READ_UNDEFINED_TABLE,
    SCALES_BOUNDS,
    NO_PRELOAD,
    STALE_DRAM,
    UNORDERED_LOADS,
    REPEATS_TOO_WIDE,
    UNORDERED_ROW,
    READ_UNDEFINED_WEIGHTS,
    PACKED_TO_ACCUMULATOR,
    WIDE_TO_SCRATCHPAD,
    STORES_QUEUE,
) = range(23)

_SENTENCES = {
    DRAM_BOUNDS: "DRAM bytes {0:#x} to {1:#x} are outside the {2:#x} bytes there are",
    SCRATCHPAD_BOUNDS: "scratchpad rows {0} to {1} are outside the {2} rows there are",
    ACCUMULATOR_BOUNDS: "accumulator rows {0} to {1} are outside the {2} rows there are",
    MOVE_TOO_WIDE: "a row of {0} bytes is moved, at most {1} can be",
    BLOCKS_OVERLAP: "the block stride {0} is less than the {1} rows moved",
    MOVE_OVERLAPS: "source rows from {0} and destination rows from {1} overlap",
    POOL_TOO_WIDE: "pooling takes up to {1} columns, not {0}",
    READ_UNDEFINED_WEIGHTS: (
        "reads columns of scratchpad row {0} as weights that nothing has written"
    ),
    READ_UNDEFINED_SCRATCHPAD: "reads columns of scratchpad row {0} that nothing has written",
    READ_UNDEFINED_ACCUMULATOR: "reads columns of accumulator row {0} that nothing has written",
    ACCUMULATE_UNDEFINED: "adds to columns of accumulator row {0} that nothing has written",
    READ_UNDEFINED_SCALES: "uses multiplier {1} of table row {0}, which was never loaded",
    READ_UNDEFINED_TABLE: "uses table {0}, which was never loaded",
    SCALES_BOUNDS: "uses row {0} of the multiplier table, which has {1} rows",
    NO_PRELOAD: "computes without a preload before it",
    STALE_DRAM: (
        "loads DRAM bytes {0:#x} to {1:#x}, some of which were stored since the last fence; "
        "hardware may read the old bytes"
    ),
    UNORDERED_LOADS: (
        "adds to accumulator row {0}, which was loaded since the last fence; "
        "hardware does not order the two loads"
    ),
    UNORDERED_ROW: (
        "uses accumulator row {0}, which two loads wrote with nothing in between to order them; "
        "hardware may keep either"
    ),
    PACKED_TO_ACCUMULATOR: "moves packed 4-bit values into the accumulator, which takes none",
    WIDE_TO_SCRATCHPAD: "moves into the scratchpad with a load state that is wide",
    STORES_QUEUE: (
        "stores to DRAM bytes {0:#x} to {1:#x}, which hold records of a queue that is not done; "
        "hardware may fetch the old records or the new ones"
    ),
    REPEATS_TOO_WIDE: "{0} repeats of {1} columns take one row of {2} in the scratchpad",
}


class SimulatorFault(UserError):  # noqa: N818 - a machine faults
    """A program did what the machine cannot do or leaves undefined. `index` is the command's."""

    def __init__(
        self,
        message: str,
        *,
        index: int,
        text: str,
        node: str = "",
        issued: str = "",
        record: int = -1,
        origin: int | None = None,
        state: tuple[str, ...] = (),
    ) -> None:
        """A fault of the command that reads `text`.

        Args:
            message: What is wrong.
            index: The command's, from the program's start.
            text: The command as assembly.
            node: The ONNX node that it works for, where that is known.
            issued: Where in its host's program it was issued, if it has one.
            record: Its record in its queue; -1 where the host issues it.
            origin: The host's command that it comes from, from the start of the run; by default
                itself.
            state: What earlier commands set and this one depends on, as assembly.
        """
        where = f"command {index}: {text}"
        if record >= 0:
            where += f" (record {record} of its queue)"
        if node:
            where += f" (from ONNX node {node!r})"
        if issued:
            where += f" (issued at {issued})"
        if state:
            message += f" (in force: {'; '.join(state)})"
        super().__init__(
            message,
            where=where,
            remedy="The program is wrong, not the model. Please report it if mcc compiled it.",
        )
        self.index = index
        self.text = text
        self.node = node
        self.record = record
        self.origin = index if origin is None else origin
        self.state = state


def sentence(fault: int, detail: tuple[int, ...]) -> str:
    """The fault in words, with its numbers."""
    return _SENTENCES[fault].format(*detail)
