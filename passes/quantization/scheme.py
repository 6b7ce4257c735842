"""How a model is quantized: a frozen record of choices, and the ones that fit each target."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from mcc.ir import UserError

Method = Literal["minmax", "percentile", "mse"]
Mode = Literal["strict", "portable"]

BIAS_LIMIT = 2**30
"""A bias beyond it takes a coarser weight scale: its channel's weights hardly matter beside it."""

LARGEST_FACTOR = 254
"""The largest residual factor k: 2 * 127, two identity tiles of an int8 array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """What numbers a quantized model may use. The defaults fit a CPU.

    `docs/quantization.md` explains each field; `scheme_for` fills them in for a target.
    """

    activations: Literal["affine", "symmetric"] = "affine"
    """Whether an activation's zero point is free, or 0."""
    weights: Literal["per_channel", "per_tensor"] = "per_channel"
    """One weight scale for each output channel, or one for the tensor."""
    weight_bits: int = 8
    """8, or 4: weights are integers in [-127, 127], or in [-7, 7]."""
    mode: Mode = "strict"
    """`portable`: scales are powers of two, and every accumulator is proven to stay below 2^24."""
    residual: Literal["add", "accumulate"] = "add"
    """Two activations are added by an op of its own (form a), or in the accumulator (form b)."""
    clamps: bool = True
    """Whether results can be clamped to any bounds.

    If not, saturation must do what relu6 asks for.
    """
    factor_limit: int = LARGEST_FACTOR
    """The largest residual factor k of form (b)."""
    products: bool = True
    """Whether a product of two activations is quantized; both then have zero point 0."""
    correct_bias: bool = True
    """Whether biases take back what rounding and clipping shift, on average."""
    equalize: bool = False
    """Whether factors move between neighbouring products, so that channels get equally large."""

    def __post_init__(self) -> None:
        if not 1 <= self.factor_limit <= LARGEST_FACTOR:
            raise UserError(
                f"factor_limit {self.factor_limit} is out of range",
                remedy=f"a residual factor lies between 1 and {LARGEST_FACTOR}",
            )
        if self.weight_bits not in (4, 8):
            raise UserError(
                f"weights of {self.weight_bits} bits are not known", remedy="weight_bits is 8 or 4"
            )

    @property
    def portable(self) -> bool:
        return self.mode == "portable"

    @property
    def accumulator_limit(self) -> int:
        """The magnitude that no accumulator may reach."""
        return 2**24 if self.portable else 2**31


def scheme_for(extensions: Collection[str], backend: str, mode: Mode = "strict") -> Scheme:
    """The scheme that a target can run wholly.

    Args:
        extensions: What the target's instruction set has beyond the portable subset
            (docs/accelerator.md).
        backend: The target's backend; `cpu` holds anything.
        mode: Which promise the numbers make.
    """
    if backend == "cpu":
        return Scheme(mode=mode)
    stock = Scheme(
        activations="symmetric",
        weights="per_tensor",
        residual="accumulate",
        clamps=False,
        equalize=True,
        mode=mode,
    )
    if "zero_point" in extensions:
        stock = replace(stock, activations="affine", clamps=True)
    if "per_channel" in extensions:
        stock = replace(stock, weights="per_channel", equalize=False)
    return stock
