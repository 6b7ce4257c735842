"""What a compilation is asked for: one frozen record behind the API and the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from mcc.ir import UserError, known_names

Quantization = Literal["none", "int8"]
LEVELS = (0, 1, 2, 3)
LARGEST = 3.4028234e38
"""Of float32."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a compilation; the defaults are those of `mcc MODEL`."""

    target: str = "cpu"
    """A target's name, or the path of a target file."""
    level: int = 2
    """-O: 0 only what is needed, 1 quick and exact, 2 the default, 3 everything."""
    quantize: Quantization | None = None
    """None: what the target needs (`int8` on accelerators)."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the operands of products in a float model (docs/numerics.md)."""
    weight_bits: Literal[8, 4] = 8
    """Of the weights of a model that is quantized (docs/quantization.md)."""
    mode: Literal["strict", "portable"] = "strict"
    """Whether scales are any float32 or powers of two (docs/quantization.md)."""
    calibrate: str | Path | None = None
    """Samples: an .npz, or a folder of .npy files. None: synthetic inputs."""
    method: Literal["minmax", "percentile", "mse"] = "mse"
    """How calibration turns values into ranges."""
    samples: int = 128
    """At most so many samples are used in calibration."""
    input_range: tuple[float, float] | None = None
    """What synthetic inputs look like."""
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    """Shapes for inputs with symbolic dimensions."""
    passes: str | None = None
    """A pipeline in the place of the level's own; `O2` in it stands for that level's passes."""
    plugins: tuple[str, ...] = ()
    """Python files that define passes."""
    io: Literal["float", "int8"] = "float"
    """Whether inputs and outputs are float, or stay integers."""
    tune: Literal["0", "quick", "full"] = "0"
    """Whether kernels for a CPU are measured before they are chosen."""
    tuning_database: Path | None = None
    """Where measurements are kept. None: the user's own (docs/cpu.md)."""
    start: str | None = None
    """The stage that the source, a `.mir` file, is at."""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UserError(f"there is no -O{self.level}", remedy="known: -O0, -O1, -O2, -O3")
        if self.input_range is not None:
            low, high = self.input_range
            if not -LARGEST <= low < high <= LARGEST:
                raise UserError(
                    f"--input-range {low:g},{high:g}: the low end must be below the high end, and "
                    "both float32 numbers"
                )
        if self.calibrate is not None and not str(self.calibrate):
            raise UserError("--calibrate names no file", remedy="leave it out for synthetic inputs")

    def spelled(self) -> dict[str, str]:
        """The options that differ from their defaults, as strings, for the manifest."""
        default = Options()
        return {
            name: str(value)
            for name, value in vars(self).items()
            if value != getattr(default, name) and name not in ("start",)
        }


_CHECKED = TypeAdapter(Options)


def options_of(keywords: Mapping[str, object]) -> Options:
    """Options from keywords of any type, as they come from a command line or a caller.

    Raises:
        UserError: For an unknown option, or a value that does not fit.
    """
    names = [item.name for item in fields(Options)]
    for name in keywords:
        if name not in names:
            raise UserError(f"there is no option {name!r}", remedy=known_names(names))
    try:
        return _CHECKED.validate_python(dict(keywords))
    except ValidationError as error:
        first = error.errors()[0]
        what = str(first["loc"][0]) if first["loc"] else "options"
        raise UserError(f"option {what!r}: {first['msg']}, got {first['input']!r}") from None
