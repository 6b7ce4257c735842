"""What an accelerator is made of, in numbers: memories, engines, queues, timing.

The values stand in `targets/*.toml`; each field here states its unit.
"""

from typing import Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

EXTENSIONS: dict[str, str] = {
    "per_channel": "a table of float32 multipliers, one per output column, at move-out",
    "zero_point": "output zero point and clamp at move-out, pad byte for moves-in and pooling",
    "lut": "a 256-byte table applied at move-out",
    "pool": "max and average pooling with windows up to 15 at move-out",
    "move_out_scratchpad": "move-out into scratchpad rows instead of DRAM",
    "sparse_2_4": "2:4 weights: a tile twice as deep in the time of a dense one",
    "int4": "weights of 4 bits, unpacked while they are moved in",
    "wide_move_in": "int8 moved into the accumulator with a float32 scale, in the order of loads",
    "command_queue": "the accelerator fetches its commands itself, in loops that step addresses",
    "loop_conv": "convolutions unrolled in hardware (LOOP_CONV_WS; some Gemminis)",
    "pixel_repeats": "move-in that writes a pixel's channels into several rows (some Gemminis)",
}
"""The extensions that a target may list, each with what it adds to the portable instruction set."""


class Record(BaseModel):
    """A table of a target file: frozen, without conversions, no field unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def tuple_from_list(value: object) -> object:
    """A TOML array for a field that is a tuple; any other value as it is."""
    # Strict validation keeps "16" from passing as 16, but would refuse TOML's arrays for tuples.
    if not isinstance(value, list):
        return value
    return tuple(cast("list[object]", value))


class Memory(Record):
    """A banked on-chip memory, addressed by row across all banks."""

    banks: int = Field(gt=0)
    rows: int = Field(gt=0)
    """Rows of one bank."""
    row_bytes: int = Field(gt=0)
    """Bytes of one row."""

    @property
    def total_rows(self) -> int:
        return self.banks * self.rows

    @property
    def total_bytes(self) -> int:
        return self.total_rows * self.row_bytes


class Dma(Record):
    """The path between DRAM and the accelerator's memories."""

    beat_bytes: int = Field(gt=0)
    """Bytes of one bus beat; a beat takes a cycle."""
    request_bytes: int = Field(gt=0)
    """Bytes of the largest aligned request."""
    requests_in_flight: int = Field(gt=0)
    """Read requests that the cache works on at once."""
    requests_queued: int = Field(gt=0)
    """Read requests that wait before it."""
    loads_in_flight: int = Field(gt=0)
    """Moves-in whose requests may be outstanding."""
    tlb_entries: int = Field(gt=0)
    page_bytes: int = Field(gt=0)
    dram_latency: int = Field(ge=0)
    """Cycles from a request accepted by DRAM to its first data."""
    dram_bytes_per_cycle: float = Field(gt=0)
    """Bytes DRAM delivers in a cycle, in whole cache lines."""
    l2_bytes: int = Field(ge=0)
    """Bytes of the cache between DRAM and the accelerator; 0 means none."""
    l2_ways: int = Field(gt=0)
    l2_line_bytes: int = Field(gt=0)
    l2_refill_cycles: float = Field(ge=0)
    """Cycles for which a line that comes from DRAM keeps others from being read."""


class Queues(Record):
    """Entries of the reservation station, by class, and of the queues before and behind it."""

    load: int = Field(gt=0, le=20)
    execute: int = Field(gt=0, le=20)
    store: int = Field(gt=0, le=20)
    front: int = Field(gt=0)
    """Commands between host and reservation station; the host runs at most this far ahead."""
    load_issued: int = Field(gt=0, le=32)
    """Commands that a class may have issued and not begun or, of computes, not ended."""
    execute_issued: int = Field(gt=0, le=32)
    store_issued: int = Field(gt=0, le=32)


class CommandQueue(Record):
    """The unit that fetches the accelerator's commands (extension command_queue)."""

    records: int = Field(gt=0)
    """Records that it holds: fetched ahead, and a loop's body that is then not fetched again."""
    loops: int = Field(gt=0, le=16)
    """Loops in each other."""
    decode: int = Field(gt=0)
    """Cycles that a record takes, in each turn of a loop a command."""


