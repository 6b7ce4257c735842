"""What a tiling costs: cycles that each engine takes, and what does not overlap."""

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

from mcc.runtime import Accelerator

from .pieces import array_cycles
from .tiling import Cut, Tiling, chunks

PER_STEP = 60.0
"""Cycles that the engines wait for each other at each step."""
ON_CHIP = 0.5
"""Part of what does not overlap that is left where the input lies on the chip.

Its first weights come during the layer before, its last stores leave during the one behind.
"""


@dataclass(frozen=True)
class Pieces:
    """The pieces of up to `dim` pixels that all tiles of a layer fall into."""

    multiplied: int = 0
    """How often weights stay for one more piece, or come new."""
    cycles: float = 0.0
    """Of the array, for one tile of weights over all pixels."""
    added: int = 0
    """How often a piece of a residual is multiplied by its factor."""
    stored: int = 0
    stored_rows: int = 0
    biased: int = 0
    biased_rows: int = 0


def estimated(cut: Cut, tiling: Tiling) -> float:
    """Cycles by the busiest of issue, array, loads and stores, and what does not overlap."""
    machine, product = cut.target.machine, cut.product
    dim, bank, geometry = cut.dim, machine.scratchpad.rows, cut.geometry(tiling)
    batch, tiles = product.x.batch, cut.tile_total(tiling)
    # Tiles at the edges are smaller: areas count in full tiles, pieces of pixels exactly.
    full = cut.pooled[0] / tiling.rows * (product.width / tiling.cols) * batch
    pieces = _pieces(cut, tiling)
    needed = cut.needed(tiling)
    visits = sum(map(len, needed))
    units = cut.unit_counts(tiling)
    total = int(units.sum())
    array = pieces.cycles * total
    commands = 2.0 * pieces.multiplied * total

    chunk = min(tiling.chunk, cut.in_blocks)
    distinct = len({c for found in needed for c in found})
    stays = tiling.input_slots >= tiles * len(chunks(cut.in_blocks, chunk))
    waits = not tiling.weights_outer and tiling.input_slots >= distinct
    passes = distinct if stays or waits else visits
    pixels = geometry.block_rows * full * passes if cut.frame is None else 0.0
    inputs = pixels * _pixel_cycles(cut, chunk)
    commands += pixels / min(dim, geometry.cols) * -(-chunk * dim // machine.max_move_bytes)
    again = 1
    if tiling.weight_slots < visits and not (
        tiling.weights_outer and tiling.weight_slots >= max(map(len, needed))
    ):
        again = tiles
    row_bytes = dim / 2 if cut.nibbles else dim
    weights = total * cut.tile_rows * again * max(1.0, row_bytes / machine.dma.dram_bytes_per_cycle)
    commands += total * again * row_bytes / machine.max_move_bytes * -(-cut.tile_rows // dim)
    loads = inputs + weights + pieces.biased_rows * cut.out_blocks
    side = cut.side(tiling)
    commands += (pieces.biased + pieces.stored / side) * cut.out_blocks
    unaligned = product.channels % machine.dma.beat_bytes
    per_row = machine.timing.store_row[side - 1] / side
    if unaligned:
        per_row = machine.timing.store_unaligned_row
    stores = pieces.stored_rows * cut.out_blocks * per_row
    made = pieces.stored_rows * product.channels
    if side == 1 and made > machine.dma.l2_bytes:
        # Lines of which a part is stored are fetched first.
        lines = made / machine.dma.l2_line_bytes
        stores = max(stores, lines * machine.timing.store_miss_line)
    if product.residual is not None:
        tiles_each = sum(map(len, cut.diagonals))
        array += pieces.added * tiles_each * dim
        commands += 2 * pieces.added * tiles_each
        rows = pieces.stored_rows * cut.out_blocks
        if cut.added:
            loads += rows * machine.timing.load_accumulate_row
            # Each step configures loads of biases and of residuals.
            commands += pieces.added * cut.out_blocks * dim / machine.max_move_bytes
            commands += 2 * full * -(-cut.out_blocks // tiling.group)
        elif cut.residual_frame is None:
            loads += rows
    # Rows that a load writes into a bank delay those that the array reads from it.
    if tiles * len(chunks(cut.in_blocks, chunk)) > 1 and _in_one_bank(cut, tiling):
        array += inputs
    if visits > 1 and machine.scratchpad.total_rows - tiling.weights_row <= bank:
        array += weights
    # The first piece is awaited, and so is the last store.
    sums = cut.sums_rows(tiling) * tiling.group
    first = int(units[0, 0]) * cut.tile_rows
    alone = sums / dim * 2 + first
    if cut.added:
        alone += sums * machine.timing.load_accumulate_row
    if cut.frame is None:
        alone += geometry.block_rows * chunk
    if tiling.input_slots == 1 and tiles * len(chunks(cut.in_blocks, chunk)) > 1:
        alone += inputs
    if tiling.weight_slots == 1 and visits > 1:
        alone += weights
    issue = commands * cut.target.cycles_per_command
    busiest, apart = max(issue, array, loads, stores), alone + full * visits * PER_STEP
    return busiest + (apart if cut.frame is None else apart * ON_CHIP)


def _in_one_bank(cut: Cut, tiling: Tiling) -> bool:
    """Whether all slots of inputs lie in one bank."""
    bank, first = cut.target.machine.scratchpad.rows, cut.floor
    left = bank - first % bank
    if left < cut.input_rows(tiling):
        first += left
    return tiling.weights_row - first <= bank


def products_of(cut: Cut, tiling: Tiling) -> int:
    """How often the array multiplies a tile of pixels by one of weights."""
    pieces, units = _pieces(cut, tiling), int(cut.unit_counts(tiling).sum())
    return pieces.multiplied * units + pieces.added * sum(map(len, cut.diagonals))


def _pieces(cut: Cut, tiling: Tiling) -> Pieces:
    dim, geometry, product = cut.dim, cut.geometry(tiling), cut.product
    flat = cut.flat(geometry)
    found = Pieces()
    for rows, times in _sizes(cut.pooled[0], tiling.rows):
        tall = rows if product.exit.pool is None else geometry.rows
        for cols, times_across in _sizes(product.width, tiling.cols):
            count = times * times_across * product.x.batch
            sums = cut.accumulator_rows(geometry, tall, cols)
            once, across = (1, sums) if flat else (tall, cols)
            dense = not flat or geometry.pitch == cols
            by_row, whole = tall * -(-cols // dim), -(-tall * cols // dim)
            found = Pieces(
                found.multiplied + count * once * -(-across // dim),
                found.cycles + count * array_cycles(across, once, dim),
                found.added + count * (whole if dense else by_row),
                found.stored + count * (whole if dense and cols == product.width else by_row),
                found.stored_rows + count * tall * cols,
                found.biased + count * -(-sums // dim),
                found.biased_rows + count * sums,
            )
    return found


def _pixel_cycles(cut: Cut, chunk: int) -> float:
    """Of the loads of one pixel's chunk of channels, as wide as may be."""
    image, machine = cut.product.x, cut.target.machine
    total = 0.0
    for first in range(0, chunk * cut.dim, machine.max_move_bytes):
        cols = min(chunk * cut.dim, image.channels, first + machine.max_move_bytes) - first
        if cols > 0:
            total += _row_cycles(machine, image.offset + first, image.pixel_stride, cols)
    return total


def _row_cycles(machine: Accelerator, offset: int, stride: int, size: int) -> float:
    """Of one of many rows that are loaded, on the way from the cache: the mean of all places."""
    dma, partial = machine.dma, machine.timing.load_partial_request
    step = gcd(stride, dma.request_bytes)
    starts = range(offset % step, dma.request_bytes, step)
    cycles = [
        _requests(start, size, dma.beat_bytes, dma.request_bytes, partial) for start in starts
    ]
    return sum(cycles) / len(cycles)


@lru_cache(maxsize=1 << 12)
def _requests(start: int, size: int, beat: int, largest: int, partial: float) -> float:
    """Cycles of the aligned requests that bring a row: those that bring most bytes each."""
    sizes = [beat << i for i in range((largest // beat).bit_length())]
    cycles = 0.0
    while size > 0:
        useful = [min(request - start % request, size) for request in sizes]
        most = max(useful)
        request = sizes[useful.index(most)]
        cycles += request / beat + (partial if request == largest and most < largest else 0.0)
        start, size = start + most, size - most
    return cycles


def _sizes(total: int, size: int) -> list[tuple[int, int]]:
    """The pieces of up to `size` that `total` falls into, as (size, how many)."""
    pieces = [(size, total // size), (total % size, 1)]
    return [(length, times) for length, times in pieces if length and times]
