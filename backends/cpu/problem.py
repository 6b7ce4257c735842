"""What a kernel's speed depends on, as a record that is a key, travels, and becomes an op again."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from mcc.ir import Constant, Module, Region, Tensor, Yield, constant
from mcc.ops import Conv, Matmul


@dataclass(frozen=True)
class Windows:
    """The geometry of a convolution, as its op has it."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    layout: Literal["nchw", "nhwc"]

    def __str__(self) -> str:
        lists = {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}
        shown = [f"{name}={','.join(map(str, items))}" for name, items in lists.items() if items]
        return " ".join([*shown, f"groups={self.groups}", f"layout={self.layout}"])


@dataclass(frozen=True)
class Problem:
    """A convolution or matrix product without names, values, and what is fused into it."""

    x: Tensor
    w: Tensor
    constant: bool
    """Whether the weights are known when compiling, and packed."""
    windows: Windows | None
    """None: a matrix product."""
    tiles: bool = False
    """Whether it is multiplied in tile registers."""

    @classmethod
    def of(cls, op: Conv | Matmul, *, tiles: bool = False) -> Self:
        """The problem that an op poses."""
        windows = None
        if isinstance(op, Conv):
            windows = Windows(op.strides, op.pads, op.dilations, op.groups, op.layout)
        x, w = (Tensor(value.tensor.dtype, value.tensor.dims) for value in (op.x, op.w))
        return cls(x, w, isinstance(op.w.op, Constant), windows, tiles)

    @property
    def key(self) -> str:
        """One line that names the problem: operator, shapes, dtypes, geometry."""
        weights = f"{self.w}" if self.constant else f"computed {self.w}"
        where = " in tiles" if self.tiles else ""
        if self.windows is None:
            return f"matmul {self.x} {weights}{where}"
        return f"conv {self.x} {weights} {self.windows}{where}"

    def module(self) -> Module:
        """The op alone, its weights made up."""
        rng = np.random.default_rng(0)
        types = [self.x] if self.constant else [self.x, self.w]
        region = Region(types, ["x", "w"][: len(types)])
        if self.constant:
            dtype = self.w.dtype.numpy
            data = (
                rng.integers(-127, 128, self.w.dims).astype(dtype)
                if self.w.dtype.is_integer
                else rng.standard_normal(self.w.dims).astype(dtype)
            )
            weights = region.append(constant(data)).result
        else:
            weights = region.args[1]
        x, view = region.args[0], self.windows
        op: Conv | Matmul
        if view is None:
            op = Matmul(x, weights)
        else:
            op = Conv(
                x,
                weights,
                strides=view.strides,
                pads=view.pads,
                dilations=view.dilations,
                groups=view.groups,
                layout=view.layout,
            )
        region.append(op.named("y"))
        region.append(Yield((op.result,)))
        return Module("problem", region, ["y"])
