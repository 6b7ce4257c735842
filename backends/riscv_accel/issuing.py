"""What the host issues for a program's kernels: their commands, or what starts a queue of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mcc.ir import Op, Value
from mcc.runtime import Target, isa

from .expand import expand, recorded
from .structure import Kernel


@dataclass
class Issue:
    """The host's commands, kernel by kernel, and the records of the machine's queue if any."""

    target: Target
    queue_start: int
    """Where in DRAM the records lie, one kernel's behind the other's."""
    commands: list[isa.Commands] = field(default_factory=list[isa.Commands])
    rows: list[isa.Row] = field(default_factory=list[isa.Row])

    @property
    def starts(self) -> int:
        """Commands before a kernel's own: one, if that starts a queue."""
        return 1 if self.target.queue else 0

    def kernel(
        self,
        kernel: Kernel,
        sections: Sequence[Iterable[Op]],
        offsets: Mapping[Value, int],
    ) -> list[tuple[int, ...]]:
        """Adds a kernel and the fence behind it, since the host reads the results then.

        Returns for each of its `sections`, which are in order and may lack the last ops, where its
        records lie and how many they are; nothing without a queue.
        """
        queue = self.target.queue
        spans: list[tuple[int, ...]] = []
        if queue is None:
            self.commands.append(expand(kernel, offsets))
            spans = [() for _ in sections]
        else:
            first = len(self.rows)
            named = {op for section in sections for op in section}
            rest = [op for op in kernel.body if op not in named]
            for ops in (*sections, rest):
                start = len(self.rows)
                self.rows += recorded(ops, offsets, queue.loops)
                spans.append((self._place(start), len(self.rows) - start))
            spans.pop()
            queued = isa.RunQueue(dram=self._place(first), count=len(self.rows) - first)
            self.commands.append(queued.commands())
        self.commands.append(isa.Fence.pack())
        return spans

    def _place(self, row: int) -> int:
        return self.queue_start + row * isa.RECORD.itemsize

    def finished(self) -> tuple[isa.Commands, isa.Records]:
        """All of the host's commands, and all records."""
        records = isa.records(self.rows) if self.rows else np.zeros(0, isa.RECORD)
        return isa.concatenate(self.commands), records

    def stream(self) -> isa.Stream:
        """What the machine runs."""
        issued, records = self.finished()
        image = np.zeros(self.queue_start + records.nbytes, np.uint8)
        image[self.queue_start :] = records.view(np.uint8)
        return isa.count_out(issued, image, self.target.machine)
