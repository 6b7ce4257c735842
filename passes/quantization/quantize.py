"""The pass `quantize`: calibration and the quantize/dequantize form in one step."""

from typing import Literal

from mcc.ir import Module, RewriteReport

from ..base import Pass
from .clone import prepared
from .insert import insert_quantization
from .ranges import collect_ranges
from .samples import load_samples, synthetic_samples
from .scheme import LARGEST_FACTOR, Method, Mode, Scheme


class QuantizePass(Pass, name="quantize"):
    """Float ops between `dequantize` and `quantize`, with scales from calibration samples (docs/quantization.md)."""

    samples: str = ""
    """An .npz or a folder of .npy files; empty for synthetic inputs."""
    method: Method = "mse"
    limit: int = 256
    """The largest number of samples to use."""
    input_low: float = 0.0
    input_high: float = 1.0
    """What synthetic inputs look like."""
    activations: Literal["affine", "symmetric"] = "affine"
    weights: Literal["per_channel", "per_tensor"] = "per_channel"
    mode: Mode = "strict"
    residual: Literal["add", "accumulate"] = "add"
    tables: bool = True
    clamps: bool = True
    factor_limit: int = LARGEST_FACTOR
    products: bool = True
    correct_bias: bool = True

    @property
    def scheme(self) -> Scheme:
        """The options that make up a scheme."""
        return Scheme(
            activations=self.activations,
            weights=self.weights,
            mode=self.mode,
            residual=self.residual,
            tables=self.tables,
            clamps=self.clamps,
            factor_limit=self.factor_limit,
            products=self.products,
            correct_bias=self.correct_bias,
        )

    def run(self, module: Module, report: RewriteReport) -> Module:
        module = prepared(module)
        if self.samples:
            feeds = load_samples(module, self.samples)
        else:
            feeds = synthetic_samples(module, (self.input_low, self.input_high))
        ranges = collect_ranges(
            module,
            feeds,
            self.method,
            self.limit,
            lambda done, total: report.progress("calibrating", done, total),
        )
        return insert_quantization(module, ranges, self.scheme, report)
