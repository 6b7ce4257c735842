"""Tensors that stay on the chip, brought out for whoever observes a program step by step."""

from dataclasses import astuple

import numpy as np

from mcc.runtime import Frame, LayerRecord, Program, Target, isa

from .rolled import statement

MACRO = "MODEL_OBSERVE_ON_CHIP"
"""Defined where a program is to show these tensors, at the cost of a buffer for the largest."""


def preamble(helper: str, size: int, dim: int) -> str:
    """What a program brings along that defines the macro. `helper` is `board/on_chip.h`."""
    return "\n".join(
        (
            f"#ifdef {MACRO}",
            f"#define MCC_DIM {dim}u",
            helper,
            "/* For tensors that stay on the chip, when somebody looks at them. */",
            f"static uint8_t model_shown[{size}] __attribute__((aligned(64)));",
            "void model_showing(void); /* called before one is brought out, which takes time */",
            "#endif",
            "",
        )
    )


def shown(
    program: Program, layer: LayerRecord, target: Target, constant_end: int, channels: int
) -> list[str]:
    """C statements that move a layer's tensor into the buffer, and leave all as it was."""
    frame = Frame(*program.tensors[layer.tensor].frame)
    plain: list[isa.Instruction] = [isa.ConfigStore(stride=channels)]
    if target.has("pool"):
        plain.append(isa.ConfigPool())
    if target.has("lut"):
        plain.append(isa.ConfigTable())
    before = program.commands[: layer.stop]
    numbers = isa.operations(before)
    restored: list[isa.Commands] = []
    for one in plain:
        found = np.flatnonzero(numbers == isa.operation(type(one)))
        restored.append(before[found[-1:]] if found.size else type(one)().commands())
    place = ", ".join(map(str, astuple(frame)))
    return [
        "model_showing();",
        *(statement(one.commands(), constant_end) for one in plain),
        f"mcc_show((struct mcc_frame){{{place}}}, {channels}, model_shown);",
        "ACCEL_FENCE();",
        *(statement(one, constant_end) for one in restored),
    ]
