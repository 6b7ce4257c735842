"""From a float module to its quantize/dequantize form.

Calibration and everything before and after it.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Literal

from mcc.ir import Module, RewriteReport

from ..base import Pass
from .clone import prepared
from .correct import correct_biases, correction_samples
from .equalize import equalize
from .insert import insert_quantization
from .ranges import Feeds, Progress, Ranges, collect_ranges
from .samples import load_samples, synthetic_samples
from .scheme import LARGEST_FACTOR, Method, Mode, Scheme
from .statistics import META

EQUALIZATION_SAMPLES = 16
"""Enough to see how large each channel gets; they stay in memory."""


def quantize_module(
    module: Module,
    scheme: Scheme,
    samples: Iterable[Feeds],
    method: Method = "mse",
    limit: int | None = None,
    progress: Progress | None = None,
    report: RewriteReport | None = None,
    known: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Module, Ranges]:
    """Prepare, calibrate and quantize a float module; the module itself stays as it is.

    Args:
        module: A float module after the passes that fold and fuse.
        scheme: The choices; `scheme_for` makes those of a target.
        samples: Feeds of the module's inputs.
        method: How calibration turns values into ranges (see `collect_ranges`).
        limit: The largest number of samples to use.
        progress: Called after each sample with how many are done, and `limit` or 0.
        report: Receives what was quantized, and why the rest was not.
        known: Ranges that are better than those of the samples, by value name.

    Returns:
        The quantize/dequantize form, and the ranges behind it.

    Raises:
        UserError: If there is no sample, a value is not finite, or an accumulator could overflow
            whatever is done.
    """
    fresh = prepared(module)
    kept = max(EQUALIZATION_SAMPLES, correction_samples(fresh))
    samples = itertools.islice(samples, limit)
    first = list(itertools.islice(samples, kept))
    if scheme.equalize:
        equalize(fresh, first[:EQUALIZATION_SAMPLES])
    everything = itertools.chain(first, samples)
    ranges = collect_ranges(fresh, everything, method, limit, progress).replaced(known or {})
    form = insert_quantization(fresh, ranges, scheme, report)
    if scheme.correct_bias:
        corrected = correct_biases(fresh, form, first[: correction_samples(fresh)], scheme)
        if report is not None:
            report.fired["bias-corrected"] += corrected
    return form, ranges


class QuantizePass(Pass, name="quantize"):
    """Float ops between `dequantize` and `quantize`, with scales from calibration samples."""

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
    weight_bits: int = 8
    mode: Mode = "strict"
    residual: Literal["add", "accumulate"] = "add"
    clamps: bool = True
    factor_limit: int = LARGEST_FACTOR
    products: bool = True
    correct_bias: bool = True
    equalize: bool = False

    @property
    def scheme(self) -> Scheme:
        """The options that make up a scheme."""
        return Scheme(
            activations=self.activations,
            weights=self.weights,
            weight_bits=self.weight_bits,
            mode=self.mode,
            residual=self.residual,
            clamps=self.clamps,
            factor_limit=self.factor_limit,
            products=self.products,
            correct_bias=self.correct_bias,
            equalize=self.equalize,
        )

    def run(self, module: Module, report: RewriteReport) -> Module:
        notes: list[str] = []
        statistics = module.meta.get(META)
        known: dict[str, tuple[float, float]] = {}
        if self.samples:
            feeds = load_samples(module, self.samples, notes.append)
        else:
            feeds = synthetic_samples(module, (self.input_low, self.input_high))
            notes.append(f"synthetic inputs between {self.input_low:g} and {self.input_high:g}")
            if statistics is not None:
                known = json.loads(statistics)
                notes.append("ranges of batch normalizations")
        quantized, ranges = quantize_module(
            module,
            self.scheme,
            feeds,
            self.method,
            self.limit,
            lambda done, total: report.progress("calibrating", done, total),
            report,
            known,
        )
        quantized.meta.pop(META, None)
        notes.insert(0, f"{ranges.samples} samples, {ranges.method}")
        quantized.meta["calibration"] = "; ".join(notes)
        return quantized
