"""What the accelerator does to one tile, as ops with affine addresses.

Every op says all it means, with numpy as its definition; the commands that configure the machine
for it are put in by `configure`. An address is a tuple: a constant, then a step for each index of
`at`.
"""

import numpy as np

from mcc.ir import Buffer, Index, Op, OpError, Space, Value
from mcc.runtime.isa import unpack_nibbles, unpack_sparse

Affine = tuple[int, ...]
"""constant, step, step, …"""

DRAM, SCRATCHPAD, ACCUMULATOR = Space.DRAM, Space.SCRATCHPAD, Space.ACCUMULATOR


def address(terms: Affine, at: tuple[int, ...]) -> int:
    """The value of an affine address."""
    return terms[0] + sum(step * index for step, index in zip(terms[1:], at, strict=True))


def _check(op: Op, at: tuple[Value, ...], **addresses: Affine) -> None:
    for value in at:
        if not isinstance(value.type, Index):
            raise OpError(f"at takes indices, not {value.type}", "at")
    for name, terms in addresses.items():
        if len(terms) != 1 + len(at):
            raise OpError(
                f"{name} needs a constant and {len(at)} steps, has {len(terms)} numbers", name
            )


def _check_space(op: Op, name: str, value: Value | None, *spaces: Space) -> None:
    if value is None:
        return
    if not isinstance(value.type, Buffer) or value.type.space not in spaces:
        names = " or ".join(space.value for space in spaces)
        raise OpError(f"{name} must be a buffer in {names}, is {value.type}", name)


