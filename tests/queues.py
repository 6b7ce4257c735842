"""Queues of commands for tests: records, and a machine whose DRAM holds them."""

import numpy as np

from mcc.runtime import isa, load_target
from mcc.runtime.isa import Instruction, Row
from mcc.runtime.simulator import Machine
from mcc.runtime.target import Target

TARGET = load_target("riscv-accel")
START = 2048
"""Where records lie in these tests."""
BITS = (1 << 64) - 1


def command(one: Instruction, *steps: tuple[int, int]) -> list[Row]:
    """A record of a command, and what each loop around it adds, the innermost first."""
    return isa.stepped(*one.encode(), steps)


def repeat(body: list[Row], count: int) -> list[Row]:
    return isa.repeated(body, count)


def machine(rows: list[Row], base: int = 0) -> Machine:
    """A machine whose DRAM holds these records."""
    found = Machine(TARGET, 1 << 16, base=base)
    content = isa.records(rows).view(np.uint8)
    found.dram[START : START + content.size] = content
    return found


def run_queue(rows: list[Row]) -> isa.Commands:
    return isa.RunQueue(dram=START, count=len(rows)).commands()


def stream(rows: list[Row], target: Target = TARGET) -> isa.Stream:
    image = np.zeros(START + 24 * len(rows), np.uint8)
    image[START:] = isa.records(rows).view(np.uint8)
    return isa.count_out(run_queue(rows), image, target.machine)


def buffering(records: int) -> Target:
    """The machine with a buffer of so many records."""
    assert TARGET.queue is not None
    queue = TARGET.queue.model_copy(update={"records": records})
    changed = TARGET.machine.model_copy(update={"command_queue": queue})
    return TARGET.model_copy(update={"accelerator": changed})
