"""A command queue as C: its records as constant data, and the one command that starts it."""

import numpy as np

from mcc.runtime import isa

from .rolled import place


def start(dram: int, count: int, queue_start: int) -> str:
    """The C statement that starts a queue of `count` records, the first at address `dram`."""
    return f"ACCEL({isa.RunQueue.funct7}, QUEUE({dram - queue_start}), {count}u);"


def section(records: isa.Records, constant_end: int) -> list[str]:
    """`model_queue`, the records as data whose addresses the linker fills in."""
    commands = np.zeros(len(records), isa.COMMAND)
    for name in isa.COMMAND.names or ():
        commands[name] = records[name]
    moved = isa.relocate(commands, 1 << 40)
    heads: list[int] = records.view(np.uint64).reshape(-1, 3)[:, 0].tolist()
    words = [[f"{head:#x}u" for head in heads]]
    for name in ("rs1", "rs2"):
        is_address: list[bool] = (moved[name] != commands[name]).tolist()
        values: list[int] = commands[name].tolist()
        words.append(
            [
                place(value, constant_end) if address else f"{value:#x}u"
                for value, address in zip(values, is_address, strict=True)
            ]
        )
    rows = [f"    {{{', '.join(row)}}}" for row in zip(*words, strict=True)]
    return [
        f"/* What the accelerator's queue fetches: {records.nbytes} bytes. */",
        f"static const uint64_t model_queue[{len(records)}][3] __attribute__((aligned(64))) = {{",
        ",\n".join(rows),
        "};",
        "#define QUEUE(offset) ((uint64_t)(uintptr_t)model_queue + (offset))",
        "",
    ]
