"""What each command did in the cycle model, for those who want more than totals.

The jitted functions are called by the model's units; with an empty `Clock.trace` they do nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .clock import (
    BEGIN,
    BUSY,
    END,
    GROUP,
    HOST_FROM,
    HOST_READY,
    INDEX,
    LINES,
    MOVED,
    Clock,
)
from .jit import kernel


@kernel
def begun(k: Clock, entry: int, at: int) -> None:
    """The unit takes up the entry's command."""
    if k.trace.size and k.entries[entry, INDEX] >= 0:
        k.trace[k.entries[entry, INDEX], BEGIN] = at


@kernel
def ended(k: Clock, entry: int, at: int) -> None:
    if k.trace.size and k.entries[entry, INDEX] >= 0:
        k.trace[k.entries[entry, INDEX], END] = at


@kernel
def worked(k: Clock, entry: int, busy: float) -> None:
    """The unit is occupied for `busy` cycles more."""
    if k.trace.size and k.entries[entry, INDEX] >= 0:
        k.trace[k.entries[entry, INDEX], BUSY] += busy


@kernel
def fetched(k: Clock, entry: int, lines: int) -> None:
    """So many cache lines more come from DRAM."""
    if k.trace.size and k.entries[entry, INDEX] >= 0:
        k.trace[k.entries[entry, INDEX], LINES] += lines


@kernel
def allocated(k: Clock, entry: int, group: int, moved: int) -> None:
    """The entry's command is for this class's unit, and moves that many bytes to or from memory."""
    if k.trace.size and k.entries[entry, INDEX] >= 0:
        k.trace[k.entries[entry, INDEX], GROUP] = 1 + group
        k.trace[k.entries[entry, INDEX], MOVED] = moved


@dataclass(frozen=True)
class Trace:
    """What each command of a run did: arrays of one number a command, times in cycles.

    Times count from the model's start, as `Cycles.times` does. `begin` to `end` of a command that
    no unit works on (a configuration of moves, a fence) is empty.
    """

    host_from: npt.NDArray[np.float64]
    """When the host had got rid of the command before, or got past the fence."""
    host_ready: npt.NDArray[np.float64]
    """When the host had this one ready; it may then wait until it is accepted."""
    group: npt.NDArray[np.int64]
    """Whose unit it is for: `LOAD`, `EXECUTE`, `STORE`; -1 where the host alone acts (a fence)."""
    begin: npt.NDArray[np.float64]
    """When the command's unit took it up."""
    end: npt.NDArray[np.float64]
    """When the unit was through: a load's last data, an array's last row, a store's last row.

    Loads are pipelined, and may overlap. A preload that the array does during a compute has the
    compute's `begin` and `end`.
    """
    busy: npt.NDArray[np.float64]
    """Cycles for which the command occupied its unit; their sum is the unit's in `Cycles`."""
    moved: npt.NDArray[np.int64]
    """Bytes that it read from or wrote to memory."""
    lines: npt.NDArray[np.int64]
    """Cache lines that came from DRAM for it."""

    @classmethod
    def from_columns(cls, trace: npt.NDArray[np.float64]) -> "Trace":
        """From what the model wrote."""
        return cls(
            host_from=trace[:, HOST_FROM],
            host_ready=trace[:, HOST_READY],
            group=trace[:, GROUP].astype(np.int64) - 1,
            begin=trace[:, BEGIN],
            end=trace[:, END],
            busy=trace[:, BUSY],
            moved=trace[:, MOVED].astype(np.int64),
            lines=trace[:, LINES].astype(np.int64),
        )
