"""Quantization: calibration, the quantize/dequantize form, and its lowering to integer ops."""

from .clone import prepared
from .insert import insert_quantization
from .lower import LowerQuantized
from .quantize import QuantizePass
from .ranges import Range, Ranges, collect_ranges
from .samples import LABELS, load_samples, synthetic_samples
from .scheme import Scheme, scheme_for

__all__ = [
    "LABELS",
    "LowerQuantized",
    "QuantizePass",
    "Range",
    "Ranges",
    "Scheme",
    "collect_ranges",
    "insert_quantization",
    "load_samples",
    "prepared",
    "scheme_for",
    "synthetic_samples",
]