class MoveIn(Op, name="accel.move_in", reads=(DRAM,), writes=(SCRATCHPAD, ACCUMULATOR)):
    """local[row + i] = dram[offset + i * stride : + cols elements]; without `dram`, the pad byte.

    Columns beyond the array's width go to rows `block` further on. Into an accumulator go int32.
    `packed` elements take four bits each in DRAM (`mcc.runtime.isa.nibbles`). With a `factor` int8
    are read, and `factor` times them is added to an accumulator.
    """

    local: Value
    row: Affine
    rows: int
    cols: int
    dram: Value | None = None
    at: tuple[Value, ...] = ()
    offset: Affine = (0,)
    stride: int = 0
    block: int = 16
    state: int = 0  # which of the machine's load configurations to use
    pad: int = 0
    packed: bool = False
    factor: int = 0

    def infer(self) -> tuple[()]:
        _check(self, self.at, row=self.row)
        if self.dram is not None:
            _check(self, self.at, offset=self.offset)
        _check_space(self, "local", self.local, SCRATCHPAD, ACCUMULATOR)
        _check_space(self, "dram", self.dram, DRAM)
        return ()

    def evaluate(self, local: np.ndarray, dram: np.ndarray | None, at: tuple[int, ...]) -> None:
        row, dim = address(self.row, at), local.shape[1]
        if dram is None:
            data = np.full((self.rows, self.cols), self.pad, local.dtype)
        else:
            element = np.dtype(np.int8) if self.factor else local.dtype
            start, width = address(self.offset, at), self.cols * element.itemsize
            if self.packed:
                width = -(-width // 2)
            bytes_ = np.ascontiguousarray(_strided(dram, start, self.rows, self.stride, width))
            if self.packed:
                data = unpack_nibbles(bytes_.view(np.uint8))[:, : self.cols]
            else:
                data = bytes_.view(element)
        for block, first in enumerate(range(0, self.cols, dim)):
            part = data[:, first : first + dim]
            first_row = row + block * self.block
            target = local[first_row : first_row + self.rows, : part.shape[1]]
            target[...] = target + part * np.int32(self.factor) if self.factor else part


class Multiply(Op, name="accel.multiply", reads=(SCRATCHPAD, ACCUMULATOR), writes=(ACCUMULATOR,)):
    """c[i, :cols] = (c[i, :cols] +) a[i * a_stride, :depth] @ b[:depth, :cols], for `rows` rows.

    With `second` b holds 2:4 weights (`mcc.runtime.isa.sparsity`) for a of twice the array's depth,
    whose second half begins at row `second`. `keep` says that b is in the array already, from the
    multiply before.
    """

    local: Value
    sums: Value
    a: Affine
    b: Affine
    c: Affine
    rows: int
    depth: int
    cols: int
    second: Affine = ()
    second_depth: int = 0
    at: tuple[Value, ...] = ()
    a_stride: int = 1
    accumulate: bool = True
    keep: bool = False

    def infer(self) -> tuple[()]:
        _check(self, self.at, a=self.a, b=self.b, c=self.c)
        if self.second:
            _check(self, self.at, second=self.second)
        _check_space(self, "local", self.local, SCRATCHPAD)
        _check_space(self, "sums", self.sums, ACCUMULATOR)
        return ()

    def evaluate(self, local: np.ndarray, sums: np.ndarray, at: tuple[int, ...]) -> None:
        dim, b, c = local.shape[1], address(self.b, at), address(self.c, at)
        left = self._rows(local, self.a, at)[:, : self.depth]
        if self.second:
            weights = unpack_sparse(local[b : b + dim + dim // 4], dim)[:, : self.cols]
            second = self._rows(local, self.second, at)[:, : self.second_depth]
            product = left @ weights[: self.depth]
            product += second @ weights[dim : dim + self.second_depth]
        else:
            product = left @ local[b : b + self.depth, : self.cols].astype(np.int32)
        target = sums[c : c + self.rows, : self.cols]
        target[...] = target + product if self.accumulate else product

    def _rows(self, local: np.ndarray, terms: Affine, at: tuple[int, ...]) -> np.ndarray:
        first = address(terms, at)
        last = first + (self.rows - 1) * self.a_stride
        return local[first : last + 1 : self.a_stride].astype(np.int32)


class MoveOut(
    Op, name="accel.move_out", reads=(SCRATCHPAD, ACCUMULATOR), writes=(DRAM, SCRATCHPAD)
):
    """target[offset + i * stride] = int8 of local[row + i], `cols` of it.

    Where the target is the scratchpad, `offset` and `stride` count its rows. Columns beyond the
    array's width lie in the rows that follow, as many rows further on as the array is wide.

    From the accumulator `clamp(rne(float32(max(acc, 0) if relu else acc) * scale) + zero, lo, hi)`;
    where `scales` is given, `scale` is row `scales_row` of it, one number a column. Then the table,
    then the largest element of each window of `pool`: (height, width, stride_rows, stride_cols,
    pad_up, pad_left, image_rows, image_cols, output_rows, output_cols, output_pitch), with `pad`
    outside.
    """

    target: Value
    local: Value
    offset: Affine
    row: Affine
    rows: int
    cols: int
    stride: int
    scales: Value | None = None
    tables: Value | None = None
    at: tuple[Value, ...] = ()
    scale: float = 1.0
    relu: bool = False
    scales_row: Affine = ()
    zero: int = 0
    lo: int = -128
    hi: int = 127
    table: int = 0
    pool: tuple[int, ...] = ()
    pad: int = 0

    def infer(self) -> tuple[()]:
        _check(self, self.at, row=self.row, offset=self.offset)
        if self.scales is not None:
            _check(self, self.at, scales_row=self.scales_row)
        _check_space(self, "local", self.local, SCRATCHPAD, ACCUMULATOR)
        _check_space(self, "target", self.target, DRAM, SCRATCHPAD)
        if len(self.pool) not in (0, 11):
            raise OpError(f"pool takes 11 numbers, has {len(self.pool)}", "pool")
        return ()

    def evaluate(
        self,
        target: np.ndarray,
        local: np.ndarray,
        scales: np.ndarray | None,
        tables: np.ndarray | None,
        at: tuple[int, ...],
    ) -> None:
        row, start = address(self.row, at), address(self.offset, at)
        if not self.pool:
            dim = local.shape[1]
            blocks = [
                local[row + first : row + first + self.rows, : self.cols - first]
                for first in range(0, self.cols, dim)
            ]
            values = self._values(np.concatenate(blocks, 1), scales, tables, at)
            self._put(target, start, values)
            return
        height, width, down, right, up, left, rows, cols, out_rows, out_cols, pitch = self.pool
        image = local[row : row + rows * cols, : self.cols]
        # No window reads the end of the last row where that lies behind the memory.
        image = np.pad(image, ((0, rows * cols - len(image)), (0, 0)))
        values = self._values(image, scales, tables, at).reshape(rows, cols, self.cols)
        bottom = max(0, (out_rows - 1) * down + height - up - rows)
        beyond = max(0, (out_cols - 1) * right + width - left - cols)
        padded = np.pad(values, ((up, bottom), (left, beyond), (0, 0)), constant_values=self.pad)
        for i in range(out_rows):
            for j in range(out_cols):
                window = padded[i * down : i * down + height, j * right : j * right + width]
                place = start + (i * pitch + j) * self.stride
                self._put(target, place, window.max((0, 1), keepdims=True)[0])

    def _put(self, target: np.ndarray, start: int, values: np.ndarray) -> None:
        """Rows of values from `start` on."""
        if target.ndim == 1:
            _strided(target, start, len(values), self.stride, self.cols)[...] = values
        else:
            rows = slice(start, start + (len(values) - 1) * self.stride + 1, self.stride)
            target[rows, : self.cols] = values

    def _values(
        self,
        data: np.ndarray,
        scales: np.ndarray | None,
        tables: np.ndarray | None,
        at: tuple[int, ...],
    ) -> np.ndarray:
        if data.dtype == np.int32:
            scale: np.ndarray | np.float32 = np.float32(self.scale)
            if scales is not None:
                first = address(self.scales_row, at) * scales.shape[1]
                scale = scales.reshape(-1)[first : first + self.cols]
            sums = np.maximum(data, np.int32(0)) if self.relu else data
            rounded = np.rint(sums.astype(np.float32) * scale).astype(np.float64) + self.zero
            data = np.clip(rounded, self.lo, self.hi).astype(np.int8)
        if tables is not None:
            data = tables[self.table][data.view(np.uint8)]
        return data


class LoadScales(Op, name="accel.load_scales", reads=(DRAM,), writes=(ACCUMULATOR,)):
    """Fills the table of multipliers from row `row` on with `count` float32 at `offset`."""

    scales: Value
    dram: Value
    row: Affine
    offset: Affine
    count: int
    at: tuple[Value, ...] = ()

    def infer(self) -> tuple[()]:
        _check(self, self.at, row=self.row, offset=self.offset)
        _check_space(self, "dram", self.dram, DRAM)
        return ()

    def evaluate(self, scales: np.ndarray, dram: np.ndarray, at: tuple[int, ...]) -> None:
        first = address(self.row, at) * scales.shape[1]
        start = address(self.offset, at)
        data = dram[start : start + 4 * self.count].copy().view(np.float32)
        scales.reshape(-1)[first : first + self.count] = data


class LoadTable(Op, name="accel.load_table", reads=(DRAM,), writes=(ACCUMULATOR,)):
    """Fills one table of 256 bytes; entry i answers the value whose bits are i unsigned."""

    tables: Value
    dram: Value
    table: int

    def infer(self) -> tuple[()]:
        _check_space(self, "dram", self.dram, DRAM)
        return ()

    def evaluate(self, tables: np.ndarray, dram: np.ndarray) -> None:
        tables[self.table] = dram


class Fence(Op, name="accel.fence", reads=(DRAM,), writes=(DRAM,)):
    """Waits until all stores are in DRAM; stands between a store and a load of the same bytes."""

    def infer(self) -> tuple[()]:
        return ()

    def evaluate(self) -> None:
        pass


def _strided(data: np.ndarray, start: int, rows: int, stride: int, width: int) -> np.ndarray:
    """A [rows, width] view of bytes; `ValueError` where it leaves the buffer."""
    end = start + (rows - 1) * stride + width
    if start < 0 or end > data.size:
        raise ValueError(f"bytes {start} to {end} are outside a buffer of {data.size}")
    return np.lib.stride_tricks.as_strided(data[start:], (rows, width), (stride, 1))
