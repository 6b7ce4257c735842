"""Where a run's queues lie in DRAM, and until which of its commands nothing may store there."""

import numpy as np
import numpy.typing as npt

from ..isa import RECORD, RunQueue, Stream, Unrolled


def queues_of(stream: Stream, unrolled: Unrolled) -> npt.NDArray[np.int64]:
    """For each queue its first byte, its end, and how many commands come before it is done.

    A run reads all of its queues before its first command, so they are held from then on. The
    commands counted are those of `unrolled`; shape (queues, 3).
    """
    own = np.flatnonzero(stream.record < 0)
    starts = own[stream.commands["funct7"][own] == RunQueue.funct7]
    if not starts.size:
        return np.zeros((0, 3), np.int64)
    ends = np.append(own, len(stream.commands))[np.searchsorted(own, starts) + 1]
    first = stream.commands["rs1"][starts].astype(np.int64)
    last = first + stream.commands["rs2"][starts].astype(np.int64) * RECORD.itemsize
    done = np.searchsorted(unrolled.origin, ends)
    return np.stack([first, last, done], axis=1)
