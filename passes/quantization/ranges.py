"""What values a float module takes on samples: ranges, collected in bounded memory."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mcc.ir import Array, Constant, DType, Module, Tensor, UserError, Value, evaluate
from mcc.ops import Conv, Matmul

from .histogram import Histogram
from .scheme import Method

Feeds = Mapping[str, Array]
Progress = Callable[[int, int], None]
"""`progress(done, total)`, called after each sample."""


@dataclass(frozen=True, slots=True)
class Range:
    """Where the elements of one tensor lie: [lo, hi], chosen by the method of calibration."""

    lo: float
    hi: float
    mean: tuple[float, ...] = ()
    """Mean of each channel, for what convolutions (axis 1) and products (last axis) read."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """The range of every float value of a module, by name."""

    values: Mapping[str, Range]
    method: str
    samples: int

    def __getitem__(self, name: str) -> Range:
        try:
            return self.values[name]
        except KeyError:
            raise UserError(
                f"calibration saw no value {name!r}",
                remedy="calibrate the module that is quantized, after the same passes",
            ) from None

    def replaced(self, known: Mapping[str, tuple[float, float]]) -> "Ranges":
        """With other ranges for the names in `known`; names that no value has are left out."""
        values = {
            name: replace(old, lo=known[name][0], hi=known[name][1]) if name in known else old
            for name, old in self.values.items()
        }
        return Ranges(values, self.method, self.samples)

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back."""
        table = {name: [r.lo, r.hi, list(r.mean)] for name, r in self.values.items()}
        return json.dumps({"method": self.method, "samples": self.samples, "values": table})

    @classmethod
    def from_json(cls, text: str) -> "Ranges":
        """The inverse of `to_json`.

        Raises:
            UserError: For text that `to_json` did not write.
        """
        try:
            record = json.loads(text)
            values = {
                name: Range(float(lo), float(hi), tuple(map(float, mean)))
                for name, (lo, hi, mean) in record["values"].items()
            }
            return cls(values, str(record["method"]), int(record["samples"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"no record of ranges: {error}", remedy="write one with Ranges.to_json"
            ) from None


def collect_ranges(
    module: Module,
    samples: Iterable[Feeds],
    method: Method = "mse",
    limit: int | None = None,
    progress: Progress | None = None,
    percentile: float = 99.99,
) -> Ranges:
    """Evaluate a float module on samples and choose a range for each of its values.

    Args:
        module: A float module whose values have names of their own (see `prepared`).
        samples: Feeds of the module's inputs.
        method: `minmax`: all that was seen; `percentile`: so much of it on either side; `mse`: the
            range with the least squared error when 255 steps cover it.
        limit: The largest number of samples to use.
        progress: Called after each sample with how many are done, and `limit` or 0 if that is
            unknown.
        percentile: The share of elements that the method of that name keeps, in percent.

    Raises:
        UserError: If there is no sample, or a value is not finite.
    """
    histograms: dict[str, Histogram] = {}
    means: dict[str, _Mean] = {}
    channels = _channel_axes(module)

    def observe(value: Value, array: Array) -> None:
        if not _is_float(value) or isinstance(value.op, Constant):
            return
        try:
            histograms.setdefault(value.name, Histogram()).add(array)
        except ValueError:
            nodes = value.op.nodes if value.op is not None else ()
            raise UserError(
                f"value {value.name!r} is not finite on calibration sample {done}",
                where=", ".join(nodes),
                remedy="check the samples' preprocessing, or the model",
            ) from None
        if value in channels:
            means.setdefault(value.name, _Mean()).add(array, channels[value])

    done = 0
    for feeds in samples:
        if limit is not None and done >= limit:
            break
        evaluate(module, feeds, observe)
        done += 1
        if progress is not None:
            progress(done, limit or 0)
    if progress is not None and limit is not None and 0 < done < limit:
        progress(done, done)  # there were no more
    if not done:
        raise UserError("there is no calibration sample", remedy="give at least one")
    values: dict[str, Range] = {}
    for name, histogram in histograms.items():
        lo, hi = histogram.range(method, percentile)
        values[name] = Range(lo, hi, means[name].value if name in means else ())
    return Ranges(values, method, done)


class _Mean:
    """The running mean of each channel."""

    def __init__(self) -> None:
        self.total: Array = np.zeros(())
        self.count = 0

    def add(self, array: Array, axis: int) -> None:
        axes = tuple(i for i in range(array.ndim) if i != axis % array.ndim)
        self.total = self.total + array.sum(axes, dtype=np.float64)
        self.count += array.size // array.shape[axis]

    @property
    def value(self) -> tuple[float, ...]:
        return tuple(float(x) for x in self.total / self.count)


def _channel_axes(module: Module) -> dict[Value, int]:
    axes: dict[Value, int] = {}
    for op in module.ops():
        if isinstance(op, Conv):
            axes[op.x] = 1
        elif isinstance(op, Matmul):
            axes[op.x] = -1
    return axes


def _is_float(value: Value) -> bool:
    return isinstance(value.type, Tensor) and value.type.dtype is DType.F32
