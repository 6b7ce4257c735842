"""What one run gives: outputs, and what it cost on the machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mcc.ir import Array

Observer = Callable[[str, Array], None]
"""`observer(name, array)`: a named tensor, its axes in the ONNX tensor's order."""


@dataclass(frozen=True)
class LayerStats:
    """What one layer cost in one run."""

    tensor: str
    nodes: tuple[str, ...]
    commands: int
    macs: int
    cycles: int


@dataclass
class RunStats:
    """What one run cost on a simulated machine; nothing on the CPU."""

    cycles: int = 0
    commands: int = 0
    macs: int = 0
    launches: int = 0
    layers: list[LayerStats] = field(default_factory=list[LayerStats])
    """Only where layers ran one by one."""


class RunOutcome(NamedTuple):
    """One run: outputs by name, and what it took."""

    outputs: dict[str, Array]
    stats: RunStats


def onnx_axes(array: Array, axes: Sequence[int] | None) -> Array:
    """An array in the ONNX tensor's order of axes; axis i of it is axis `axes[i]` there."""
    if axes is None:
        return array
    return np.ascontiguousarray(array.transpose(np.argsort(np.asarray(axes))))
