"""Quantization: calibration, the quantize/dequantize form, and its lowering to integer ops."""

from .clone import prepared
from .elementwise import ELEMENTWISE
from .equalize import equalize
from .insert import insert_quantization
from .lower import LowerQuantized
from .quantize import QuantizePass, quantize_module
from .ranges import Range, Ranges, collect_ranges
from .samples import LABELS, load_samples, synthetic_samples
from .scheme import Scheme, scheme_for
from .statistics import RecordStatistics, statistic_ranges

__all__ = [
    "ELEMENTWISE",
    "LABELS",
    "LowerQuantized",
    "QuantizePass",
    "Range",
    "Ranges",
    "RecordStatistics",
    "Scheme",
    "collect_ranges",
    "equalize",
    "insert_quantization",
    "load_samples",
    "prepared",
    "quantize_module",
    "scheme_for",
    "statistic_ranges",
    "synthetic_samples",
]