class Timing(Record):
    """Latencies and costs, in cycles unless a field says otherwise."""

    accept_to_allocate: int = Field(ge=0)
    """From the host's issue of a command to its entry in the reservation station."""
    allocate_to_issue: int = Field(ge=0)
    """From there to its unit, when nothing blocks."""
    allocate_to_accept: int = Field(ge=0)
    """From a command's entry in the station to the host's issue of the one `queues.front` later."""
    fence_idle: int = Field(ge=0)
    """A fence with nothing pending."""
    fence_after_done: int = Field(ge=0)
    """From the last load's or compute's completion to the end of a fence."""
    fence_after_store: int = Field(ge=0)
    """From the last store's completion to the end of a fence (write acknowledgement)."""
    load_send: int = Field(ge=0)
    """From a load's issue to its first request at the cache."""
    load_cache: int = Field(ge=0)
    """From a request to its first data, on a cache hit, less one beat."""
    load_write: int = Field(ge=0)
    """From a load's last data to its completion."""
    load_accumulator: int = Field(ge=0)
    """Added where the rows go to the accumulator."""
    load_zero: int = Field(ge=0)
    """From the issue of a load that fills with the pad byte to its first row."""
    load_miss: int = Field(ge=0)
    """Added to `dma.dram_latency` when a request misses in the cache."""
    load_page: int = Field(ge=0)
    """A miss in the address translation buffer."""
    load_partial_request: float = Field(ge=0)
    """Added to a request of `dma.request_bytes` of which not all bytes are wanted."""
    load_accumulate_row: float = Field(ge=0)
    """Least cycles per row of an int8 load that accumulates."""
    compute_start: int = Field(ge=0)
    """From a compute's or preload's issue to its first row read."""
    compute_write: int = Field(ge=0)
    """From a compute's completion to its results in the accumulator."""
    compute_least_rows: int = Field(ge=0)
    """Rows that a preload of no weights, or a compute of fewer, takes."""
    computes_in_flight: int = Field(gt=0)
    """Computes in the array between their first row and their results."""
    compute_window: int = Field(ge=0)
    """How long before its results are in the accumulator a compute makes place for another."""
    transpose: int = Field(ge=0)
    """Added to the results' latency by transposed weights."""
    config_ex: int = Field(ge=1)
    """Of a config_ex, once all earlier results are in the accumulator."""
    store_row: tuple[float, ...] = Field(min_length=4, max_length=4)
    """Per row of up to 16, 32, 48 and 64 bytes."""
    store_unaligned_row: float = Field(ge=0)
    """Per row of up to 16 bytes that crosses a 16-byte boundary."""
    store_pool_element: float = Field(ge=0)
    """Per element of a pooling window, `dim` channels at a time."""
    store_scratchpad_row: float = Field(ge=0)
    """Per row moved out to the scratchpad."""
    store_scratchpad_latency: int = Field(ge=0)
    """Length of the scaling pipe before the first such row."""
    store_miss_line: float = Field(ge=0)
    """Per partly written cache line that is fetched from DRAM first."""
    store_send: int = Field(ge=0)
    """From a store's issue to its first row on that path."""
    store_starved_factor: float = Field(ge=1)
    """How much slower a store reads the accumulator bank in which computes accumulate."""
    loop_ws_start: int = Field(ge=0)
    """From a LOOP_WS to the first command that it is unrolled into."""
    loop_conv_start: int = Field(ge=0)
    """The same of a LOOP_CONV_WS."""
    extension_latency: int = Field(ge=0)
    """Added to a move-out's latency by per_channel, zero_point and lut."""

    @field_validator("store_row", mode="before")
    @classmethod
    def _store_row_from_a_toml_array(cls, value: object) -> object:
        return tuple_from_list(value)


class Accelerator(Record):
    """A systolic array with its memories, in Gemmini's instruction set."""

    attachment: Literal["rocc", "mmio"]
    """How commands reach it: RISC-V custom instructions, or stores to mapped registers."""
    dim: int = Field(gt=0, le=64)
    """Rows and columns of the array, and elements of a memory row."""
    extensions: tuple[str, ...] = ()
    max_move_bytes: int = Field(gt=0)
    """Bytes of one row of a move between DRAM and a memory."""
    scale_rows: int = Field(default=0, ge=0)
    """Rows of the per-channel table, each of `dim` float32 (extension per_channel)."""
    tables: int = Field(default=0, ge=0)
    """Tables of 256 bytes (extension lut)."""
    scratchpad: Memory
    accumulator: Memory
    dma: Dma
    queues: Queues
    command_queue: CommandQueue | None = None
    timing: Timing

    @field_validator("extensions", mode="before")
    @classmethod
    def _extensions_from_a_toml_array(cls, value: object) -> object:
        return tuple_from_list(value)

    @field_validator("extensions")
    @classmethod
    def _extensions_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in EXTENSIONS:
                raise ValueError(f"unknown extension {name!r}; known: {', '.join(EXTENSIONS)}")
        return value

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.scratchpad.row_bytes != self.dim:
            raise ValueError(f"scratchpad.row_bytes must be dim ({self.dim}), one byte an element")
        if self.accumulator.row_bytes != 4 * self.dim:
            raise ValueError(f"accumulator.row_bytes must be 4 * dim ({4 * self.dim})")
        if self.max_move_bytes % self.dim:
            raise ValueError(f"max_move_bytes must be a multiple of dim ({self.dim})")
        if "per_channel" in self.extensions and not self.scale_rows:
            raise ValueError("extension per_channel needs scale_rows")
        if "lut" in self.extensions and not self.tables:
            raise ValueError("extension lut needs tables")
        if "command_queue" in self.extensions and self.command_queue is None:
            raise ValueError("extension command_queue needs a section [accelerator.command_queue]")
        return self
